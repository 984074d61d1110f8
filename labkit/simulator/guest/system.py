"""The running system of a simulated guest: its files, programs, processes and network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from labkit.executor import SIGNALLED
from labkit.simulator.files import FileTree
from labkit.simulator.guest.files import GuestFiles
from labkit.simulator.guest.programs import ip
from labkit.simulator.machine import Buffer, Machine, Nowhere, Process, Program, Steps
from labkit.simulator.net.stack import Stack
from labkit.simulator.shell import script
from labkit.simulator.tasks import Gate, Task

if TYPE_CHECKING:
    from labkit.simulator.guest.guest import Guest

RELEASE = "6.1.0-50-cloud-amd64"
VERSION = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)"
ENVIRONMENT = {
    "HOME": "/",
    "PATH": "/sbin:/usr/sbin:/bin:/usr/bin",
    "SHELL": "/bin/sh",
    "TERM": "vt100",
    "USER": "root",
}
FOLDER = "/root"
EXECUTABLE = 0o111
SIGTERM = 15


class System(Machine):
    """A machine whose programs run by themselves, in the guest's own time."""

    def __init__(self, guest: Guest, programs: Mapping[str, Program]) -> None:
        options = guest.qemu.options
        super().__init__(
            options.name,
            guest.qemu.worker.clock,
            programs,
            hostname="micro",
            user="root",
            cores=options.cores,
            ram=options.memory_mb << 20,
        )
        self.guest = guest
        self.random = Random(guest.boot)
        self.net = Stack(guest, self.random)
        self.files: FileTree = GuestFiles(self)
        self.groups: dict[int, list[Task]] = {}  # what runs in the background, by who started it

    def rename(self, hostname: str) -> None:
        self.hostname = hostname
        self.files.write("/etc/hostname", f"{hostname}\n".encode())

    def program(self, name: str) -> Program | None:
        """Also scripts that were put there."""
        known = super().program(name)
        if known is not None or "/" not in name:
            return known
        node = self.files.find(name)
        is_script = node is not None and node.data is not None and node.mode & EXECUTABLE
        return script if is_script else None

    def ip(self, words: list[str]) -> str:
        """Do what the program `ip` does; "" or its complaint."""
        return ip.run(self.net, words, self.show_interfaces).err.strip()

    def show_interfaces(self) -> None:
        """Let /sys tell of the interfaces by their present names."""
        assert isinstance(self.files, GuestFiles)
        for interface in self.net.interfaces:
            self.files.show_interface(interface)

    def ask_for_lease(self, name: str) -> None:
        """Ask for an address in the background."""
        process = self.background(("udhcpc", "-i", name, "-b"))
        self.start_process(process, _ignore)

    def background(self, argv: tuple[str, ...]) -> Process:
        """A process that nobody listens to."""
        nowhere = Nowhere()
        return Process(
            self,
            argv,
            Buffer(ended=True),
            nowhere,
            nowhere,
            FOLDER,
            dict(ENVIRONMENT),
            next(self.pids),
        )

    def kill_group(self, leader: int) -> None:
        """End what a process has left in the background."""
        for task in self.groups.pop(leader, []):
            task.kill(SIGNALLED + SIGTERM)

    def start_process(
        self, process: Process, on_end: Callable[[int], None], gate: Gate | None = None
    ) -> Task:
        """Run a program beside all others."""
        return self.spawn(self.start(process), on_end, gate)

    def spawn(
        self, steps: Steps[int], on_end: Callable[[int], None], gate: Gate | None = None
    ) -> Task:
        """Run steps beside all others."""
        task = Task(self.guest, steps, on_end, gate)
        task.start()
        return task


def system_of(process: Process) -> System:
    """The guest a program runs in."""
    assert isinstance(process.machine, System)
    return process.machine


def _ignore(_status: int) -> None:
    pass
