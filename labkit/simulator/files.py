"""The files of a simulated machine: a POSIX-like tree in memory, with a capacity."""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit import rules
from labkit.simulator.clock import Clock

BLOCK = 4096  # files take room in whole blocks
FOLDER_MODE, FILE_MODE = 0o755, 0o644


def failure(number: int, path: str) -> OSError:
    """The error the operating system would raise (Python chooses the subclass)."""
    return OSError(number, os.strerror(number), path)


@dataclass(slots=True)
class Node:
    """A file (`data`) or a folder (`entries`)."""

    inode: int
    owner: str
    mode: int
    modified: int  # nanoseconds since 1970
    data: bytes | None = None
    entries: dict[str, Node] = field(default_factory=dict)
    attributes: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return self.data is None

    @property
    def size(self) -> int:
        return BLOCK if self.data is None else len(self.data)

    @property
    def room(self) -> int:
        """Bytes it takes from the capacity."""
        return -(-self.size // BLOCK) * BLOCK


class FileTree:
    """A tree of files that belong to users, on one disk.

    Paths are absolute, or relative to `folder`. Failures are the `OSError`s of a real system. It
    can be told to `refuse` writing with an error number (`errno.ENOSPC`, `errno.EROFS`).
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        user: str = "ubuntu",
        capacity: int = 20 * rules.GIB,
        has_attributes: bool = True,
    ) -> None:
        self.clock = clock or Clock()
        self.user = user
        self.home = "/root" if user == "root" else f"/home/{user}"
        self.capacity = capacity
        self.has_attributes = has_attributes
        self.refuse = 0
        self.lock = threading.RLock()
        self._inodes = itertools.count(2)
        self._stamp = 0
        self._root = self._node("root", FOLDER_MODE, None)
        self._used = 0
        for path, owner, mode in (
            ("/home", "root", FOLDER_MODE),
            ("/srv", "root", FOLDER_MODE),
            ("/tmp", "root", 0o1777),
            (self.home, user, FOLDER_MODE),
        ):
            node = self._node(owner, mode, None)
            self._root_entry(path, node)

    def __repr__(self) -> str:
        return f"<FileTree {sum(1 for _ in self.walk())} entries, {self.free} bytes free>"

    # ---- asking

    @property
    def free(self) -> int:
        """Bytes there is room for."""
        full = self.refuse == errno.ENOSPC
        return 0 if full else max(0, self.capacity - self._used)

    def absolute(self, path: str, folder: str = "/") -> str:
        """The path from the root, with ``~`` the home folder, and without ``.`` and ``..``."""
        if path == "~" or path.startswith("~/"):
            path = self.home + path[1:]
        joined = posixpath.normpath(posixpath.join("/", folder, path))
        return joined[1:] if joined.startswith("//") else joined

    def find(self, path: str) -> Node | None:
        """The file or folder, or None."""
        node = self._root
        for part in self._parts(path):
            child = node.entries.get(part)
            if child is None:
                return None
            node = child
        return node

    def status(self, path: str) -> Node:
        """The file or folder; raises `FileNotFoundError` or `NotADirectoryError`."""
        node = self._root
        for part in self._parts(path):
            if not node.is_folder:
                raise failure(errno.ENOTDIR, path)
            if part not in node.entries:
                raise failure(errno.ENOENT, path)
            node = node.entries[part]
        return node

    def is_file(self, path: str) -> bool:
        node = self.find(path)
        return node is not None and not node.is_folder

    def is_folder(self, path: str) -> bool:
        node = self.find(path)
        return node is not None and node.is_folder

    def read(self, path: str) -> bytes:
        """The content of a file."""
        node = self.status(path)
        if node.data is None:
            raise failure(errno.EISDIR, path)
        self._allowed(node, 4, path)
        return node.data

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted."""
        node = self.status(path)
        if not node.is_folder:
            raise failure(errno.ENOTDIR, path)
        self._allowed(node, 4, path)
        return sorted(node.entries)

    def walk(self, path: str = "/") -> Iterator[tuple[str, Node]]:
        """Every entry below a folder with its path, in order."""
        start = self.absolute(path)
        for name, node in sorted(self.status(start).entries.items()):
            below = posixpath.join(start, name)
            yield below, node
            if node.is_folder:
                yield from self.walk(below)

    def attribute(self, path: str, name: str) -> bytes | None:
        """An extended attribute, or None."""
        return self.status(path).attributes.get(name)

    # ---- changing

    def write(
        self, path: str, data: bytes, *, append: bool = False, exclusive: bool = False
    ) -> Node:
        """Write a file, made when it is not there; nothing changes when there is no room.

        With `exclusive` a file that is there is a `FileExistsError`.
        """
        with self.lock:
            parent, name = self._parent(path)
            node = parent.entries.get(name)
            if node is None:
                self._allowed(parent, 2, path)
                self._take(-(-len(data) // BLOCK) * BLOCK, path)
                node = parent.entries[name] = self._node(self.user, FILE_MODE, data)
                parent.modified = self._now()
                return node
            if exclusive:
                raise failure(errno.EEXIST, path)
            if node.data is None:
                raise failure(errno.EISDIR, path)
            self._allowed(node, 2, path)
            whole = node.data + data if append else data
            self._take(-(-len(whole) // BLOCK) * BLOCK - node.room, path)
            node.data, node.modified = whole, self._now()
            return node

    def make_folder(self, path: str, *, parents: bool = False) -> None:
        """Make a folder, with `parents` also those above it, and then again is fine."""
        with self.lock:
            parts = self._parts(path)
            for depth in range(1 if parents else len(parts), len(parts) + 1):
                self._make_one("/" + "/".join(parts[:depth]), path, again=parents)
            if not parts and not parents:
                raise failure(errno.EEXIST, path)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self.lock:
            node = self.status(path)
            if node.is_folder:
                raise failure(errno.EISDIR, path)
            self._unlink(path, node)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self.lock:
            node = self.status(path)
            if not node.is_folder:
                raise failure(errno.ENOTDIR, path)
            if node.entries:
                raise failure(errno.ENOTEMPTY, path)
            self._unlink(path, node)

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder; a file that is there is replaced in one step."""
        with self.lock:
            node = self.status(source)
            old_parent, old_name = self._parent(source)
            parent, name = self._parent(target)
            inside = self.absolute(target).startswith(self.absolute(source) + "/")
            if node.is_folder and inside:
                raise failure(errno.EINVAL, target)
            self._allowed(old_parent, 2, source)
            self._allowed(parent, 2, target)
            replaced = parent.entries.get(name)
            if replaced is node:
                return
            if replaced is not None:
                self._replaceable(node, replaced, target)
                self._used -= replaced.room
            del old_parent.entries[old_name]
            parent.entries[name] = node
            old_parent.modified = parent.modified = self._now()

    def change_mode(self, path: str, mode: int) -> None:
        self.status(path).mode = mode

    def change_owner(self, path: str, owner: str) -> None:
        self.status(path).owner = owner

    def set_attribute(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute; `ENOTSUP` where the file system has none."""
        if not self.has_attributes:
            raise failure(errno.ENOTSUP, path)
        self.status(path).attributes[name] = value

    # ---- inside

    def _node(self, owner: str, mode: int, data: bytes | None) -> Node:
        return Node(next(self._inodes), owner, mode, self._now(), data)

    def _now(self) -> int:
        """A time stamp for a change; no two are the same, so that every change can be seen."""
        self._stamp = max(self._stamp + 1, self.clock.nanoseconds)
        return self._stamp

    def _root_entry(self, path: str, node: Node) -> None:
        """Put a folder there without asking who may, as an installer does."""
        parent, name = self._parent(path)
        parent.entries[name] = node

    def _parts(self, path: str) -> list[str]:
        return [part for part in self.absolute(path).split("/") if part]

    def _parent(self, path: str) -> tuple[Node, str]:
        above, name = posixpath.split(self.absolute(path))
        node = self.status(above)
        if not node.is_folder:
            raise failure(errno.ENOTDIR, path)
        if not name:
            raise failure(errno.EBUSY, path)
        if len(os.fsencode(name)) > 255:
            raise failure(errno.ENAMETOOLONG, path)
        return node, name

    def _make_one(self, path: str, asked: str, *, again: bool) -> None:
        parent, name = self._parent(path)
        there = parent.entries.get(name)
        if there is not None:
            if again and there.is_folder:
                return
            raise failure(errno.EEXIST, asked)
        self._allowed(parent, 2, asked)
        self._take(BLOCK, asked)
        parent.entries[name] = self._node(self.user, FOLDER_MODE, None)
        parent.modified = self._now()

    def _unlink(self, path: str, node: Node) -> None:
        parent, name = self._parent(path)
        self._allowed(parent, 2, path)
        del parent.entries[name]
        self._used -= node.room
        parent.modified = self._now()

    def _replaceable(self, node: Node, replaced: Node, target: str) -> None:
        if replaced.is_folder != node.is_folder:
            raise failure(errno.EISDIR if replaced.is_folder else errno.ENOTDIR, target)
        if replaced.entries:
            raise failure(errno.ENOTEMPTY, target)

    def _allowed(self, node: Node, permission: int, path: str) -> None:
        """Raise when the user may not read (4) or write (2) it."""
        if permission == 2 and self.refuse not in (0, errno.ENOSPC):
            raise failure(self.refuse, path)
        if self.user == "root":
            return
        bits = node.mode >> 6 if node.owner == self.user else node.mode
        if not bits & permission:
            raise failure(errno.EACCES, path)

    def _take(self, room: int, path: str) -> None:
        if room > 0 and room > self.free:
            raise failure(errno.ENOSPC, path)
        self._used += room
