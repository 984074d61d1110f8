"""Commands and files in a guest over its lanes: asked for once; whole, or a problem says why.

Lane 0 carries commands, lane 1 control (it never waits for the others), lane 2 files. The guest
serves many requests at once; beyond `AT_ONCE` they wait here in the order they came.
"""

from __future__ import annotations

import os
from collections import deque

from .lane import Lane, pack_fields
from .request import Problem
from .work import Command, Download, Upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .lane import Field
    from .loop import Loop, Timer
    from .request import Facts, Request
    from .work import Work

LANES = 3
COMMANDS, CONTROL, FILES = range(LANES)
AT_ONCE = 32
PING_EVERY, SILENCE = 5.0, 30.0
END_GRACE_MS = "2000"
EXPECTED = 5.0  # seconds for the agent of a machine that was there before us to answer


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
        self._expected_until = 0.0

    # life

    def connect(self) -> None:
        """Connect all lanes; raises OSError when QEMU does not serve them."""
        for lane in self._lanes:
            lane.connect()

    def expect(self) -> None:
        """Its agent knew an earlier steward: what is asked now waits a little until it answers."""
        self._expected_until = self._loop.now() + EXPECTED
        self._loop.call_later(EXPECTED, self._give_up)

    def _give_up(self) -> None:
        if not self.ready:
            self._fail_all("guest-not-ready")

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
        self._start_next()

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

    def resize(self, work: Work, size: list[Field]) -> None:
        """The terminal of a command has another size; told in its place among what is typed."""
        lane = work.lane
        lane.send("resize", self._token(lane), pack_fields([("request", work.token), *size]))

    def _begin(self, work: Work) -> None:
        if not self.ready and self._loop.now() >= self._expected_until:
            raise Problem("guest-not-ready")
        self._queue.append(work)
        self._start_next()

    def _start_next(self) -> None:
        while self._queue and len(self._open) < AT_ONCE and self.ready:
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
