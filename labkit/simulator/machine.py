"""Simulated machines and processes: what a simulated program is started with.

A program is a plain function of its `Process` that returns its status, or a generator that does
and that yields what it waits for: time or its input (`Wait`). It has no thread; whoever
wants its output drives it, see `labkit.simulator.running`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import posixpath
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

from labkit import rules
from labkit.executor import MAX_OUTPUT, NO_SUCH_PROGRAM
from labkit.simulator.clock import Clock
from labkit.simulator.faults import Fault, Faults, readable
from labkit.simulator.files import FileTree
from labkit.simulator.waiting import Signal

PROGRAM_SECONDS = 0.002  # what starting any program takes
BIN_FOLDERS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")


@dataclass(frozen=True, slots=True)
class Wait:
    """The program sleeps, or works, for this long; 0 only gives others a turn.

    With `for_input` it goes on as soon as there is standard input, or its end; `is_contended`
    says that it waits for what another program does. In a guest it also goes on when there is
    something in `source`, or when `signal` fires.
    """

    seconds: float
    for_input: bool = False
    is_contended: bool = False
    source: Buffer | None = None
    signal: Signal | None = None


TURN = Wait(0)
T = TypeVar("T")
Steps: TypeAlias = Generator[Wait, None, T]


class Sink(Protocol):
    """Where a process writes to."""

    def write(self, data: bytes, /) -> None: ...


class TooMuchOutput(Exception):
    """A buffer is over its limit."""


class Buffer:
    """A stream of bytes between a writer and a reader, one of which may be outside."""

    def __init__(self, data: bytes = b"", *, ended: bool = False, limit: int = MAX_OUTPUT) -> None:
        self.data = bytearray(data)
        self.ended = ended
        self.limit = limit
        self.changed = Signal()

    def write(self, data: bytes, /) -> None:
        self.data += data
        if len(self.data) > self.limit:
            raise TooMuchOutput
        self.changed.fire()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self.changed.fire()

    def abandon(self) -> None:
        """Nobody reads it any more."""

    def take(self, size: int) -> bytes:
        """Up to `size` bytes from its start; all when `size` is negative."""
        end = len(self.data) if size < 0 else size
        taken = bytes(self.data[:end])
        del self.data[:end]
        return taken


class Nowhere:
    """``/dev/null``."""

    def write(self, data: bytes, /) -> None:
        del data


@dataclass(slots=True)
class Process:
    """What a program knows of its surroundings. `folder` is its working directory."""

    machine: Machine
    argv: tuple[str, ...]
    stdin: Buffer
    stdout: Sink
    stderr: Sink
    folder: str
    environment: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    leader: int = 0  # the process that all in its group came from; 0 is itself
    owner: int = 0  # the process that it ends with

    @property
    def files(self) -> FileTree:
        return self.machine.files

    def path(self, path: str) -> str:
        """A path of its arguments, from the root."""
        return self.files.absolute(posixpath.join(self.folder, path))

    def say(self, *lines: str) -> None:
        """Lines of text to standard output."""
        self.stdout.write(encode("".join(f"{line}\n" for line in lines)))

    def fail(self, message: str, status: int = 1) -> int:
        """Complain on standard error in the program's name; returns the status to end with."""
        words = self.machine.program_words(posixpath.basename(self.argv[0]), message)
        self.stderr.write(encode(f"{words}\n"))
        return status

    def read(self, size: int) -> Steps[bytes]:
        """Up to `size` bytes of standard input, as soon as there are any; ``b""`` at its end."""
        while not self.stdin.data and not self.stdin.ended:
            yield self._input()
        return self.stdin.take(size)

    def read_all(self) -> Steps[bytes]:
        """All of standard input."""
        data = bytearray()
        while not self.stdin.ended:
            yield self._input()
            data += self.stdin.take(-1)
        return bytes(data + self.stdin.take(-1))

    def _input(self) -> Wait:
        return Wait(math.inf, for_input=True, source=self.stdin)

    def start(
        self,
        *argv: str,
        stdin: Buffer | None = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        folder: str | None = None,
    ) -> Steps[int]:
        """Run another program to its end; what is not given is shared with this one."""
        child = dataclasses.replace(
            self,
            argv=argv,
            stdin=self.stdin if stdin is None else stdin,
            stdout=stdout or self.stdout,
            stderr=stderr or self.stderr,
            folder=self.folder if folder is None else folder,
            environment=dict(self.environment),
            pid=next(self.machine.pids),
        )
        return (yield from self.machine.start(child))


Program: TypeAlias = Callable[[Process], int | Steps[int]]


