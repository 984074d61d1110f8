"""A terminal in a simulated guest: what is typed is echoed, edited, and becomes commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from labkit.simulator.guest.system import ENVIRONMENT, FOLDER
from labkit.simulator.machine import Buffer, Process
from labkit.simulator.shell import Shell
from labkit.simulator.tasks import Task

if TYPE_CHECKING:
    from labkit.simulator.guest.system import System

INTERRUPT, END, ERASE, KILL_LINE, ESCAPE = 3, 4, (8, 127), 21, 27
INTERRUPTED, HUNG_UP = 130, 129
SHELLS = ("sh", "ash", "dash", "mksh")


class Terminal:
    """Bytes typed and bytes shown; a line is edited here, and then read by whoever runs."""

    def __init__(self, system: System, show: Callable[[bytes], None]) -> None:
        self._system = system
        self._show = show
        self._line = bytearray()
        self._typed = bytearray()  # before anybody reads
        self._in_escape = False
        self._stdin = Buffer()
        self._shell: Shell | None = None
        self._task: Task | None = None
        self._on_end: Callable[[int], None] = _ignore
        self.echoes = True

    @property
    def is_busy(self) -> bool:
        """Whether a command that was typed still runs."""
        return self._task is not None

    def write(self, data: bytes, /) -> None:
        """What a program says."""
        self._show(data.replace(b"\n", b"\r\n"))

    def start_shell(
        self, environment: dict[str, str] | None = None, on_end: Callable[[int], None] | None = None
    ) -> int:
        """Let one type to a root shell; its process id. Without `on_end` it is started again."""
        known = {**ENVIRONMENT, "HOME": "/root", "PWD": FOLDER, **(environment or {})}
        pid = next(self._system.pids)
        process = Process(self._system, ("-sh",), self._stdin, self, self, FOLDER, known, pid)
        self._shell = Shell(process, ("-sh",))
        self._on_end = on_end or (lambda _status: self._start_again())
        self._prompt()
        self._type_ahead()
        return pid

    def start_program(self, process: Process, on_end: Callable[[int], None]) -> None:
        """Run one program, and nothing after it."""
        process = dataclasses.replace(process, stdin=self._stdin, stdout=self, stderr=self)
        self._on_end = on_end
        self._task = self._system.start_process(process, partial(self._done, process.pid))
        self._type_ahead()

    def type(self, data: bytes) -> None:
        if self._shell is None and self._task is None:
            self._typed += data
            return
        for byte in data:
            self._key(byte)

    def hang_up(self) -> None:
        """Nobody looks on any more."""
        self._on_end = _ignore
        if self._task is not None:
            self._task.kill(HUNG_UP)
        self._shell = None

    # ---- inside

    def _type_ahead(self) -> None:
        typed, self._typed = bytes(self._typed), bytearray()
        self.type(typed)

    def _start_again(self) -> None:
        self._show(b"\r\n")
        self.start_shell()

    def _prompt(self) -> None:
        if self._shell is not None:
            self.write(f"{self._system.hostname}:{self._shell.process.folder}# ".encode())

    def _key(self, byte: int) -> None:
        if self._in_escape:
            self._in_escape = not (64 <= byte <= 126 and byte != ord("["))
        elif byte == ESCAPE:
            self._in_escape = True
        elif byte in (10, 13):
            self.write(b"\n")
            line, self._line = bytes(self._line), bytearray()
            self._enter(line)
        elif byte == INTERRUPT:
            self._interrupt()
        elif byte == END:
            self._end_of_input()
        elif byte == KILL_LINE:
            self._show(b"\b \b" * len(self._line))
            self._line.clear()
        elif byte in ERASE:
            if self._line:
                del self._line[-1:]
                self._show(b"\b \b")
        else:
            self._line.append(byte)
            if self.echoes:
                self._show(bytes((byte,)))

    def _interrupt(self) -> None:
        self.write(b"^C\n")
        self._line.clear()
        if self._task is not None:
            self._task.kill(INTERRUPTED)
        else:
            self._prompt()

    def _end_of_input(self) -> None:
        if self._task is not None:
            self._stdin.end()
        elif self._shell is not None and not self._line:
            self._leave(self._shell.status)

    def _enter(self, line: bytes) -> None:
        if self._task is not None:
            self._stdin.write(line + b"\n")
        elif not line.strip():
            self._prompt()
        else:
            self._run(line.decode(errors="replace"))

    def _run(self, line: str) -> None:
        shell = self._shell
        assert shell is not None
        self._stdin.ended = False
        pid = shell.process.pid
        self._task = self._system.spawn(shell.run(line), partial(self._done, pid), pid=pid)

    def _done(self, _pid: int, status: int) -> None:
        self._task = None
        self._stdin.data.clear()
        if self._system.guest.is_over:
            return
        if self._shell is None:
            self._on_end(status)
        elif self._shell.has_exited:
            self._leave(status)
        else:
            self._prompt()

    def _leave(self, status: int) -> None:
        self._shell = None
        self._on_end(status)


def _ignore(_status: int) -> None:
    pass
