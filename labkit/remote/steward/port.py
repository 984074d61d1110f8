"""One NIC's end of a link: the connection to QEMU's socket and its bounded output queue.

QEMU listens (``-netdev stream,server=on``), the steward connects; each frame travels behind its
length, four bytes big-endian.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .impair import Line
    from .loop import Connection, Loop

READ_SIZE = 1 << 18
MAX_FRAME = 4096 + 65536  # QEMU's own limit; a larger length means that the stream is not frames
MAX_QUEUE = 512 << 10  # bytes that wait for one slow NIC; then its frames are dropped
MAX_VECTOR = 256


class Port:
    """Reads whole frames into `receive(port, buffer, end) -> used` and writes whole frames."""

    def __init__(self, loop: Loop, index: int, nic: int, path: str) -> None:
        self.index = index
        self.nic = nic
        self.path = path
        self.receive: Callable[[Port, bytearray, int], int] = _ignore
        self.lost: Callable[[Port, str], None] = _forget
        self.outgoing: Line | None = None  # what the machine sends
        self.incoming: Line | None = None  # what it is sent
        self.counters = dict.fromkeys(
            ("sent_frames", "sent_bytes", "received_frames", "received_bytes"), 0
        )
        # queue: it reads too slowly; down: the link is; off: its machine is (not connected)
        self.dropped = dict.fromkeys(("queue", "runt", "down", "off"), 0)
        self._loop = loop
        self._socket: Connection | None = None
        self._rest = b""
        self._queue: deque[bytes | memoryview] = deque()
        self._queued = 0

    @property
    def key(self) -> tuple[int, int]:
        return self.index, self.nic

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def connect(self) -> bool:
        """Try at once; False when QEMU does not listen (yet)."""
        try:
            connection = self._loop.connect(self.path)
        except OSError:  # not there, nobody listens, or it has a client: all of them may change
            return False
        self.use(connection)
        return True

    def use(self, connection: Connection) -> None:
        """Speak to QEMU over a connection that is there."""
        self._socket = connection
        self._loop.add_reader(connection, self._read)

    def close(self) -> None:
        if self._socket is not None:
            self._loop.remove(self._socket)
            self._socket.close()
            self._socket = None
        self._rest = b""
        self._queue.clear()
        self._queued = 0

    def _fail(self, reason: str) -> None:
        self.close()
        self.lost(self, reason)

    # from the machine

    def _read(self) -> None:
        assert self._socket is not None
        start, view = len(self._rest), self._loop.scratch_view
        if start:
            view[:start] = self._rest
        try:
            count = self._socket.recv_into(view[start : start + READ_SIZE])
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        if not count:
            self._fail("QEMU closed the connection")
            return
        end = start + count
        used = self.receive(self, self._loop.scratch, end)
        if used < 0:
            self._fail("what it sent is not frames")
        elif self._socket is not None:  # the receiver may have closed this port
            self._rest = bytes(view[used:end])

    # to the machine

    def send(self, start: int, end: int, frames: int) -> None:
        """Send frames that lie in the read buffer, or keep a copy of what does not fit."""
        if self._socket is None:
            self.dropped["off"] += frames
            return
        view = self._loop.scratch_view[start:end]
        if self._queue:
            self._keep(view, frames)
            return
        try:
            count = self._socket.send(view)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        self._count(frames, end - start)
        if count < end - start:
            self._wait([bytes(view[count:])])

    def send_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames of their own."""
        if self._socket is None:
            self.dropped["off"] += len(frames)
            return
        for first in range(0, len(frames), MAX_VECTOR):
            self._send_vector(frames[first : first + MAX_VECTOR])

    def _send_vector(self, frames: Sequence[bytes]) -> None:
        if self._socket is None:
            return
        if self._queue:
            for frame in frames:
                self._keep(memoryview(frame), 1)
            return
        size = sum(map(len, frames))
        try:
            count = self._socket.sendmsg(frames)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        self._count(len(frames), size)
        if count < size:
            self._wait(_after(frames, count))

    def _count(self, frames: int, size: int) -> None:
        self.counters["received_frames"] += frames
        self.counters["received_bytes"] += size - 4 * frames

    def _wait(self, rest: Sequence[bytes | memoryview]) -> None:
        assert self._socket is not None
        self._queue.extend(rest)
        self._queued += sum(map(len, rest))
        self._loop.add_writer(self._socket, self._write)

    def _keep(self, view: memoryview, frames: int) -> None:
        """Queue as many of these frames as there is room for, whole ones only."""
        kept, end = frames, len(view)
        if self._queued + end > MAX_QUEUE:
            kept = end = 0
            while end < len(view):
                after = end + 4 + int.from_bytes(view[end : end + 4], "big")
                if self._queued + after > MAX_QUEUE:
                    break
                kept, end = kept + 1, after
            self.dropped["queue"] += frames - kept
        if kept:
            self._count(kept, end)
            self._queue.append(bytes(view[:end]))
            self._queued += end

    def _write(self) -> None:
        queue = self._queue
        assert self._socket is not None
        try:
            while queue:
                vector = [queue[index] for index in range(min(len(queue), MAX_VECTOR))]
                count = self._socket.sendmsg(vector)
                self._queued -= count
                while count:
                    first = queue.popleft()
                    if count < len(first):
                        queue.appendleft(memoryview(first)[count:])
                        break
                    count -= len(first)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        self._loop.remove_writer(self._socket)


def _after(frames: Sequence[bytes], count: int) -> list[bytes | memoryview]:
    """What is left of frames when `count` bytes of them are gone."""
    for number, frame in enumerate(frames):
        if count < len(frame):
            return [memoryview(frame)[count:], *frames[number + 1 :]]
        count -= len(frame)
    return []


def _ignore(_port: Port, _buffer: bytearray, end: int) -> int:
    return end


def _forget(_port: Port, _reason: str) -> None:
    pass
