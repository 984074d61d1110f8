"""The serial console of a simulated guest: its messages, and a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.simulator.guest.terminal import Terminal

if TYPE_CHECKING:
    from labkit.simulator.guest.guest import Guest
    from labkit.simulator.qemu.process import Plug

ENTER = (10, 13)


class Console(Terminal):
    """The terminal on the serial line. A system that has its own users asks for one first."""

    def __init__(self, guest: Guest, plug: Plug) -> None:
        super().__init__(guest.system, plug.send)
        self._plug = plug
        self._asks_for = ""
        plug.on_data = self._hear

    def tell(self, text: str) -> None:
        """A sentence of labkit's own."""
        self._plug.send(f"labkit: {text}\r\r\n".encode())

    def start_login(self) -> None:
        """Ask who one is, and believe it."""
        self._asks_for = "login"
        self.write(f"\n{self._system.hostname} login: ".encode())

    def _hear(self, data: bytes) -> None:
        if not self._asks_for:
            self.type(data)
            return
        for place, byte in enumerate(data):
            if byte not in ENTER:
                if self._asks_for == "login":
                    self._plug.send(bytes((byte,)))
                continue
            self.write(b"\n")
            if self._asks_for == "login":
                self._asks_for = "password"
                self.write(b"Password: ")
            else:
                self._asks_for = ""
                self.start_shell()
                self.type(data[place + 1 :])
                return
