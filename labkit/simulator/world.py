"""The simulated world: what happens at which moment, for all stewards, machines and guests in it.

Nothing here has a thread. Whoever waits for an answer drives the world: while a request that needs
time is open, time jumps from event to event; when none is, it stands still, but for the moment in
which things settle. What was typed on a terminal takes its real time, as somebody looks on.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from labkit.remote.steward.loop import Timer
from labkit.simulator.clock import SECOND, START, Clock

SETTLE_SECONDS = 0.5  # simulated: how long things go on after the last request was answered
SLICE_SECONDS = 0.05  # real: then those who wait get what has come so far
PATIENCE_SECONDS = 2.0  # real: after so long without a word from anybody, it goes on gently
GENTLY_SECONDS = 0.05
LONGER_SECONDS = 0.25  # simulated: a while before which it is worth to listen
LISTENING_SECONDS = 0.03  # real: how long
GRACE_SECONDS = 0.1  # real: how long work waits for somebody outside before time passes

Callback = Callable[[], None]


class Pollable(Protocol):
    """A stream whose reader and writer want to be called."""

    is_queued: bool

    def poll(self) -> bool:
        """Call who can go on; whether somebody still can."""


class Audience(Protocol):
    """Somebody outside who is given what has come for them."""

    def publish(self) -> bool:
        """Whether something has come."""


class World:
    """Simulated time and what is due in it. Hold `condition` for whatever is done to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.condition = threading.Condition()
        self.now = clock.seconds
        self.callers = 0  # those outside who are waiting for `condition` to say something
        self.writers = 0  # those who have said half of something
        self.audience: list[Audience] = []
        self.busy: list[Callable[[], bool]] = []  # whether there is work that needs time
        self.stalled: list[Callable[[], bool]] = []  # whether work waits for somebody outside
        self.interactive: list[Callable[[], bool]] = []  # whether somebody looks on
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._ready: deque[Pollable] = deque()
        self._horizon = 0.0
        self._moment = LISTENING_SECONDS
        self._has_told = False  # what has come was given to those outside
        self._must_pause = False  # so that whoever drives can take what is theirs
        self._is_driven = False
        self._heard = self._touched = time.monotonic()

    @property
    def nanoseconds(self) -> int:
        """The simulated date: nanoseconds since 1970."""
        return START * 10**9 + round(self.now * 1e9)

    def number(self) -> int:
        """A number that nothing else in this world has."""
        return next(self._numbers)

    def call_at(self, when: float, callback: Callback) -> Timer:
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        return self.call_at(self.now + seconds, callback)

    def wake(self, pollable: Pollable) -> None:
        """Something has changed for a stream: look at it soon."""
        if not pollable.is_queued:
            pollable.is_queued = True
            self._ready.append(pollable)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold `condition`, as soon as whoever drives lets go of it."""
        self.callers += 1
        with self.condition:
            self.callers -= 1
            yield

    def hear(self) -> None:
        """Somebody outside has said something; to be called with it."""
        self._heard = self._touched = time.monotonic()
        if not self._is_driven:
            self._catch_up()
        self._horizon = max(self._horizon, self.now + SETTLE_SECONDS)
        self._moment = LISTENING_SECONDS
        self.condition.notify_all()

    def drive(self) -> bool:
        """Let things happen for a while; False when nothing is to happen, or another one drives."""
        if self._is_driven:
            return False
        self._is_driven = True
        try:
            has_moved = self._slice()
        finally:
            self._is_driven = False
            others_go_on = self._publish() or bool(self.callers)
        if not self.clock.pace and time.monotonic() - self._heard > PATIENCE_SECONDS:
            self.condition.wait(GENTLY_SECONDS)
        elif others_go_on and has_moved:
            self.condition.wait(0.0001)  # whoever waits for `condition` has it now
        return has_moved

    # ---- inside

    def _slice(self) -> bool:
        end, has_moved = time.monotonic() + SLICE_SECONDS, False
        while time.monotonic() < end:
            if self._happen() or self._pass_time():
                has_moved = True
                if self._must_pause:
                    self._must_pause = False
                    return True
            else:
                self.now = max(self.now, self.clock.seconds)
                return has_moved
        return True

    def _happen(self) -> bool:
        """Do what is due now."""
        ready, timers = self._ready, self._timers
        if ready:
            pollable = ready.popleft()
            pollable.is_queued = False
            if pollable.poll():
                self.wake(pollable)
            return True
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if timers and timers[0][0] <= self.now:
            self._run_next()
            return True
        return False

    def _run_next(self) -> None:
        timer = heapq.heappop(self._timers)[2]
        callback, timer.callback = timer.callback, None
        if callback is not None:
            callback()

    def _pass_time(self) -> bool:
        """Go on to the next event, if there is one that is not to be left for later."""
        if not self._timers or self.callers or self.writers:
            return False
        due, pace = self._timers[0][0], self.clock.pace
        if any(is_busy() for is_busy in self.busy):
            if self._waits_for_others() or self._lets_others_react(due):
                return True
            self._horizon = max(self._horizon, self.now + SETTLE_SECONDS)
        elif due > self.clock.seconds:
            if any(is_watched() for is_watched in self.interactive):
                pace = pace or 1.0
            elif due > self._horizon:
                return False
        self._go_to(due, pace)
        return True

    def _waits_for_others(self) -> bool:
        """Let no time pass while it is somebody else's turn, unless they take too long."""
        left = self._touched + GRACE_SECONDS - time.monotonic()
        if left <= 0 or not any(is_stalled() for is_stalled in self.stalled):
            return False
        if not self._publish():
            self.condition.wait(left)
        return True

    def _lets_others_react(self, due: float) -> bool:
        """Before a longer while passes, let those outside see what has come, and say something.

        When they do not, they get half as long the next time.
        """
        if due - self.now < LONGER_SECONDS or self._moment < 0.001:
            return False
        if not self._publish() and not self._has_told:
            return False
        if self._has_told:  # they have had time to take it
            self._has_told = False
            self.condition.wait(self._moment)
            self._moment /= 2
        else:
            self._has_told = True
            self._must_pause = True
        return True

    def _go_to(self, when: float, pace: float) -> None:
        if pace and when > self.clock.seconds:
            self._publish()
            began = time.monotonic()
            self.condition.wait((when - self.now) * pace)
            # somebody may have said something meanwhile: then it is not that late yet
            when = min(when, self.now + (time.monotonic() - began) / pace)
        self.now = max(self.now, when)
        self.clock.show(round(self.now * SECOND))

    def _catch_up(self) -> None:
        """Let happen what was due while only the clock moved."""
        while self._timers and self._timers[0][0] <= self.clock.seconds:
            self.now = max(self.now, self._timers[0][0])
            self._run_next()
        self.now = max(self.now, self.clock.seconds)

    def _publish(self) -> bool:
        has_come = False
        for one in list(self.audience):
            has_come |= one.publish()
        if has_come:
            self._touched = time.monotonic()
            self.condition.notify_all()
        return has_come
