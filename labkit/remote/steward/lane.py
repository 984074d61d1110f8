"""One lane to a guest: frames over a virtio-serial port, whole again after any cut.

A frame is ``LK VERB TOKEN LENGTH``, a newline, LENGTH bytes and a newline. NUL bytes and newlines
between frames mean nothing. Where a frame was cut off (the guest rebooted, one side was restarted),
nothing is a frame until the next ``hello``, which follows a NUL byte.
"""

from __future__ import annotations

import os
import re
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .loop import Connection, Loop

    Field = tuple[str, str]
    OnFrame = Callable[["Lane", str, str, memoryview], None]

PAYLOAD = 1 << 16
READ_SIZE = 1 << 18
HEADER = re.compile(rb"LK ([a-z]+) ([a-zA-Z0-9-]+) ([0-9]{1,6})\Z")
HEADER_LIMIT = 120
HELLO = b"\0LK hello "
FILLER = bytes(PAYLOAD + 256)  # completes any frame that was cut off
GREET_AGAIN = 1.0  # seconds; what is sent before the guest opens its port may be lost


def pack_fields(fields: Iterable[Field]) -> bytes:
    return b"".join(b"%s=%s\0" % (name.encode(), _bytes(value)) for name, value in fields)


def unpack_fields(payload: bytes | memoryview) -> dict[str, str]:
    pairs = (item.partition(b"=") for item in bytes(payload).split(b"\0") if item)
    return {
        name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs
    }


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


class Lane:
    """A connection to one port. `agent` is the id of the guest's side once it has greeted us."""

    def __init__(
        self,
        loop: Loop,
        path: str,
        on_frame: OnFrame,
        on_hello: Callable[[Lane, dict[str, str]], None],
    ) -> None:
        self.agent = ""
        self._loop = loop
        self._path = path
        self._on_frame = on_frame
        self._on_hello = on_hello
        self._socket: Connection | None = None
        self._in = bytearray()
        self._lost = False
        self._out: deque[memoryview] = deque()
        self._session = os.urandom(8).hex()  # no answer to an earlier steward is taken for ours
        self._greetings = 0
        self._answered = 0  # greetings up to here are of an earlier meeting

    def connect(self) -> None:
        """Connect and greet; raises OSError when QEMU does not listen."""
        self._socket = self._loop.connect(self._path)
        self._loop.add_reader(self._socket, self._read)
        self.start_over()

    def close(self) -> None:
        self.agent = ""
        if self._socket is not None:
            self._loop.remove(self._socket)
            self._socket.close()
            self._socket = None
        self._out.clear()
        self._in.clear()

    def start_over(self) -> None:
        """The guest began anew: forget what was under way, and greet it until it answers."""
        self.agent = ""
        self._answered = self._greetings
        self._out.clear()
        self._out.append(memoryview(FILLER))
        self._greet()
        self._loop.call_later(GREET_AGAIN, self._greet_again)

    def send(self, verb: str, token: str, payload: bytes | memoryview = b"") -> None:
        self._out.append(
            memoryview(b"LK %s %s %d\n" % (verb.encode(), token.encode(), len(payload)))
        )
        if len(payload):
            self._out.append(memoryview(payload))
        self._out.append(memoryview(b"\n"))
        self._write()

    def _greet(self) -> None:
        self._greetings += 1
        self._out.append(memoryview(b"\0"))
        token = "%s%d" % (self._session, self._greetings)
        self.send("hello", token, pack_fields([("time", "%.6f" % self._loop.time())]))

    def _greet_again(self) -> None:
        if self._socket is not None and not self.agent:
            if not self._out:
                self._greet()
            self._loop.call_later(GREET_AGAIN, self._greet_again)

    def _write(self) -> None:
        lane, out = self._socket, self._out
        if lane is None:
            out.clear()
            return
        try:
            while out:
                count = lane.sendmsg([out[index] for index in range(min(len(out), 64))])
                while count:
                    first = out[0]
                    if count < len(first):
                        out[0] = first[count:]
                        break
                    count -= len(first)
                    out.popleft()
        except BlockingIOError:
            self._loop.add_writer(lane, self._write)
            return
        except OSError:
            out.clear()  # the monitor tells of QEMU's end
        self._loop.remove_writer(lane)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += data
        used = self._frames()
        if self._socket is not None:
            del self._in[:used]

    def _frames(self) -> int:
        """Handle the whole frames of the input; answers how many bytes they were."""
        # A copy, so that a frame's handler may close the lane, and views of it may be kept.
        data, at = bytes(self._in), 0
        view = memoryview(data)
        while True:
            if self._lost:
                place = data.find(HELLO, at)
                if place < 0:
                    return max(at, len(data) - len(HELLO) + 1)
                self._lost, at = False, place
            at = _skipped(data, at)
            end = data.find(b"\n", at, at + HEADER_LIMIT)
            if end < 0:
                if len(data) - at < HEADER_LIMIT:
                    return at
                self._lost = True
                continue
            match = HEADER.match(data[at:end])
            stop = end + 1 + int(match.group(3)) if match else 0
            if match is None or stop - end - 1 > PAYLOAD:
                self._lost = True
                continue
            if stop >= len(data):
                return at
            if data[stop] != 10:
                self._lost = True
                continue
            at = stop + 1
            self._frame(match.group(1).decode(), match.group(2).decode(), view[end + 1 : stop])
            if self._socket is None:
                return 0

    def _frame(self, verb: str, token: str, payload: memoryview) -> None:
        if verb != "hello":
            if self.agent:  # else it is from before we met
                self._on_frame(self, verb, token, payload)
            return
        fields = unpack_fields(payload)
        if token == "-" and self.agent != fields.get("agent", ""):  # it has just found us
            self.agent = ""
            self._answered = self._greetings
            self._greet()
        elif self._is_answer(token) and self.agent != fields.get("agent", ""):
            self.agent = fields.get("agent", "")
            self._on_hello(self, fields)

    def _is_answer(self, token: str) -> bool:
        """On a slow host the answer to a greeting may come after later ones were sent."""
        number = token[len(self._session) :]
        known = token.startswith(self._session) and number.isdigit()
        return known and int(number) > self._answered


def _skipped(data: bytes, at: int) -> int:
    """Where the next frame may begin: after NUL bytes and newlines."""
    end = len(data)
    while at < end and data[at] in (0, 10):
        if data[at] == 0 and data[at : at + 1024] == _NULS[: min(1024, end - at)]:
            at += min(1024, end - at)
        else:
            at += 1
    return at


_NULS = bytes(1024)
