"""Commands and files in a guest over its lanes: asked for once; whole, or a problem says why.

Lane 0 carries commands, lane 1 control (it never waits for the others), lane 2 files. The guest
serves many requests at once; beyond `AT_ONCE` they wait here in the order they came.
"""

from __future__ import annotations

import os
from collections import deque

from .lane import PAYLOAD, Lane, pack_fields, unpack_fields
from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .lane import Field
    from .loop import Loop, Timer
    from .request import Facts, Request

LANES = 3
COMMANDS, CONTROL, FILES = range(LANES)
AT_ONCE = 32
WINDOW = 256 << 10  # what the guest may send of a request before we have taken any
GRACE = 5.0  # seconds beyond a time limit: the guest keeps it, we watch the guest
PING_EVERY, SILENCE = 5.0, 30.0
END_GRACE_MS = "2000"


class Guest:
    """The channel to a machine's guest, from boot to boot."""

    def __init__(self, loop: Loop, folder: str, on_ready: Callable[[Facts], None]) -> None:
        self.boot = ""
        self.version = 0
        self._loop = loop
        self._on_ready = on_ready
        self._lanes = [
            Lane(loop, os.path.join(folder, "l%d" % number), self._frame, self._hello)
            for number in range(LANES)
        ]
        self._number = 0
        self._session = os.urandom(4).hex()  # an earlier steward's tokens are not used again
        self._open: dict[str, Work] = {}
        self._queue: deque[Work] = deque()
        self._waiting: list[Callable[[], None]] = []
        self._ping: Timer | None = None
        self._heard = 0.0

    # life

    def connect(self) -> None:
        """Connect all lanes; raises OSError when QEMU does not serve them."""
        for lane in self._lanes:
            lane.connect()

    @property
    def ready(self) -> bool:
        """All lanes have met the same agent."""
        agents = {lane.agent for lane in self._lanes}
        return len(agents) == 1 and agents != {""}

    def reset(self, code: str) -> None:
        """The guest began anew: what ran in it is over."""
        self._fail_all(code)
        self.boot = ""
        for lane in self._lanes:
            lane.start_over()

    def close(self, code: str) -> None:
        """QEMU is gone."""
        for lane in self._lanes:
            lane.close()
        self._fail_all(code)
        if self._ping is not None:
            self._ping.cancel()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once, when the guest is ready next."""
        self._waiting.append(callback)

    def _hello(self, lane: Lane, fields: dict[str, str]) -> None:
        # An agent that was started again in the same boot knows nothing of what was asked before.
        stale = [work for work in self._open.values() if work.lane is lane]
        for work in stale:
            work.fail("guest-restarted")
        if not self.ready:
            return
        self.boot = fields.get("boot", "")
        self._heard = self._loop.now()
        self._on_ready({"boot": self.boot, "uptime": float(fields.get("uptime", "0") or 0)})
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    # requests

    def run(self, request: Request) -> None:
        self._begin(Command(self, self._lanes[COMMANDS], request))

    def put(self, request: Request) -> None:
        self._begin(Upload(self, self._lanes[FILES], request))

    def get(self, request: Request) -> None:
        self._begin(Download(self, self._lanes[FILES], request))

    def halt(self, how: str) -> bool:
        """Ask the guest to end or to reboot; False when it cannot hear us."""
        lane = self._lanes[CONTROL]
        if not lane.agent:
            return False
        lane.send("halt", self._token(lane), pack_fields([("how", how)]))
        return True

    def end(self, token: str) -> None:
        """End what runs under a token, with its children."""
        lane = self._lanes[CONTROL]
        if lane.agent:
            fields = [("request", token), ("grace", END_GRACE_MS)]
            lane.send("end", self._token(lane), pack_fields(fields))

    def _begin(self, work: Work) -> None:
        if not self.ready:
            raise Problem("guest-not-ready")
        self._queue.append(work)
        self._start_next()

    def _start_next(self) -> None:
        while self._queue and len(self._open) < AT_ONCE:
            work = self._queue.popleft()
            if work.over:
                continue
            work.token = self._token(work.lane)
            self._open[work.token] = work
            work.start()
        if self._open and self._ping is None:
            self._heard = self._loop.now()
            self._ping = self._loop.call_later(PING_EVERY, self._look)

    def _token(self, lane: Lane) -> str:
        self._number += 1
        return "%s-%s%d" % (lane.agent, self._session, self._number)

    def _frame(self, lane: Lane, verb: str, token: str, payload: memoryview) -> None:
        self._heard = self._loop.now()
        work = self._open.get(token)
        if work is not None and work.lane is lane:
            work.frame(verb, payload)

    def finished(self, work: Work) -> None:
        """A request is over: the next one's turn."""
        self._open.pop(work.token, None)
        self._loop.call_soon(self._start_next)

    def _fail_all(self, code: str) -> None:
        works = [*self._open.values(), *self._queue]
        self._queue.clear()
        for work in works:
            work.fail(code)
        self._open.clear()

    def _look(self) -> None:
        """While something runs, see that the guest still answers."""
        self._ping = None
        if not self._open:
            return
        if self._loop.now() - self._heard > SILENCE:
            self._fail_all("guest-hung")
            return
        lane = self._lanes[CONTROL]
        if lane.agent:
            lane.send("ping", self._token(lane))
        self._ping = self._loop.call_later(PING_EVERY, self._look)

    def forgive(self) -> None:
        """Silence until now was no fault of the guest: it was paused."""
        self._heard = self._loop.now()


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
    """``guest-run {argv | shell, cwd?, env?, stdin, timeout?}``; parts are its streams."""

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
            self._request.part({"started": unpack_fields(payload).get("pid", "")})
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


class Upload(Work):
    """``guest-put {path, mode}``, then bytes, then ``more {eof, size, sha256}``."""

    def __init__(self, guest: Guest, lane: Lane, request: Request) -> None:
        super().__init__(guest, lane, request)
        self._fields = [
            ("path", request.text("path")),
            ("mode", "%o" % request.integer("mode", 0, 0o7777, 0o644)),
        ]
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
