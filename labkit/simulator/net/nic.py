"""A network card of a simulated machine: frames behind their lengths, as QEMU's streams carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

MAX_WAITING = 1 << 19  # bytes for a link that does not read; then frames are lost


class Line(Protocol):
    """The socket behind it."""

    on_connect: Callable[[], None]
    on_data: Callable[[bytes], None]

    @property
    def backlog(self) -> int: ...

    def send(self, data: bytes) -> None: ...


class Nic:
    """Whole frames to and from the guest's driver, `receive`; `is_cut`: the cable is broken."""

    def __init__(self, line: Line, mac: str) -> None:
        self.mac = mac
        self.has_carrier = True
        self.is_cut = False
        self.receive: Callable[[bytes], None] = _ignore
        self.carrier_changed: Callable[[], None] = _nothing
        self._line = line
        self._in = bytearray()
        line.on_connect = self._in.clear
        line.on_data = self._read

    def send(self, frame: bytes) -> None:
        if self.has_carrier and not self.is_cut and self._line.backlog < MAX_WAITING:
            self._line.send(len(frame).to_bytes(4, "big") + frame)

    def set_carrier(self, *, has_carrier: bool) -> None:
        if has_carrier != self.has_carrier:
            self.has_carrier = has_carrier
            self.carrier_changed()

    def break_cable(self, *, broken: bool) -> None:
        """Let frames get lost, though the card has its carrier."""
        self.is_cut = broken

    def leave(self) -> None:
        """The driver is gone."""
        self.receive, self.carrier_changed = _ignore, _nothing

    def _read(self, data: bytes) -> None:
        self._in += data
        at, end = 0, len(self._in)
        while at + 4 <= end:
            after = at + 4 + int.from_bytes(self._in[at : at + 4], "big")
            if after > end:
                break
            if self.has_carrier and not self.is_cut:
                self.receive(bytes(self._in[at + 4 : after]))
            at = after
        del self._in[:at]


def _ignore(_frame: bytes) -> None:
    pass


def _nothing() -> None:
    pass
