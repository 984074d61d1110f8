"""The simulated manager's files: the base images that are copied to the workers."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Hashable, Iterator
from typing import BinaryIO

from labkit import rules
from labkit.markup import counted
from labkit.model import FLAVORS
from labkit.simulator import qcow2_files
from labkit.simulator.clock import Clock
from labkit.simulator.files import FileTree

BASE_SIZES = {"cirros": 112 * 2**20, "ubuntu": 2361393152}  # what the real images have
DATA_CLUSTERS = {"cirros": 4, "ubuntu": 24}  # 64 KiB each, so that copying has something to copy
BLOCK = 4096


class SimulatedManager:
    """The manager's files, in memory: at first the base images of all flavors.

    `files` is the whole tree, to add, remove, truncate or replace files as a story needs it.
    """

    def __init__(self, clock: Clock) -> None:
        self.files = FileTree(clock, user="root")
        for name, flavor in FLAVORS.items():
            self.add_base(flavor.image, BASE_SIZES[name], DATA_CLUSTERS[name])

    def __repr__(self) -> str:
        return f"<SimulatedManager {counted(len(self.paths()), 'file')}>"

    def paths(self) -> list[str]:
        """The paths of all files."""
        return [path for path, node in self.files.walk() if not node.is_folder]

    def add(self, path: str, data: bytes) -> None:
        """Put a file there, in place of one that is there."""
        self.files.make_folder(posixpath.dirname(self.files.absolute(path)), parents=True)
        self.files.write(path, data)

    def add_base(self, path: str, size: int = rules.GIB, clusters: int = 1) -> None:
        """Put a base image there: `size` bytes as a VM sees it, with some clusters of data."""
        title = posixpath.basename(path).encode()
        data = {
            number * 7: (b"%s cluster %d\n" % (title, number)).ljust(64, b".") * (BLOCK // 64)
            for number in range(clusters)
        }
        self.add(path, qcow2_files.make_with_data(size, data))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.files.remove(path)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file off, as an interrupted download does."""
        self.files.write(path, self.files.read(path)[:size])

    # ---- ManagerFiles

    def identity(self, path: str) -> tuple[int, Hashable] | None:
        node = self.files.find(path)
        return None if node is None else (node.size, (node.modified, node.inode))

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.files.read(path))

    def extents(self, file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
        """Runs of 4 KiB blocks that are not all zero."""
        file.seek(0)
        data = file.read()
        begin: int | None = None  # of the run we are in
        for place in range(start // BLOCK * BLOCK, len(data), BLOCK):
            is_data = any(data[place : place + BLOCK])
            if is_data and begin is None:
                begin = max(start, place)
            if not is_data and begin is not None:
                yield begin, place - begin
                begin = None
        if begin is not None:
            yield begin, len(data) - begin
