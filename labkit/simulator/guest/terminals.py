"""Commands that the host runs in a terminal of their own."""

from __future__ import annotations

import posixpath

from labkit.simulator.guest.requests import Command, Outlet
from labkit.simulator.guest.terminal import SHELLS, Terminal
from labkit.simulator.machine import Buffer, Process

END_OF_INPUT = 4


class TerminalCommand(Command):
    """``run`` with ``pty``: all it says is one stream, and what comes is typed."""

    is_hungry = False

    @property
    def is_watched(self) -> bool:  # type: ignore[override]
        return self._terminal.is_busy

    def _start(self, argv: tuple[str, ...], folder: str, environment: dict[str, str]) -> None:
        system = self._guest.system
        self._out, self._err = Outlet(self, "out"), Outlet(self, "err")
        self._terminal = Terminal(system, self._out.write)
        is_shell = posixpath.basename(argv[0]) in SHELLS and not set(argv[1:]) - {"-l", "-i"}
        process = self._process = Process(
            system, argv, Buffer(), self._out, self._out, folder, environment, next(system.pids)
        )
        self.port.tell("started", self.token, pid=process.pid, terminal=f"/dev/pts/{process.pid}")
        if is_shell:
            self._terminal.start_shell(environment, self._ended)
        else:
            self._terminal.start_program(process, self._ended)

    def frame(self, verb: str, payload: bytes) -> None:
        if verb == "in":
            self._input += len(payload)
            self.port.send("credit", self.token, b"%d" % len(payload))
            self._terminal.type(payload)
        elif verb == "eof":
            self._terminal.type(bytes((END_OF_INPUT,)))
        else:
            super().frame(verb, payload)

    def abandon(self) -> None:
        self._queue.clear()
        self._terminal.hang_up()

    def _stop(self, why: str, number: int) -> None:
        if self._status is None:
            self._why = why
            self._terminal.hang_up()
            self._ended(128 + number)
