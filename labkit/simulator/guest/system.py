"""The running system of a simulated guest: its files, programs, processes and network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from labkit.executor import SIGNALLED
from labkit.simulator.files import FileTree
from labkit.simulator.guest import words
from labkit.simulator.guest.files import GuestFiles
from labkit.simulator.guest.programs import ip
from labkit.simulator.machine import Buffer, Job, Machine, Nowhere, Process, Program, Steps
from labkit.simulator.net.stack import Stack
from labkit.simulator.shell import script
from labkit.simulator.tasks import Gate, Pipe, Task

if TYPE_CHECKING:
    from labkit.simulator.guest.guest import Guest

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
        self._tasks: dict[int, Task] = {}  # by the process they run
        self._groups: dict[int, list[Task]] = {}  # what runs in the background, by its leader

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

    def ip(self, line: list[str]) -> str:
        """Do what the program `ip` does; "" or its complaint."""
        return ip.run(self.net, line, self.show_interfaces).err.strip()

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
        for task in self._groups.pop(leader, []):
            task.kill(SIGNALLED + SIGTERM)

    # ---- programs beside one another

    has_background = True

    def run_beside(self, process: Process, steps: Steps[int], sink: Buffer | None = None) -> Job:
        process.owner = process.pid
        self.processes[process.pid] = process

        def ended(_status: int) -> None:
            self.processes.pop(process.pid, None)
            self._tasks.pop(process.pid, None)
            process.stdin.abandon()
            if sink is not None:
                sink.end()

        gate = sink.gate if isinstance(sink, Pipe) else None
        task = self._tasks[process.pid] = self.spawn(steps, ended, gate, process.pid)
        group = self._groups.setdefault(process.leader or process.pid, [])
        group[:] = [one for one in group if one.status is None]
        group.append(task)
        return task

    def pipe(self) -> Buffer:
        return Pipe()

    def jobs(self, leader: int) -> list[Job]:
        return [task for task in self._groups.get(leader, []) if task.status is None]

    def kill(self, pid: int, number: int) -> bool:
        process = self.processes.get(pid)
        task = self._tasks.get(process.owner or pid if process is not None else pid)
        if task is None:
            return process is not None
        if number:
            task.kill(SIGNALLED + number)
        return True

    shell_failure = 1
    echo_reads_backslashes = False

    def shell_words(self, name: str, message: str) -> str:
        return words.of_shell(name, message)

    def program_words(self, name: str, message: str) -> str:
        return words.of_program(name, message)

    def start_process(
        self, process: Process, on_end: Callable[[int], None], gate: Gate | None = None
    ) -> Task:
        """Run a program beside all others."""
        process.owner = process.pid

        def ended(status: int) -> None:
            self._tasks.pop(process.pid, None)
            on_end(status)

        task = self.spawn(self.start(process), ended, gate, process.pid)
        self._tasks[process.pid] = task
        return task

    def spawn(
        self,
        steps: Steps[int],
        on_end: Callable[[int], None],
        gate: Gate | None = None,
        pid: int = 0,
    ) -> Task:
        """Run steps beside all others."""
        task = Task(self.guest, steps, on_end, gate, pid)
        task.start()
        return task


def system_of(process: Process) -> System:
    """The guest a program runs in."""
    assert isinstance(process.machine, System)
    return process.machine


def _ignore(_status: int) -> None:
    pass
