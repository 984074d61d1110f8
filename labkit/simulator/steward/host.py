"""What the steward's own code runs on in a simulation: its loop, its host's files and processes."""

from __future__ import annotations

import errno
import os
import posixpath
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from labkit.remote.steward.history import LOG_SIZE, TAIL, History
from labkit.remote.steward.host import Host
from labkit.remote.steward.loop import Loop, Timer
from labkit.remote.steward.process import LOG_FILE, LOG_TAIL, Process
from labkit.simulator.files import FileTree
from labkit.simulator.pipes import End
from labkit.simulator.qemu.process import Qemu
from labkit.simulator.worker import Worker

if TYPE_CHECKING:
    from labkit.remote.steward.loop import Callback, Descriptor


class SimulatedLoop(Loop):
    """The loop of one steward in the world that it shares with others; dead once it was killed."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.is_alive = True
        self._worker = worker
        self._world = worker.world
        self._ends: dict[int, End] = {}

    def now(self) -> float:
        return self._world.now

    def time_ns(self) -> int:
        return self._world.nanoseconds

    def connect(self, path: str) -> End:
        end = self._worker.connect(path)
        return self.adopt(end)

    def adopt(self, end: End) -> End:
        """Serve a stream that is there."""
        self._ends[end.fileno()] = end
        return end

    def add_reader(self, descriptor: Descriptor, callback: Callback) -> None:
        self._end(descriptor).listen(callback)

    def add_writer(self, descriptor: Descriptor, callback: Callback) -> None:
        self._end(descriptor).when_writable(callback)

    def remove_reader(self, descriptor: Descriptor) -> None:
        self._end(descriptor).reader = None

    def remove_writer(self, descriptor: Descriptor) -> None:
        self._end(descriptor).writer = None

    def call_at(self, when: float, callback: Callback) -> Timer:
        return self._world.call_at(when, partial(self._call, callback))

    def add_signal(self, number: int, callback: Callback) -> None:
        """No signal comes; what ends is seen when it is asked for."""

    def kill(self) -> None:
        """End all that would still be called back, and all connections."""
        self.is_alive = False
        for end in self._ends.values():
            end.close()

    def _call(self, callback: Callback) -> None:
        if self.is_alive:
            callback()

    def _end(self, descriptor: Descriptor) -> End:
        assert isinstance(descriptor, End)
        return descriptor


class SimulatedHost(Host):
    """The files and processes of a simulated worker, as its user sees them."""

    def __init__(self, worker: Worker, folder: str) -> None:
        self.addresses = frozenset({bytes((127, 0, 0, 1))})
        self._worker = worker
        self._files: FileTree = worker.files
        self._log = posixpath.join(folder, "steward.log")
        self._random = Random(folder)

    def log(self, line: str) -> None:
        self._files.write(self._log, f"{line}\n".encode(), append=True)

    def random(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def read(self, path: str) -> bytes:
        return self._files.read(path)

    def write(self, path: str, data: bytes, *, sure: bool = True) -> None:
        self._files.write(f"{path}.part", data)
        self._files.rename(f"{path}.part", path)

    def names(self, folder: str) -> list[str]:
        return self._files.names(folder)

    def exists(self, path: str) -> bool:
        return self._files.find(path) is not None

    def make_folder(self, path: str) -> None:
        self._files.make_folder(path)

    def remove(self, path: str) -> None:
        remove_tree(self._files, path)

    def history(self, folder: str) -> History:
        return SimulatedHistory(self._files, folder)

    def has_program(self, name: str) -> bool:
        return self._worker.has(name)

    def process(self, folder: str, uuid: str) -> Process:
        return SimulatedProcess(self._worker, folder, uuid)

    def is_held(self, folder: str) -> bool:
        return folder in self._worker.qemus


def remove_tree(files: FileTree, path: str) -> None:
    """Remove a file or a folder; again is fine."""
    node = files.find(path)
    if node is None:
        return
    if not node.is_folder:
        files.remove(path)
        return
    for below, one in reversed(list(files.walk(path))):
        files.remove_folder(below) if one.is_folder else files.remove(below)
    files.remove_folder(path)


class SimulatedProcess(Process):
    """The QEMU of a machine's folder; `status` is known to the steward that has started it."""

    def __init__(self, worker: Worker, folder: str, uuid: str) -> None:
        super().__init__(folder, uuid)
        self._worker = worker
        self._own: Qemu | None = None

    def start(self, argv: list[str], environment: dict[str, str]) -> None:
        if not self._worker.has(argv[0]):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        self._own = Qemu(self._worker, self.folder, argv)

    @property
    def pid(self) -> int | None:
        running = self._worker.qemus.get(self.folder)
        return running.pid if running is not None and running.uuid == self.uuid else None

    @property
    def status(self) -> int | None:
        return None if self._own is None else self._own.status

    def kill(self) -> bool:
        running = self._worker.qemus.get(self.folder)
        if running is None or running.uuid != self.uuid:
            return False
        running.kill()
        return True

    def log_tail(self) -> str:
        path = posixpath.join(self.folder, LOG_FILE)
        if not self._worker.files.is_file(path):
            return ""
        return self._worker.files.read(path)[-LOG_TAIL:].decode(errors="replace").strip()

    def bound_log(self) -> None:
        """It never grows large."""


class SimulatedHistory(History):
    """What a console has said, in a file of the worker; the oldest half goes when it is full."""

    def __init__(self, files: FileTree, folder: str) -> None:
        self._files = files
        self._path = posixpath.join(folder, "console.log")
        known = files.read(self._path) if files.is_file(self._path) else b""
        self._base = 0
        self.end = len(known)
        self.tail = known[-TAIL:]
        self.lost = 0

    @property
    def start(self) -> int:
        return self._base

    def append(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL:]
        try:
            node = self._files.write(self._path, data, append=True)
        except OSError:  # a full disk costs history, nothing else
            self.lost += len(data)
            return
        self.end += len(data)
        if node.size > LOG_SIZE:
            kept = self._files.read(self._path)[-LOG_SIZE // 2 :]
            self._files.write(self._path, kept)
            self._base = self.end - len(kept)

    def read(self, offset: int, limit: int) -> tuple[int, bytes]:
        offset = min(max(offset, self._base, 0), self.end)
        if not self._files.is_file(self._path):
            return self.end, b""
        at = offset - self._base
        return offset, self._files.read(self._path)[at : at + limit]

    def clear(self) -> None:
        remove_tree(self._files, self._path)

    def close(self) -> None:
        """Nothing is open."""
