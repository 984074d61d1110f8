"""A file system as a value: paths and what lies there, before it is packed."""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """One file, folder or symbolic link (`data` is then its target); the owner is always root."""

    mode: int
    data: bytes = b""

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return stat.S_ISDIR(self.mode)


Tree = dict[str, Node]


def file(data: bytes | str, permissions: int = 0o644) -> Node:
    """A regular file."""
    return Node(stat.S_IFREG | permissions, data.encode() if isinstance(data, str) else data)


def program(data: bytes | str) -> Node:
    """A regular file that can be started."""
    return file(data, 0o755)


def link(target: str) -> Node:
    """A symbolic link."""
    return Node(stat.S_IFLNK | 0o777, target.encode())


def folder(permissions: int = 0o755) -> Node:
    """A folder."""
    return Node(stat.S_IFDIR | permissions)


def with_parents(tree: Tree) -> Tree:
    """The same tree with every folder on the way to its files."""
    whole = dict(tree)
    for path in tree:
        parent = posixpath.dirname(path)
        while parent not in ("", "/") and parent not in whole:
            whole[parent] = folder()
            parent = posixpath.dirname(parent)
    return whole
