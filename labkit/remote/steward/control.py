"""The control socket: frames, clients, requests and the verbs they ask for.

A frame is two big-endian 32-bit lengths, a JSON object in UTF-8 and raw bytes. A client sends
``{"id": I, "do": VERB, ...}``, then while it runs ``{"id": I, "more": {...}}`` with bytes,
``{"id": I, "took": N}`` and ``{"id": I, "cancel": true}``. The steward answers
``{"id": I, "part": {...}}`` with bytes as often as it likes, ``{"id": I, "took": N}``, and once
``{"id": I, "ok": {...}}`` or ``{"id": I, "problem": {"code": CODE, ...}}``; ``{"event": {...}}``
goes to those who subscribed.

Both ways at most `request.WINDOW` bytes of a request are under way: each side says what it took.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import deque

from .request import Problem, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Connection, Loop
    from .request import Facts, Verb

PROTOCOL = 1
HEADER = struct.Struct("!II")
MAX_JSON = 1 << 20
MAX_BYTES = 1 << 20
MAX_BACKLOG = 8 << 20  # bytes waiting for a client that does not read; beyond it, it is let go
EVENT_BACKLOG = 1 << 20  # beyond it, events are left out for this client, and counted
READ_SIZE = 1 << 18
MAX_CLIENTS = 64
MAX_REQUESTS = 256  # running ones of a client


class Client:
    """A connection: frames in, frames out, and the requests that run on it."""

    def __init__(self, control: Control, connection: Connection) -> None:
        self.requests: dict[int, Request] = {}
        self.subscribed = False
        self.backlog = 0
        self._control = control
        self._socket = connection
        self._in = bytearray()
        self._out: deque[memoryview] = deque()
        self._skipped = 0
        self._closed = False
        self._ending = False
        self._writing = False
        control.loop.add_reader(connection, self._read)

    # out

    def send(self, facts: Facts, data: bytes | memoryview) -> None:
        """Queue a frame; what does not fit into the socket now follows later."""
        if self._closed:
            return
        text = json.dumps(facts, separators=(",", ":")).encode()
        self._queue(HEADER.pack(len(text), len(data)) + text)
        if len(data):
            self._queue(data)
        if self.backlog > MAX_BACKLOG:
            self._control.log("a client did not read %d bytes and was let go" % self.backlog)
            self.close()
        elif not self._writing:
            self._write()

    def event(self, facts: Facts) -> None:
        if self.backlog > EVENT_BACKLOG:
            self._skipped += 1
            return
        if self._skipped:
            skipped, self._skipped = self._skipped, 0
            self.send({"event": {"kind": "events-skipped", "count": skipped}}, b"")
        self.send({"event": facts}, b"")

    def _queue(self, data: bytes | memoryview) -> None:
        self._out.append(memoryview(data))
        self.backlog += len(data)

    def _write(self) -> None:
        out = self._out
        try:
            while out:
                count = self._socket.sendmsg([out[index] for index in range(min(len(out), 64))])
                self.backlog -= count
                while count:
                    first = out[0]
                    if count < len(first):
                        out[0] = first[count:]
                        break
                    count -= len(first)
                    out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._written()

    def _written(self) -> None:
        waiting = bool(self._out)
        if waiting and not self._writing:
            self._control.loop.add_writer(self._socket, self._write)
        elif not waiting and self._writing:
            self._control.loop.remove_writer(self._socket)
        freed, self._writing = self._writing and not waiting, waiting
        if self._ending and not waiting:
            self.close()
        elif freed:
            for request in list(self.requests.values()):
                request.breathe()

    # in

    def _read(self) -> None:
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
        while not (self._closed or self._ending) and len(self._in) >= HEADER.size:
            text, size = HEADER.unpack_from(self._in)
            if text > MAX_JSON or size > MAX_BYTES:
                self._reject("a frame of %d + %d bytes is too large" % (text, size))
                return
            start, end = HEADER.size + text, HEADER.size + text + size
            if len(self._in) < end:
                return
            with memoryview(self._in) as view:
                head, body = bytes(view[HEADER.size : start]), bytes(view[start:end])
            del self._in[:end]
            self._frame(head, body)

    def _frame(self, head: bytes, data: bytes) -> None:
        try:
            facts = json.loads(head.decode())
        except (ValueError, RecursionError):
            self._reject("a frame does not hold JSON")
            return
        number = facts.get("id") if isinstance(facts, dict) else None
        if isinstance(number, bool) or not isinstance(number, int):
            self._reject("a frame is not an object with a number as 'id'")
            return
        request = self.requests.get(number)
        if "do" not in facts:
            if request is not None:  # else it has just ended, and the client will see
                self._continue(request, facts, data)
        elif request is not None:
            self._reject("the id %d is in use" % number)
        elif len(self.requests) >= MAX_REQUESTS:
            problem = {"code": "too-many-requests", "limit": MAX_REQUESTS}
            self.send({"id": number, "problem": problem}, b"")
        else:
            self._start(number, facts, data)

    def _start(self, number: int, facts: Facts, data: bytes) -> None:
        facts.pop("id")
        verb = facts.pop("do")
        request = self.requests[number] = Request(self, number, facts, data)
        with_verb = self._control.verbs.get(verb) if isinstance(verb, str) else None
        if with_verb is None:
            request.problem("unknown-verb", verb=str(verb)[:80])
            return
        self._guard(request, lambda: with_verb(request))

    def _continue(self, request: Request, facts: Facts, data: bytes) -> None:
        if facts.get("cancel") is True:
            request.cancel()
            self.send({"id": request.id, "problem": {"code": "cancelled"}}, b"")
        elif isinstance(facts.get("took"), int):
            self._guard(request, lambda: request.credit(max(0, facts["took"])))
        elif isinstance(facts.get("more"), dict):
            self._guard(request, lambda: request.more(facts["more"], data))
        else:
            self._guard(request, lambda: request.refuse("id", "of no running request, or a 'do'"))

    def _guard(self, request: Request, work: Callable[[], None]) -> None:
        try:
            work()
        except Problem as problem:
            if request.on_cancel is not None and not request.done:
                request.on_cancel()
            request.problem(problem.code, **problem.facts)
        except Exception as error:
            request.problem("steward-fault", reason="%s: %s" % (type(error).__name__, error))
            raise  # to the loop's seam, which notes it

    def _reject(self, reason: str) -> None:
        """Answer a client that does not speak the protocol, and leave it."""
        self._ending = True
        self._control.loop.remove_reader(self._socket)
        self.send({"id": None, "problem": {"code": "bad-frame", "reason": reason}}, b"")
        self._in.clear()

    def close(self) -> None:
        """End the connection and what ran on it."""
        if self._closed:
            return
        self._closed = True
        self._control.forget(self)
        self._control.loop.remove(self._socket)
        self._socket.close()
        self._out.clear()
        for request in list(self.requests.values()):
            request.cancel()


class Control:
    """Accepts clients on a socket of this user only, and knows the verbs."""

    def __init__(self, loop: Loop, log: Callable[[str], None]) -> None:
        self.loop = loop
        self.log = log
        self.verbs: dict[str, Verb] = {"subscribe": _subscribe}
        self._clients: set[Client] = set()
        self._socket: socket.socket | None = None

    def verb(self, name: str, work: Verb) -> None:
        """Let `work` answer the requests for a verb."""
        self.verbs[name] = work

    def event(self, facts: Facts) -> None:
        """Tell those who subscribed."""
        for client in list(self._clients):
            if client.subscribed:
                client.event(facts)

    def listen(self, path: str) -> None:
        """Open the socket; the caller holds the lock that makes an old one at `path` stale."""
        if os.path.lexists(path):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(0)
        before = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(before)
        self._socket.listen(MAX_CLIENTS)
        self.loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        if self._socket is not None:
            self.loop.remove(self._socket)
            self._socket.close()
            self._socket = None
        for client in list(self._clients):
            client.close()

    def forget(self, client: Client) -> None:
        self._clients.discard(client)

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.settimeout(0)
        self.serve(connection)

    def serve(self, connection: Connection) -> None:
        """Take a client that has connected."""
        if len(self._clients) >= MAX_CLIENTS:
            connection.close()
            self.log("a client was refused: %d are connected" % MAX_CLIENTS)
            return
        self._clients.add(Client(self, connection))


def _subscribe(request: Request) -> None:
    request.subscribe()
    request.ok()