def encode(text: str) -> bytes:
    """Text as a program's bytes; arguments that were no UTF-8 come out as they went in."""
    return text.encode("utf-8", "surrogateescape")


class Job(Protocol):
    """Something that runs beside the program that has started it."""

    pid: int

    def wait(self) -> Steps[int]:
        """Its status, once it has ended."""


class Machine:
    """A simulated machine: its address, size and user, its files, and the programs it has."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        programs: Mapping[str, Program],
        *,
        hostname: str = "",
        user: str = "ubuntu",
        cores: int = 4,
        ram: int = 8 * rules.GIB,
        faults: Faults | None = None,
    ) -> None:
        self.name = name
        self.hostname = hostname or name
        self.clock = clock
        self.programs = dict(programs)
        self.user = user
        self.cores = cores
        self.ram = ram
        self.files = FileTree(clock, user=user)
        self.faults = faults or Faults()
        self.lock = threading.RLock()
        self.pids = itertools.count(1001)
        self.processes: dict[int, Process] = {}  # those that run now
        self.locked: set[str] = set()  # paths that a running program has locked

    def __repr__(self) -> str:
        return f"<Machine {self.name}>"

    def program(self, name: str) -> Program | None:
        """The program a name or a path in one of the system's folders stands for."""
        folder, base = posixpath.split(name)
        return self.programs.get(base) if not folder or folder in BIN_FOLDERS else None

    def has(self, name: str) -> bool:
        """Whether a program can be started here, as `which` tells it."""
        return self.program(name) is not None and not self.faults.hide(self.name, name)

    def process(self, argv: tuple[str, ...], stdin: Buffer, stdout: Sink, stderr: Sink) -> Process:
        """A process as a login starts it: in the home folder."""
        home = self.files.home
        environment = {"HOME": home, "USER": self.user, "PATH": ":".join(BIN_FOLDERS), "PWD": home}
        return Process(self, argv, stdin, stdout, stderr, home, environment, next(self.pids))

    has_background = False  # whether programs can run side by side
    shell_failure = 2  # the status of the shell where a script or a stream makes no sense
    echo_reads_backslashes = True  # that of the shell

    def run_beside(self, process: Process, steps: Steps[int], sink: Buffer | None = None) -> Job:
        """Let steps run by themselves; `sink` is ended with them."""
        raise NotImplementedError

    def pipe(self) -> Buffer:
        """What one program writes to while another reads."""
        raise NotImplementedError

    def jobs(self, leader: int) -> list[Job]:
        """What a process has let run beside it."""
        del leader
        return []

    def kill(self, pid: int, number: int) -> bool:
        """Send a signal that ends a process; False when there is none."""
        del pid, number
        return False

    def shell_words(self, name: str, message: str) -> str:
        """A complaint of the shell, as the one of this machine puts it."""
        return f"{name}: 1: {message}"

    def program_words(self, name: str, message: str) -> str:
        """A complaint of a program, as those of this machine put it."""
        return f"{name}: {message}"

    def start(self, process: Process, program: Program | None = None) -> Steps[int]:
        """Run a program to its end, with the faults that are scripted for it.

        `program` is done in place of the one that the process names.
        """
        fault = self.faults.of_program(self.name, readable(process.argv, process.stdin.data))
        self.processes[process.pid] = process
        try:
            yield Wait(PROGRAM_SECONDS)
            if fault is None:
                return (yield from self._work(process, program))
            return (yield from self._misbehave(process, program, fault))
        finally:
            del self.processes[process.pid]

    def _work(self, process: Process, program: Program | None) -> Steps[int]:
        program = program or self.program(process.argv[0])
        if program is None:
            return self._missing(process)
        outcome = program(process)
        return outcome if isinstance(outcome, int) else (yield from outcome)

    def _missing(self, process: Process) -> int:
        process.stderr.write(encode(f"{process.argv[0]}: not found\n"))
        return NO_SUCH_PROGRAM

    def _misbehave(self, process: Process, program: Program | None, fault: Fault) -> Steps[int]:
        if fault.kind == "exit":
            process.stderr.write(encode(fault.stderr))
            return fault.status
        if fault.kind == "missing":
            return self._missing(process)
        if fault.kind == "hang":
            yield Wait(math.inf)
        before, self.files.refuse = self.files.refuse, fault.error_number
        try:
            return (yield from self._work(process, program))
        finally:
            self.files.refuse = before


def at_once(steps: Steps[T]) -> Steps[T]:
    """Run the steps with nothing in between, then wait as long as they would have."""
    seconds = 0.0
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            yield Wait(seconds)
            value: T = end.value
            return value
        seconds += wait.seconds
        if math.isinf(seconds):
            yield wait
