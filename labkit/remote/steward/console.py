"""The one reader of a machine's serial line: always drains it, keeps it, hands it to clients.

A serial line that nobody reads stops the guest for ever as soon as it prints, even in a panic.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .history import History
    from .loop import Connection, Loop
    from .request import Facts, Request

READ_SIZE = 1 << 16
MAX_TYPED = 1 << 16  # bytes waiting for the guest to read them
PANIC = b"Kernel panic - not syncing"


class Console:
    """A serial line of a machine, from its start to its end; attached clients read the history.

    A client that does not keep up skips what has been forgotten meanwhile, and is told how much.
    """

    def __init__(
        self, loop: Loop, folder: str, history: History, on_panic: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._path = os.path.join(folder, "serial")
        self._on_panic = on_panic
        self.history = history
        self._socket: Connection | None = None
        self._typed = bytearray()
        self._watchers: list[Watcher] = []

    def connect(self) -> None:
        """Begin to read; raises OSError when nobody serves the line."""
        line = self._socket = self._loop.connect(self._path)
        self._loop.add_reader(line, self._read)

    def disconnect(self) -> None:
        """The line has ended; the history stays."""
        if self._socket is not None:
            self._loop.remove(self._socket)
            self._socket.close()
            self._socket = None
        self._typed.clear()
        for watcher in list(self._watchers):
            watcher.ended()

    def close(self) -> None:
        self.disconnect()
        self.history.close()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.disconnect()
            return
        # The words may arrive in two pieces.
        seen = self.history.tail[-len(PANIC) + 1 :] + data
        self.history.append(data)
        for watcher in list(self._watchers):
            watcher.pump()
        if PANIC in seen:
            self._on_panic()

    def type(self, data: bytes) -> bool:
        """Send to the guest's line; False when there is no room (or no line)."""
        if self._socket is None or len(self._typed) + len(data) > MAX_TYPED:
            return False
        self._typed += data
        self._flush()
        return True

    def _flush(self) -> None:
        line = self._socket
        if line is None:
            return
        try:
            while self._typed:
                del self._typed[: line.send(self._typed)]
        except BlockingIOError:
            self._loop.add_writer(line, self._flush)
            return
        except OSError:
            self._typed.clear()  # the reader sees the end
        self._loop.remove_writer(line)

    def read(self, request: Request) -> None:
        """``console-read {from?, limit}``: history, without waiting for more."""
        limit = request.integer("limit", 1, 1 << 20, 1 << 16)
        history = self.history
        start = history.start
        offset = request.integer("from", 0, 1 << 62, max(start, history.end - limit))
        offset, data = history.read(offset, limit)
        request.ok({"from": offset, "start": start, "end": history.end}, data)

    def attach(self, request: Request) -> None:
        """``console-attach {from?}``: history and what follows, until cancelled or it ends."""
        offset = request.integer("from", 0, 1 << 62, self.history.end)
        watcher = Watcher(self, request, offset)
        self._watchers.append(watcher)
        watcher.pump()
        if self._socket is None:
            watcher.ended()

    def detach(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)


class Watcher:
    """A client that watches a console, at its own pace."""

    def __init__(self, console: Console, request: Request, offset: int) -> None:
        self._console, self._request, self._offset = console, request, offset
        self._ended = False
        request.on_room = self.pump
        request.on_more = self._type
        request.on_cancel = self._leave

    def pump(self) -> None:
        """Send what there is, as far as the client has room."""
        history, request = self._console.history, self._request
        while not request.done and request.room > 0 and self._offset < history.end:
            offset, data = history.read(self._offset, min(request.room, READ_SIZE))
            if not data:
                break
            facts: Facts = {"from": offset}
            if offset > self._offset:
                facts["skipped"] = offset - self._offset
            self._offset = offset + len(data)
            request.part(facts, data)
        if self._ended and self._offset >= history.end:
            self._leave()
            request.ok({"end": history.end})

    def ended(self) -> None:
        """The line has ended: answer when the client has seen all of it."""
        self._ended = True
        self.pump()

    def _type(self, _facts: Facts, data: bytes) -> None:
        if not self._console.type(data):
            self._request.part({"refused": len(data)})
        self._request.took(len(data))

    def _leave(self) -> None:
        self._console.detach(self)
