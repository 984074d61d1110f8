"""A simulated worker: a machine with a place in the world, stewards, and the QEMUs they started."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from labkit.simulator.faults import Faults
from labkit.simulator.files import FileTree
from labkit.simulator.machine import Machine, Program
from labkit.simulator.pipes import End
from labkit.simulator.world import World

if TYPE_CHECKING:
    from labkit.simulator.qemu.process import Qemu
    from labkit.simulator.steward.steward import SimulatedSteward

LONGEST_PATH = 107  # bytes of a unix socket's path
RUN_FOLDER = "/tmp/labkit-1000"
HOST_FILES = {
    "/proc/sys/kernel/osrelease": "6.1.0-simulated\n",
    "/proc/sys/kernel/random/boot_id": "5ca1ab1e-0000-4000-8000-000000000000\n",
}


class Worker(Machine):
    """What runs here is known by its folder or path: `stewards`, `qemus`, and who listens where."""

    def __init__(
        self,
        name: str,
        world: World,
        programs: Mapping[str, Program],
        hostname: str,
        faults: Faults,
    ) -> None:
        super().__init__(name, world.clock, programs, hostname=hostname, faults=faults)
        self.world = world
        self.run_folder = RUN_FOLDER
        self.stewards: dict[str, SimulatedSteward] = {}
        self.qemus: dict[str, Qemu] = {}
        self._listeners: dict[str, Callable[[], End]] = {}
        install(self.files, HOST_FILES)

    def listen(self, path: str, accept: Callable[[], End]) -> None:
        """Serve a unix socket: `accept` gives the other side of a new connection."""
        self._listeners[path] = accept

    def hang_up(self, path: str) -> None:
        """Serve it no more; again is fine."""
        self._listeners.pop(path, None)

    def connect(self, path: str) -> End:
        """Connect to a unix socket; raises OSError when nobody listens."""
        if len(path.encode()) > LONGEST_PATH:
            raise OSError("AF_UNIX path too long")
        accept = self._listeners.get(path)
        if accept is None:
            number = errno.ECONNREFUSED if self.files.find(path) else errno.ENOENT
            raise OSError(number, os.strerror(number), path)
        return accept()


def install(files: FileTree, contents: Mapping[str, str]) -> None:
    """Write files as root does, with the folders they lie in."""
    user, files.user = files.user, "root"
    try:
        for path, text in contents.items():
            files.make_folder(posixpath.dirname(path), parents=True)
            files.write(path, text.encode())
    finally:
        files.user = user
