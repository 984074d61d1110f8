"""One connection whose bytes go to many readers: kept for late ones, at each one's own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labkit.errors import CommandTimeout, LabkitError, UsageError
from labkit.executor import Connection

READ_SIZE = 1 << 16
READ_TIMEOUT = 3600.0
WRITE_TIMEOUT = 5.0
HISTORY = 1 << 20  # bytes kept for a reader that comes late or falls behind
PAST = 1 << 17  # bytes of before that a new reader is told
AHEAD = 1 << 18  # bytes that may be read before the quickest reader has taken them
LOOK = 5.0  # seconds; how often a feed that waits for its readers asks whether they live


class Feed:
    """Opens the connection when it is first wanted and reads it in a thread.

    `on_open`, `on_data` and `on_end` are told in that thread; `on_end` with the reason, while
    `ending` is held: who holds it when opening is either told of the end, or opens again. While
    there are readers, it is read no faster than the quickest of them; without any, as fast as it
    comes.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        ending: threading.RLock,
        *,
        on_open: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_end: Callable[[str], None],
        on_wait: Callable[[], None],
    ) -> None:
        self._connect, self._ending = connect, ending
        self._on_open, self._on_data, self._on_end = on_open, on_data, on_end
        self._on_wait = on_wait
        self._changed = threading.Condition()  # guards all that follows
        self._running = False
        self._source: Connection | None = None
        self._kept = bytearray()
        self._start = 0  # the place of the first byte that is kept
        self._places: dict[str, int] = {}

    @property
    def source(self) -> Connection | None:
        """The connection, while there is one."""
        with self._changed:
            return self._source

    def open(self) -> None:
        """Connect, in a thread, where it is not connected."""
        with self._changed:
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="labkit-feed", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Send bytes to the other side."""
        source = self.source
        if source is None:
            raise UsageError("cannot type", why="it is not connected")
        source.write(data, WRITE_TIMEOUT)

    def close(self) -> None:
        """Disconnect; again is fine."""
        with self._changed:
            source, self._source = self._source, None
            self._places.clear()
            self._changed.notify_all()
        if source is not None:
            source.close()

    # readers

    def join(self, reader: str) -> None:
        """A reader begins, with some of the past."""
        with self._changed:
            self._places[reader] = max(self._start, self._end - PAST)

    def leave(self, reader: str) -> None:
        with self._changed:
            self._places.pop(reader, None)
            self._changed.notify_all()

    def take(self, reader: str, size: int) -> bytes:
        """The next bytes for a reader; what was forgotten before it took it is told as a line."""
        with self._changed:
            place = self._places.get(reader)
            if place is None:
                return b""
            skipped = max(0, self._start - place)
            place += skipped
            data = bytes(self._kept[place - self._start : place - self._start + size])
            self._places[reader] = place + len(data)
            self._changed.notify_all()
        return b"\r\n[%d bytes skipped]\r\n" % skipped + data if skipped else data

    # the thread

    def _run(self) -> None:
        reason = "it has ended"
        try:
            source = self._connect()
            with self._changed:
                self._source = source
            self._on_open()
            while (data := self._read(source)) is not None:
                self._keep(data)
                self._on_data(data)
        except (LabkitError, OSError) as error:
            reason = str(error)
        finally:
            with self._ending:
                with self._changed:
                    source_left, self._source = self._source, None
                    self._running = False
                self._on_end(reason)
            if source_left is not None:
                source_left.close()

    def _read(self, source: Connection) -> bytes | None:
        while not self._wait_for_readers():
            self._on_wait()
        while True:
            try:
                return source.read(READ_SIZE, READ_TIMEOUT) or None
            except CommandTimeout:
                continue  # a quiet hour

    def _wait_for_readers(self) -> bool:
        with self._changed:
            return self._changed.wait_for(self._may_read, LOOK)

    def _may_read(self) -> bool:
        return not self._places or max(self._places.values()) >= self._end - AHEAD

    def _keep(self, data: bytes) -> None:
        with self._changed:
            self._kept += data
            over = len(self._kept) - HISTORY
            if over > HISTORY // 4:  # in lumps: each moves all that is kept
                del self._kept[:over]
                self._start += over

    @property
    def _end(self) -> int:
        return self._start + len(self._kept)
