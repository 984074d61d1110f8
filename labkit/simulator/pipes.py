"""Streams in memory that behave as connected, non-blocking sockets do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from labkit.simulator.world import World

CAPACITY = 1 << 18  # bytes under way each way


class End:
    """One end of a stream. `reader` and `writer` are called when there is something to do."""

    def __init__(self, world: World) -> None:
        self.reader: Callable[[], None] | None = None
        self.writer: Callable[[], None] | None = None
        self.is_closed = False
        self.is_queued = False
        self.peer: End = self
        self._world = world
        self._number = world.number()
        self._in = bytearray()

    def fileno(self) -> int:
        """A number that no other stream has."""
        return self._number

    # ---- as a socket

    def recv(self, size: int, /) -> bytes:
        if not self._in:
            if self.peer.is_closed:
                return b""
            raise BlockingIOError
        data = bytes(self._in[:size])
        del self._in[:size]
        self._world.wake(self.peer)
        return data

    def recv_into(self, buffer: memoryview, /) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        if self.is_closed or self.peer.is_closed:
            raise BrokenPipeError
        room = CAPACITY - len(self.peer._in)
        if room <= 0 and len(data):
            raise BlockingIOError
        self.peer._in += data[:room]
        self._world.wake(self.peer)
        return min(room, len(data))

    def sendmsg(self, buffers: Iterable[bytes | memoryview], /) -> int:
        return self.send(b"".join(buffers))

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.reader = self.writer = None
            self._in.clear()
            self._world.wake(self.peer)

    # ---- what the world asks

    @property
    def readable(self) -> bool:
        return bool(self._in) or self.peer.is_closed

    @property
    def writable(self) -> bool:
        return len(self.peer._in) < CAPACITY or self.peer.is_closed

    def poll(self) -> bool:
        if self.reader is not None and self.readable:
            self.reader()
        if self.writer is not None and self.writable:
            self.writer()
        is_wanted = (self.reader is not None and self.readable) or (
            self.writer is not None and self.writable
        )
        return is_wanted and not self.is_closed

    # ---- for those who are no sockets

    def listen(self, reader: Callable[[], None] | None) -> None:
        """Have a function called whenever there is something to read, or nobody."""
        self.reader = reader
        self._world.wake(self)

    def when_writable(self, writer: Callable[[], None] | None) -> None:
        """Have a function called whenever there is room to write, or nobody."""
        self.writer = writer
        self._world.wake(self)


def pair(world: World) -> tuple[End, End]:
    """Two ends of one stream."""
    first, second = End(world), End(world)
    first.peer, second.peer = second, first
    return first, second


class Sender:
    """Writes all it is given, as fast as the other side reads; keeps what does not fit yet."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._waiting = bytearray()

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def send(self, data: bytes) -> None:
        self._waiting += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self.end.send(self._waiting)]
        except BlockingIOError:
            self.end.when_writable(self._flush)
            return
        except BrokenPipeError:
            self._waiting.clear()
        if self.end.writer is not None:
            self.end.when_writable(None)
