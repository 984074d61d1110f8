"""One link: frames go from a port to the ports they are for, through what impairs them.

Two ports make a cable: what one sends, the other gets. More make a switch that learns which
address is behind which port. Learnt addresses are forgotten when their port disconnects, when the
link goes down, and all together when there are more than `MAX_ADDRESSES`.
"""

from __future__ import annotations

import struct

from .impair import Line
from .port import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop, Timer
    from .port import Port

    # link name, nanoseconds since 1970, frame with QEMU's length in front
    Tap = Callable[[str, int, bytes], None]

MAX_ADDRESSES = 4096
MIN_FRAME = 14  # an Ethernet header; QEMU does not pad short frames
_LENGTH = struct.Struct("!I").unpack_from
_HEADER = struct.Struct("!I6s6s").unpack_from  # length, destination, source


class Link:
    """The frames between some ports, and never to any other."""

    def __init__(self, name: str, loop: Loop) -> None:
        self.name = name
        self.ports: dict[tuple[int, int], Port] = {}
        self.up = True
        self.sent_taps: list[Tap] = []
        self.delivered_taps: list[Tap] = []
        self._loop = loop
        self._addresses: dict[bytes, Port] = {}
        self._lines: list[tuple[Line, Port, bool]] = []  # the port, and whether towards it
        self._timer: Timer | None = None
        self._plain = True

    # what it is made of

    def add(self, port: Port) -> None:
        port.receive = self._receive
        self.ports[port.key] = port
        self.settle()

    def remove(self, port: Port) -> None:
        port.close()
        self.forget(port)
        del self.ports[port.key]
        self.settle()

    def forget(self, port: Port) -> None:
        """Unlearn the addresses behind a port."""
        self._addresses = {
            address: other for address, other in self._addresses.items() if other is not port
        }

    def set_up(self, *, up: bool) -> None:
        """A link that is down loses every frame, also those under way."""
        self.up = up
        if not up:
            self._addresses.clear()
            for line, port, _towards in self._lines:
                port.dropped["down"] += line.clear()
        self.settle()

    def settle(self) -> None:
        """To be called when ports, lines or taps have changed: choose the path of frames."""
        self._lines = []
        for port in self.ports.values():
            for line, towards in ((port.outgoing, False), (port.incoming, True)):
                if line is not None and not line.idle:
                    self._lines.append((line, port, towards))
        taps = self.sent_taps or self.delivered_taps
        self._plain = self.up and not self._lines and not taps
        self._arm()

    @property
    def addresses(self) -> dict[str, Port]:
        """Which port each learnt address is behind."""
        return {address.hex(":"): port for address, port in self._addresses.items()}

    # frames

    def _receive(self, port: Port, buffer: bytearray, end: int) -> int:
        """Pass on the whole frames in front of `end`; how many bytes they are, or -1."""
        if not self._plain:
            return self._receive_each(port, buffer, end)
        if len(self.ports) == 2:
            return self._receive_cable(port, buffer, end)
        return self._receive_switch(port, buffer, end)

    def _receive_cable(self, port: Port, buffer: bytearray, end: int) -> int:
        start = position = frames = 0
        first, second = self.ports.values()
        peer = second if port is first else first
        while position + 4 <= end:
            size = _LENGTH(buffer, position)[0]
            if size > MAX_FRAME:
                return -1
            after = position + 4 + size
            if after > end:
                break
            if size < MIN_FRAME:
                self._pass(port, peer, start, position, frames)
                start, frames = after, -1
                port.dropped["runt"] += 1
            frames += 1
            position = after
        self._pass(port, peer, start, position, frames)
        return position

    def _pass(self, port: Port, peer: Port | None, start: int, end: int, frames: int) -> None:
        """Pass on frames of the read buffer; without a `peer` to all other ports."""
        if not frames:
            return
        port.counters["sent_frames"] += frames
        port.counters["sent_bytes"] += end - start - 4 * frames
        if peer is None:
            for other in list(self.ports.values()):
                if other is not port:
                    other.send(start, end, frames)
        elif peer is not port:  # the receiver is on the sender's side: a switch keeps still
            peer.send(start, end, frames)

    def _receive_switch(self, port: Port, buffer: bytearray, end: int) -> int:
        """Frames that follow one another to the same port go there together."""
        start = position = frames = 0
        peer: Port | None = None
        known, last = self._addresses, b""
        while position + 4 <= end:
            size = _LENGTH(buffer, position)[0]
            if size > MAX_FRAME:
                return -1
            after = position + 4 + size
            if after > end:
                break
            if size < MIN_FRAME:
                self._pass(port, peer, start, position, frames)
                port.dropped["runt"] += 1
                start, position, frames = after, after, 0
                continue
            _, destination, source = _HEADER(buffer, position)
            if source != last:
                self._learn(source, port)
                known, last = self._addresses, source
            goal = None if destination[0] & 1 else known.get(destination)
            if goal is not peer and frames:
                self._pass(port, peer, start, position, frames)
                start, frames = position, 0
            peer = goal
            frames += 1
            position = after
        self._pass(port, peer, start, position, frames)
        return position

    def _learn(self, source: bytes, port: Port) -> None:
        if source[0] & 1:  # no sender has a group's address
            return
        if len(self._addresses) >= MAX_ADDRESSES and source not in self._addresses:
            self._addresses.clear()
        self._addresses[source] = port

    # frames that are impaired, captured or lost

    def _receive_each(self, port: Port, buffer: bytearray, end: int) -> int:
        position, now, line = 0, self._loop.now(), port.outgoing
        frames = []
        while position + 4 <= end:
            size = _LENGTH(buffer, position)[0]
            if size > MAX_FRAME:
                return -1
            after = position + 4 + size
            if after > end:
                break
            if size < MIN_FRAME:
                port.dropped["runt"] += 1
            else:
                frames.append(bytes(buffer[position:after]))
            position = after
        port.counters["sent_frames"] += len(frames)
        port.counters["sent_bytes"] += sum(map(len, frames)) - 4 * len(frames)
        self._tap(self.sent_taps, frames)
        if not self.up:
            port.dropped["down"] += len(frames)
        elif line is None or line.idle:
            self._forward(port, frames, now)
        else:
            for frame in frames:
                line.push(now, frame)
        self._run()
        return position

    def _forward(self, port: Port, frames: list[bytes], now: float) -> None:
        """Frames from a port arrive in the middle of the link."""
        towards: dict[tuple[int, int], list[bytes]] = {}
        for frame in frames:
            for peer in self._peers(port, frame):
                towards.setdefault(peer.key, []).append(frame)
        for key, some in towards.items():
            line = self.ports[key].incoming
            if line is None or line.idle:
                self._deliver(self.ports[key], some)
            else:
                for frame in some:
                    line.push(now, frame)

    def _peers(self, port: Port, frame: bytes) -> list[Port]:
        if len(self.ports) > 2:
            _, destination, source = _HEADER(frame)
            self._learn(source, port)
            goal = None if destination[0] & 1 else self._addresses.get(destination)
            if goal is not None:
                return [] if goal is port else [goal]
        return [other for other in self.ports.values() if other is not port]

    def _deliver(self, port: Port, frames: list[bytes]) -> None:
        self._tap(self.delivered_taps, frames)
        port.send_frames(frames)

    def _tap(self, taps: list[Tap], frames: list[bytes]) -> None:
        if taps:
            stamp = self._loop.time_ns()
            for tap in list(taps):
                for frame in frames:
                    tap(self.name, stamp, frame)

    def _run(self) -> None:
        """Let those frames arrive whose time has come, and wake up for the next."""
        now = self._loop.now()
        for line, port, towards in self._lines:
            frames = line.pop(now)
            if frames and towards:
                self._deliver(port, frames)
            elif frames:
                self._forward(port, frames, now)
        if any(line.idle for line, _, _ in self._lines):
            self.settle()
        else:
            self._arm()

    def _arm(self) -> None:
        due = min((line.due for line, _, _ in self._lines if line.due is not None), default=None)
        if self._timer is not None:
            if self._timer.when == due and self._timer.callback is not None:
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._run)
