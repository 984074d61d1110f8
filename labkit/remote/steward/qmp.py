"""QEMU's monitor (QMP) of one machine: commands answered in order, events as they come."""

from __future__ import annotations

import json
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop

    Facts = dict[str, Any]
    Answer = Callable[[Facts], None]

READ_SIZE = 1 << 16
MAX_LINE = 4 << 20  # a longer answer is no answer of QEMU
GONE = {"error": {"class": "Gone", "desc": "QEMU has ended"}}


class Monitor:
    """The one connection to a QMP socket; QEMU serves a single client at a time.

    `execute` calls `answer` once, with QMP's ``{"return": …}`` or ``{"error": {…}}``; the error
    class is ``Gone`` when QEMU ended first. `on_end` is called once, when the connection broke.
    """

    def __init__(
        self, loop: Loop, path: str, on_event: Callable[[Facts], None], on_end: Callable[[], None]
    ) -> None:
        """Connect; raises OSError when nobody listens (yet)."""
        self._loop = loop
        self._on_event = on_event
        self._on_end = on_end
        self._in = bytearray()
        self._out = bytearray()
        self._answers: deque[Answer] = deque()
        self.closed = False
        self._socket = loop.connect(path)
        loop.add_reader(self._socket, self._read)
        self.execute("qmp_capabilities", {}, _ignore)

    def execute(self, command: str, arguments: Facts, answer: Answer) -> None:
        if self.closed:
            answer(GONE)
            return
        self._answers.append(answer)
        line = json.dumps({"execute": command, "arguments": arguments}, separators=(",", ":"))
        self._out += line.encode() + b"\n"
        self._write()

    def close(self) -> None:
        """Leave QEMU alone; waiting answers hear that it is gone."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove(self._socket)
        self._socket.close()
        while self._answers:
            self._answers.popleft()(GONE)

    def _write(self) -> None:
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
            return
        except OSError:
            self._loop.call_soon(self._end)  # not inside execute(): its caller is not ready for it
            return
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        if not data or len(self._in) > MAX_LINE:
            self._end()
            return
        while not self.closed:
            end = self._in.find(b"\n")
            if end < 0:
                return
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            self._line(line)

    def _line(self, line: bytes) -> None:
        try:
            message = json.loads(line.decode())
        except ValueError:
            self._end()
            return
        if "event" in message:
            self._on_event(message)
        elif ("return" in message or "error" in message) and self._answers:
            self._answers.popleft()(message)

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._on_end()


def _ignore(_answer: Facts) -> None:
    pass
