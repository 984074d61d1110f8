"""Captures: the frames of one or more links as a pcap stream or file, stamped at the switch.

``capture-start {links, snaplen, where, nanosecond}`` streams: first a part ``{"capture": ID}``
with the header of the pcap file, then parts ``{"links": [[LINK, COUNT]...], "dropped": N}`` with
whole records (the links say where they were seen, in their order), until it is cancelled, stopped
or sent a ``more``. With ``path`` (absolute, or below RUN) it goes to a new file instead, of at most
``max_bytes``, and the answer comes at once. ``capture-stop {capture}`` ends either; the answer of
both requests is ``{packets, bytes, dropped}``. ``where`` is ``sent`` (as the machines send them,
before impairments) or ``delivered`` (as they are sent to them, after).
"""

from __future__ import annotations

import os
import struct

from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Steward
    from .loop import Timer
    from .request import Facts, Request
    from .switch import Link, Tap

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
ETHERNET = 1
MAX_SNAPLEN = 262144
MAX_CAPTURES = 64
MAX_WAITING = 4 << 20  # bytes for a reader that is slow; then packets are dropped, and counted
PIECE = 256 << 10  # bytes of a part
FLUSH_SECONDS = 0.01
FILE_BYTES = 64 << 20
_RECORD = struct.Struct("<IIII")


