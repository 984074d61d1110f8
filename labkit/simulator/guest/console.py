"""The serial console of a simulated guest: its messages, and a shell that one types to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.simulator.guest.system import ENVIRONMENT, FOLDER
from labkit.simulator.machine import Buffer, Process
from labkit.simulator.shell import Shell
from labkit.simulator.tasks import Task

if TYPE_CHECKING:
    from labkit.simulator.guest.guest import Guest
    from labkit.simulator.qemu.process import Plug

INTERRUPT, END, ERASE = 3, 4, (8, 127)
INTERRUPTED = 130


class Console:
    """What is printed goes to the line; what is typed is echoed and becomes commands."""

    def __init__(self, guest: Guest, plug: Plug) -> None:
        self._guest = guest
        self._plug = plug
        self._line = bytearray()
        self._typed = bytearray()  # before anybody listens
        self._shell: Shell | None = None
        self._task: Task | None = None
        self._asks_for = ""
        plug.on_data = self._type
        plug.pause(paused=False)

    def print(self, data: bytes) -> None:
        self._plug.send(data.replace(b"\n", b"\r\n"))

    def write(self, data: bytes, /) -> None:
        self.print(data)

    def tell(self, text: str) -> None:
        """A sentence of labkit's own."""
        self._plug.send(f"labkit: {text}\r\r\n".encode())

    @property
    def is_busy(self) -> bool:
        """Whether a command that was typed still runs."""
        return self._task is not None

    def start_shell(self) -> None:
        """Let one type to a root shell."""
        system = self._guest.system
        environment = {**ENVIRONMENT, "HOME": "/root", "PWD": FOLDER}
        self._stdin = Buffer()
        process = Process(
            system, ("-sh",), self._stdin, self, self, FOLDER, environment, next(system.pids)
        )
        self._shell = Shell(process, ("-sh",))
        self._prompt()
        typed, self._typed = bytes(self._typed), bytearray()
        self._type(typed)

    def start_login(self) -> None:
        """A system that asks who one is first, and believes it."""
        self._asks_for = "login"
        self.print(f"\n{self._guest.system.hostname} login: ".encode())

    # ---- inside

    def _prompt(self) -> None:
        if self._shell is not None:
            name, folder = self._guest.system.hostname, self._shell.process.folder
            self.print(f"{name}:{folder}# ".encode())

    def _type(self, data: bytes) -> None:
        if self._shell is None and not self._asks_for:
            self._typed += data
            return
        for byte in data:
            self._key(byte)

    def _key(self, byte: int) -> None:
        if byte in (10, 13):
            self.print(b"\n")
            line, self._line = bytes(self._line), bytearray()
            self._enter(line)
        elif byte == INTERRUPT:
            self.print(b"^C\n")
            self._line.clear()
            if self._task is not None:
                self._task.kill(INTERRUPTED)
            else:
                self._prompt()
        elif byte == END:
            if self._task is not None:
                self._stdin.end()
        elif byte in ERASE:
            if self._line:
                del self._line[-1:]
                self.print(b"\b \b")
        else:
            self._line.append(byte)
            if self._asks_for != "password":
                self._plug.send(bytes((byte,)))

    def _enter(self, line: bytes) -> None:
        if self._asks_for == "login":
            self._asks_for = "password"
            self.print(b"Password: ")
        elif self._asks_for:
            self._asks_for = ""
            self.start_shell()
        elif self._task is not None:
            self._stdin.write(line + b"\n")
        else:
            self._run(line.decode(errors="replace"))

    def _run(self, line: str) -> None:
        assert self._shell is not None
        if not line.strip():
            self._prompt()
            return
        self._stdin.ended = False
        self._task = self._guest.system.spawn(self._shell.run(line), self._done)

    def _done(self, _status: int) -> None:
        self._task = None
        self._stdin.data.clear()
        if not self._guest.is_over:
            self._prompt()
