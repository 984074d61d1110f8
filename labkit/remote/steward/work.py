"""What a guest is asked to do: a command or file each, from request to answer."""

from __future__ import annotations

from collections import deque

from .lane import PAYLOAD, Lane, pack_fields, unpack_fields
from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .guest import Guest
    from .lane import Field
    from .request import Facts, Request

WINDOW = 256 << 10  # bytes of a request on the way and not yet taken, each way


class Work:
    """One request of a client, on its way to the guest and back."""

    def __init__(self, guest: Guest, lane: Lane, request: Request) -> None:
        self.lane = lane
        self.token = ""
        self.over = False
        self._guest = guest
        self._request = request
        self._cancelled = False
        request.on_cancel = self._cancel
        request.on_room = self._pay
        self._owed = 0
        self._room = WINDOW  # bytes the guest will take from us
        self._pending: deque[memoryview] = deque()
        self._ending: list[Field] | None = None

    def start(self) -> None:
        raise NotImplementedError

    def frame(self, verb: str, payload: memoryview) -> None:
        raise NotImplementedError

    def fail(self, code: str, **facts: Any) -> None:
        self._over()
        self._request.problem(code, **facts)

    def _succeed(self, facts: Facts) -> None:
        self._over()
        self._request.ok(facts)

    def _over(self) -> None:
        if not self.over:
            self.over = True
            self._pending.clear()
            self._guest.finished(self)

    def _send_first(self, verb: str, fields: list[Field]) -> None:
        payload = pack_fields(fields)
        if len(payload) > PAYLOAD:
            self.fail("too-long", size=len(payload), limit=PAYLOAD)
        else:
            self.lane.send(verb, self.token, payload)

    def _cancel(self) -> None:
        """The client is gone or wants no more: end it in the guest, and listen for its end."""
        self._cancelled = True
        if self.token:
            self._pending.clear()
            self._guest.end(self.token)
        else:
            self._over()

    # from the guest

    def _output(self, facts: Facts, payload: memoryview) -> None:
        self._request.part(facts, payload)
        self._owed += len(payload)
        self._pay()

    def _pay(self) -> None:
        """Let the guest send on, as far as the client keeps up."""
        if self._owed >= PAYLOAD // 2 and (self._cancelled or self._request.room > 0):
            owed, self._owed = self._owed, 0
            self.lane.send("credit", self.token, b"%d" % owed)

    # to the guest

    def _input(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._pending.append(view[:PAYLOAD])
            view = view[PAYLOAD:]
        self._feed()

    def _feed(self) -> None:
        taken = 0
        while self._pending and self._room >= len(self._pending[0]):
            piece = self._pending.popleft()
            self._room -= len(piece)
            taken += len(piece)
            self.lane.send("in", self.token, piece)
        if taken:
            self._request.took(taken)
        if not self._pending and self._ending is not None:
            self.lane.send("eof", self.token, pack_fields(self._ending))
            self._ending = None

    def _credit(self, payload: memoryview) -> None:
        self._room += int(bytes(payload))
        self._feed()


class Command(Work):
    """``guest-run {argv | shell, cwd?, env?, stdin, timeout?, pty?}``; parts are its streams.

    ``pty {columns, rows}``: it runs in a terminal, whose size ``more {columns, rows}`` changes.
    """

    def __init__(self, guest: Guest, lane: Lane, request: Request) -> None:
        super().__init__(guest, lane, request)
        fields: list[Field] = []
        if "shell" in request.arguments:
            fields.append(("shell", request.text("shell")))
        else:
            fields += [("arg", word) for word in request.texts("argv")]
        for name, value in request.facts("env").items():
            fields.append(("env", "%s=%s" % (name, value)))
        if "cwd" in request.arguments:
            fields.append(("cwd", request.text("cwd")))
        self._stdin = request.flag("stdin")
        if self._stdin:
            fields.append(("stdin", "1"))
            request.on_more = self._more
        self._pty = "pty" in request.arguments
        if self._pty:
            fields += _size(request, request.facts("pty"))
            fields.append(("pty", "1"))
        self._timeout: float | None = None
        if request.arguments.get("timeout") is not None:
            self._timeout = request.number("timeout", 0.001, 1e9)
            fields.append(("timeout", "%d" % max(1, int(self._timeout * 1000))))
        if any("\0" in value for _, value in fields):
            raise Problem("bad-request", argument="argv", wanted="text without NUL")
        self._fields = [*fields, ("window", "%d" % WINDOW)]
        self._got = {"out": 0, "err": 0}

    def start(self) -> None:
        self._send_first("run", self._fields)

    def frame(self, verb: str, payload: memoryview) -> None:
        if verb in self._got:
            self._got[verb] += len(payload)
            stream = "stdout" if verb == "out" else "stderr"
            self._output({"stream": stream}, payload)
        elif verb == "started":
            started = unpack_fields(payload)
            if self._pty and not started.get("terminal"):
                self._guest.end(self.token)
                self.fail("guest-refused", reason="no-terminals", text="its agent is too old")
                return
            self._request.part({"started": started.get("pid", "")})
            if self._stdin:
                self._feed()
        elif verb == "credit":
            self._credit(payload)
        elif verb == "exit":
            self._exit(unpack_fields(payload))
        elif verb == "problem":
            self._problem(unpack_fields(payload))

    def _more(self, facts: Facts, data: bytes) -> None:
        self._input(data)
        if facts.get("eof"):
            self._ending = []
            self._feed()
        if self._pty and self.token and "columns" in facts:
            self._guest.resize(self, _size(self._request, facts))

    def _feed(self) -> None:
        if self.token:  # else it waits for its turn
            super()._feed()

    def _exit(self, fields: dict[str, str]) -> None:
        seconds = int(fields["ms"]) / 1000
        for name, got in self._got.items():
            if int(fields[name]) != got:
                self.fail("guest-lost-bytes", stream=name, sent=int(fields[name]), got=got)
                return
        if fields["reason"] == "timeout":
            self.fail("guest-timeout", timeout=self._timeout, seconds=seconds)
            return
        status = int(fields["status"]) if fields["status"] else 128 + int(fields["signal"])
        self._succeed(
            {
                "status": status,
                "seconds": seconds,
                "reason": fields["reason"],
                "input": int(fields["input"]),
            }
        )

    def _problem(self, fields: dict[str, str]) -> None:
        if fields["code"] == "not-started":
            number = int(fields["errno"])
            self._succeed(
                {"status": 127 if number == 2 else 126, "seconds": 0.0, "reason": fields["text"]}
            )
        else:
            self.fail("guest-refused", reason=fields["code"], text=fields["text"])


def _size(request: Request, facts: Facts) -> list[Field]:
    """The size of a terminal as fields."""
    fields: list[Field] = []
    for name in ("columns", "rows"):
        value = facts.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
            request.refuse("pty", "columns and rows from 1 to 1000")
        fields.append((name, str(value)))
    return fields


class Upload(Work):
    """``guest-put {path, mode, size?}``, then bytes, then ``more {eof, size, sha256}``."""

    def __init__(self, guest: Guest, lane: Lane, request: Request) -> None:
        super().__init__(guest, lane, request)
        self._fields = [
            ("path", request.text("path")),
            ("mode", "%o" % request.integer("mode", 0, 0o7777, 0o644)),
        ]
        if "size" in request.arguments:  # the guest refuses at once what does not fit
            self._fields.append(("size", "%d" % request.integer("size", 0, 1 << 62)))
        request.on_more = self._more

    def start(self) -> None:
        self._send_first("put", self._fields)
        self._feed()

    def _more(self, facts: Facts, data: bytes) -> None:
        self._input(data)
        if facts.get("eof"):
            self._ending = [("size", str(facts["size"])), ("sha256", str(facts["sha256"]))]
        self._feed()

    def _feed(self) -> None:
        if self.token:
            super()._feed()

    def frame(self, verb: str, payload: memoryview) -> None:
        _file_frame(self, verb, payload)


class Download(Work):
    """``guest-get {path}``: parts are the bytes; ok has the size and sha256 the guest saw."""

    def __init__(self, guest: Guest, lane: Lane, request: Request) -> None:
        super().__init__(guest, lane, request)
        self._fields = [("path", request.text("path")), ("window", "%d" % WINDOW)]

    def start(self) -> None:
        self._send_first("get", self._fields)

    def frame(self, verb: str, payload: memoryview) -> None:
        if verb == "out":
            self._output({}, payload)
        else:
            _file_frame(self, verb, payload)


def _file_frame(work: Work, verb: str, payload: memoryview) -> None:
    if verb == "credit":
        work._credit(payload)
    elif verb == "started":
        work._request.part({"started": unpack_fields(payload).get("size", "")})
    elif verb == "done":
        fields = unpack_fields(payload)
        work._succeed({"size": int(fields["size"]), "sha256": fields["sha256"]})
    elif verb == "problem":
        fields = unpack_fields(payload)
        facts = {"reason": fields["code"], "text": fields["text"], "errno": int(fields["errno"])}
        work.fail(
            "guest-file" if fields["code"] in ("file", "corrupt") else "guest-refused", **facts
        )
