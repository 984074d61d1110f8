"""One TCP connection: handshake, data both ways with acknowledgements, repetition, and its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from labkit.simulator.net.wire import ACK, FIN, PSH, RST, SYN, Address, Segment
from labkit.simulator.waiting import Signal, Times

MSS = 1460
WINDOW = 64240
FIRST_FLIGHT = 10 * MSS
FIRST_WAIT, LONGEST_WAIT, LEAST_WAIT = 1.0, 60.0, 0.2
ATTEMPTS = 15
ATTEMPTS_TO_CONNECT = 6
QUICK, CONFIRM_SECONDS = 16, 0.04  # behind so many segments every second is acknowledged
LINGER_SECONDS = 5.0  # less than Linux's minute: what is closed is soon forgotten
MASK = 0xFFFFFFFF


class Connection:
    """Bytes to a peer and from it. `received` holds what nobody has taken, `changed` tells."""

    def __init__(
        self,
        ports: tuple[int, int],
        addresses: tuple[Address, Address],
        times: Times,
        transmit: Callable[[Segment], None],
        is_made: Callable[[Connection], None],
        is_over: Callable[[], None],
        first: int,
    ) -> None:
        self.ports = ports
        self.addresses = addresses
        self.state = "CLOSED"
        self.error = ""
        self.received = bytearray()
        self.has_ended = False  # the peer sends no more
        self.changed = Signal()
        self.retransmitted = 0
        self.round_trip = 0.0
        self._times = times
        self._transmit = transmit
        self._is_made = is_made
        self._is_over = is_over
        self._base = first  # sequence number of the first byte in `_out`
        self._out = bytearray()  # not acknowledged yet
        self._sent = 0  # of `_out`
        self._finishing = False
        self._fin_sent = self._fin_was_sent = False  # since the last repetition; ever
        self._next = 0  # what we expect
        self._early: dict[int, Segment] = {}
        self._peer_window = MSS
        self._flight = FIRST_FLIGHT
        self._threshold = 1 << 20
        self._duplicates = 0
        self._wait = FIRST_WAIT
        self._attempts = 0
        self._turn = 0  # timers of an earlier turn mean nothing
        self._timed: tuple[int, float] | None = None
        self._came = self._unconfirmed = 0  # segments with data; those not acknowledged yet

    @property
    def is_open(self) -> bool:
        return self.state in ("ESTABLISHED", "CLOSE_WAIT")

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not acknowledged."""
        return len(self._out)

    # ---- what the program does

    def open(self) -> None:
        self.state = "SYN_SENT"
        self._send(SYN, self._base, mss=MSS)
        self._watch()

    def accept(self, syn: Segment) -> None:
        self.state = "SYN_RECEIVED"
        self._next = syn.sequence + 1 & MASK
        self._peer_window = syn.window
        self._send(SYN | ACK, self._base, mss=MSS)
        self._watch()

    def write(self, data: bytes) -> None:
        self._out += data
        self._push()

    def finish(self) -> None:
        """No more will be written."""
        if not self._finishing:
            self._finishing = True
            self._push()

    def take(self, size: int) -> bytes:
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    def abort(self) -> None:
        """End it at once."""
        if self.state not in ("CLOSED", "TIME_WAIT", "SYN_SENT"):
            self._send(RST | ACK, self._base + self._sent)
        self._end()

    def fail(self, error: str) -> None:
        if self.state in ("SYN_SENT", "SYN_RECEIVED"):
            self.error = error
            self._end()

    # ---- what comes

    def receive(self, segment: Segment) -> None:
        if segment.flags & RST:
            if self.state == "SYN_SENT":
                self.error = "Connection refused"
            elif self.state not in ("TIME_WAIT", "LAST_ACK", "CLOSING"):
                self.error = "Connection reset by peer"
            self._end()
            return
        if self.state == "SYN_SENT":
            self._connected(segment)
            return
        if segment.flags & ACK:
            if self.state == "SYN_RECEIVED" and _after(segment.acknowledged, self._base):
                self._establish()
                self._push()
            self._acknowledged(segment)
        if segment.flags & SYN:
            self._send(SYN | ACK if self.state == "SYN_RECEIVED" else ACK, self._where())
        elif segment.length:
            self._take(segment)
        self.changed.fire()

    def _connected(self, segment: Segment) -> None:
        if segment.flags & (SYN | ACK) == SYN | ACK and segment.acknowledged == self._base + 1:
            self._next = segment.sequence + 1 & MASK
            self._peer_window = segment.window
            self._establish()
            self._send(ACK, self._base)
            self._push()
            self.changed.fire()

    def _establish(self) -> None:
        self.state = "ESTABLISHED"
        self._base = self._base + 1 & MASK
        self._rest()
        self._is_made(self)

    def _acknowledged(self, segment: Segment) -> None:
        self._peer_window = segment.window
        count = segment.acknowledged - self._base & MASK
        if count > len(self._out) + self._fin_was_sent:
            return  # of an earlier time
        if not count:
            is_duplicate = not segment.length and self._sent
            self._duplicates = self._duplicates + 1 if is_duplicate else 0
            if self._duplicates == 3:
                self._lost()
            return
        self._measure(segment.acknowledged)
        self._duplicates = self._attempts = 0
        data = min(count, len(self._out))
        del self._out[:data]
        self._sent = max(0, self._sent - data)
        self._base = self._base + data & MASK
        grown = MSS if self._flight < self._threshold else MSS * MSS // self._flight
        self._flight = min(self._flight + grown, WINDOW)
        if count > data:  # our end has arrived
            self._base = self._base + 1 & MASK
            self._fin_sent = self._fin_was_sent = False
            self._finished()
            return
        self._rest()
        self._push()

    def _finished(self) -> None:
        self._rest()
        if self.state == "FIN_WAIT1":
            self.state = "FIN_WAIT2"
        elif self.state in ("LAST_ACK", "CLOSING"):
            self._end()

    def _take(self, segment: Segment) -> None:
        """Data or the peer's end."""
        ahead = segment.sequence - self._next & MASK
        if 0 < ahead < WINDOW:
            self._early[segment.sequence] = segment
        elif not ahead:
            self._in_order(segment)
            while (early := self._early.pop(self._next, None)) is not None:
                self._in_order(early)
        elif 0 < (segment.sequence + segment.length - self._next & MASK) < WINDOW:
            old = -ahead & MASK  # partly known
            rest = replace(segment, sequence=self._next, data=segment.data[old:])
            if rest.length:
                self._in_order(rest)
        self._unconfirmed += 1
        self._came += 1
        is_bulk = self._came > QUICK and not segment.flags & FIN and not self._early
        if not is_bulk or self._unconfirmed > 1:
            self._confirm()
        else:
            self._times.call_later(CONFIRM_SECONDS, self._confirm_late)

    def _confirm(self) -> None:
        self._unconfirmed = 0
        self._send(ACK, self._where())

    def _confirm_late(self) -> None:
        if self._unconfirmed and self.state != "CLOSED":
            self._confirm()

    def _in_order(self, segment: Segment) -> None:
        self._next = self._next + segment.length & MASK
        self.received += segment.data
        if segment.flags & FIN:
            self.has_ended = True
            if self.state == "ESTABLISHED":
                self.state = "CLOSE_WAIT"
            elif self.state == "FIN_WAIT1":
                self.state = "CLOSING"
            elif self.state == "FIN_WAIT2":
                self.state = "TIME_WAIT"
                self._times.call_later(LINGER_SECONDS, self._end)

    # ---- what goes

    def _where(self) -> int:
        return self._base + self._sent + (1 if self._fin_sent else 0) & MASK

    def _send(self, flags: int, sequence: int, data: bytes = b"", mss: int = 0) -> None:
        window = max(0, WINDOW - len(self.received))
        self._transmit(Segment(*self.ports, sequence & MASK, self._next, flags, window, data, mss))

    def _push(self) -> None:
        """Send what the peer and the network will take."""
        if self.state not in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "LAST_ACK", "CLOSING"):
            return
        limit = min(self._flight, max(self._peer_window, 1))
        while self._sent < len(self._out) and self._sent < limit:
            size = min(MSS, len(self._out) - self._sent, limit - self._sent)
            data = bytes(self._out[self._sent : self._sent + size])
            is_last = self._sent + size == len(self._out)
            self._time(self._base + self._sent + size & MASK)
            self._send(ACK | (PSH if is_last else 0), self._base + self._sent, data)
            self._sent += size
            self._watch()
        if self._finishing and not self._fin_sent and self._sent == len(self._out):
            if self.state in ("ESTABLISHED", "CLOSE_WAIT"):
                self.state = "FIN_WAIT1" if self.state == "ESTABLISHED" else "LAST_ACK"
            elif self.state == "FIN_WAIT2":
                return
            self._send(FIN | ACK, self._base + self._sent)
            self._fin_sent = self._fin_was_sent = True
            self._watch()

    def _watch(self) -> None:
        """Send again when nothing is heard for a while."""
        self._turn += 1
        turn = self._turn

        def late() -> None:
            if self._turn == turn:
                self._late()

        self._times.call_later(self._wait, late)

    def _rest(self) -> None:
        """All is well: no timer, or a new one."""
        self._turn += 1
        self._wait = max(LEAST_WAIT, min(2 * self.round_trip + LEAST_WAIT, FIRST_WAIT))
        if self._sent or self._fin_sent:
            self._watch()

    def _late(self) -> None:
        self._attempts += 1
        limit = ATTEMPTS_TO_CONNECT if self.state.startswith("SYN") else ATTEMPTS
        if self._attempts > limit:
            self.error = "Connection timed out"
            self._end()
            return
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._timed = None
        if self.state == "SYN_SENT":
            self._send(SYN, self._base, mss=MSS)
            self._watch()
        elif self.state == "SYN_RECEIVED":
            self._send(SYN | ACK, self._base, mss=MSS)
            self._watch()
        else:
            self._lost()

    def _lost(self) -> None:
        """Send again from the first that was not acknowledged, and more gently."""
        self.retransmitted += 1
        self._threshold = max(self._flight // 2, 2 * MSS)
        self._flight = self._threshold if self._duplicates else MSS
        self._sent, self._fin_sent = 0, False
        self._duplicates = 0
        self._timed = None
        self._push()

    def _time(self, until: int) -> None:
        if self._timed is None:
            self._timed = (until, self._times.now())

    def _measure(self, acknowledged: int) -> None:
        if self._timed is not None and not _after(self._timed[0], acknowledged):
            measured = self._times.now() - self._timed[1]
            known = self.round_trip or measured
            self.round_trip = known + (measured - known) / 8
            self._timed = None

    def _end(self) -> None:
        if self.state != "CLOSED":
            self.state = "CLOSED"
            self._turn += 1
            self.has_ended = True
            self._is_over()
            self.changed.fire()


def _after(first: int, second: int) -> bool:
    """Whether one sequence number lies behind another."""
    return 0 < (first - second & MASK) < 1 << 31