class Capture:
    """Takes frames, keeps their records until they can be written, counts what it cannot keep."""

    def __init__(self, steward: Steward, number: int, request: Request) -> None:
        self.number = number
        self.links = request.texts("links")
        self.snaplen = request.integer("snaplen", 1, MAX_SNAPLEN, MAX_SNAPLEN)
        self.where = request.text("where", "sent")
        if self.where not in ("sent", "delivered"):
            request.refuse("where", "'sent' or 'delivered'")
        nanosecond = request.flag("nanosecond", default=True)
        self._unit = 1 if nanosecond else 1000
        magic = NANOSECONDS if nanosecond else MICROSECONDS
        self.header = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, self.snaplen, ETHERNET)
        self.packets = self.bytes = self.dropped = 0
        self._steward = steward
        self._records: list[bytes] = []
        self._runs: list[list[object]] = []
        self._waiting = 0
        self._timer: Timer | None = None

    @property
    def totals(self) -> Facts:
        return {"packets": self.packets, "bytes": self.bytes, "dropped": self.dropped}

    def tap(self, link: str, stamp: int, frame: bytes) -> None:
        """A frame, with QEMU's length in front."""
        size = len(frame) - 4
        kept = min(size, self.snaplen)
        if not self._has_room(kept + _RECORD.size):
            self.dropped += 1
            return
        seconds, rest = divmod(stamp, 1_000_000_000)
        record = _RECORD.pack(seconds, rest // self._unit, kept, size) + frame[4 : 4 + kept]
        self._records.append(record)
        if self._runs and self._runs[-1][0] == link:
            self._runs[-1][1] += 1  # type: ignore[operator]
        else:
            self._runs.append([link, 1])
        self.packets += 1
        self.bytes += len(record)
        self._waiting += len(record)
        if self._timer is None:
            self._timer = self._steward.loop.call_later(FLUSH_SECONDS, self._flush_later)

    def _flush_later(self) -> None:
        self._timer = None
        self.flush()

    def _has_room(self, size: int) -> bool:
        return self._waiting + size <= MAX_WAITING

    def flush(self) -> None:
        """Write what waits, as far as it can be written."""
        raise NotImplementedError

    def stop(self, request: Request) -> None:
        """End it, and answer the request for that."""
        raise NotImplementedError

    def _take(self, most: int) -> tuple[list[list[object]], bytes]:
        """Records of about `most` bytes, and the links they come from."""
        count = size = 0
        for record in self._records:
            if count and size + len(record) > most:
                break
            count, size = count + 1, size + len(record)
        data = b"".join(self._records[:count])
        del self._records[:count]
        self._waiting -= size
        runs: list[list[object]] = []
        while count:
            link, length = self._runs[0]
            assert isinstance(length, int)
            taken = min(length, count)
            runs.append([link, taken])
            count -= taken
            if taken == length:
                del self._runs[0]
            else:
                self._runs[0][1] = length - taken
        return runs, data


class StreamCapture(Capture):
    """A capture that a client reads while it runs."""

    def __init__(self, steward: Steward, number: int, request: Request) -> None:
        super().__init__(steward, number, request)
        self._request = request
        self._stopping: list[Request] = []
        request.on_room = self.flush

    def begin(self) -> None:
        self._request.part({"capture": self.number, "links": []}, self.header)

    def abandon(self) -> None:
        self._records.clear()
        self.flush()

    def flush(self) -> None:
        while self._records and self._request.room > 0:
            runs, data = self._take(PIECE)
            self._request.part({"links": runs, "dropped": self.dropped}, data)
        if self._stopping and not self._records:
            for request in (self._request, *self._stopping):
                request.ok(self.totals)
            self._stopping = []

    def stop(self, request: Request) -> None:
        self._stopping.append(request)
        self.flush()


class FileCapture(Capture):
    """A capture into a new file on the steward's host, which goes on without its client."""

    def __init__(self, steward: Steward, number: int, request: Request) -> None:
        super().__init__(steward, number, request)
        self.path = os.path.join(steward.folder, request.text("path"))
        self._room = request.integer("max_bytes", 4096, 1 << 40, FILE_BYTES) - len(self.header)
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(self._file, self.header)
        except OSError as error:
            raise Problem("not-writable", path=self.path, reason=error.strerror) from error

    def _has_room(self, size: int) -> bool:
        return super()._has_room(size) and self.bytes + size <= self._room

    def flush(self) -> None:
        while self._records:
            _, data = self._take(PIECE)
            try:
                written = os.write(self._file, data)
                if written < len(data):
                    os.write(self._file, data[written:])  # raises the reason
            except OSError as error:
                self._room = 0  # no record may follow half a one
                self._records.clear()
                self._runs.clear()
                self._waiting = 0
                facts = {"capture": self.number, "path": self.path, "reason": error.strerror}
                self._steward.event("capture-failed", **facts)

    def stop(self, request: Request) -> None:
        self.flush()
        os.close(self._file)
        request.ok({"path": self.path, **self.totals})


class Captures:
    """The captures that run."""

    def __init__(self, steward: Steward, links: dict[str, Link]) -> None:
        self._steward = steward
        self._links = links
        self._captures: dict[int, Capture] = {}
        self._number = 0
        steward.control.verb("capture-start", self._start)
        steward.control.verb("capture-stop", self._stop)
        steward.control.verb("capture-list", self._list)

    def _start(self, request: Request) -> None:
        if len(self._captures) >= MAX_CAPTURES:
            raise Problem("too-many-captures", limit=MAX_CAPTURES)
        for name in request.texts("links"):
            if name not in self._links:
                raise Problem("unknown-link", link=name)
        self._number += 1
        if "path" in request.arguments:
            file = FileCapture(self._steward, self._number, request)
            self._insert(file)
            request.ok({"capture": file.number, "path": file.path})
            return
        stream = StreamCapture(self._steward, self._number, request)
        request.on_cancel = lambda: self._leave(stream)
        request.on_more = lambda _facts, data: self._enough(stream, request, data)
        self._insert(stream)
        stream.begin()

    def _insert(self, capture: Capture) -> None:
        self._captures[capture.number] = capture
        for name in set(capture.links):
            link = self._links[name]
            _taps(link, capture).append(capture.tap)
            link.settle()

    def _forget(self, capture: Capture) -> None:
        self._captures.pop(capture.number, None)
        for name in set(capture.links):
            link = self._links.get(name)
            if link is not None and capture.tap in _taps(link, capture):
                _taps(link, capture).remove(capture.tap)
                link.settle()

    def _leave(self, stream: StreamCapture) -> None:
        """Its client is gone or wants no more."""
        self._forget(stream)
        stream.abandon()

    def _enough(self, stream: StreamCapture, request: Request, data: bytes) -> None:
        """Its client ends it, by the request itself: no capture of another one can be meant."""
        if data:
            raise Problem("bad-request", reason="this request takes no input")
        self._forget(stream)
        stream.stop(request)

    def _stop(self, request: Request) -> None:
        number = request.integer("capture", 1, 2**63 - 1)
        capture = self._captures.get(number)
        if capture is None:
            raise Problem("unknown-capture", capture=number)
        self._forget(capture)
        capture.stop(request)

    def _list(self, request: Request) -> None:
        shown = [
            {"capture": number, "links": one.links, "path": getattr(one, "path", None)}
            for number, one in sorted(self._captures.items())
        ]
        request.ok({"captures": shown})


def _taps(link: Link, capture: Capture) -> list[Tap]:
    return link.sent_taps if capture.where == "sent" else link.delivered_taps
