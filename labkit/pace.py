"""When to tell a page of changes: the first at once, then a few times a second at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD = 0.35  # seconds: faster nobody reads, and the page and the work itself would suffer


class Pace:
    """Decides when; many changes become one. Has no thread: `due` is asked by who has one."""

    def __init__(self, period: float = PERIOD, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._next = clock()
        self._has_news = False

    def changed(self) -> None:
        """There is something to tell."""
        self._has_news = True

    @property
    def due(self) -> float | None:
        """In how many seconds it is to be told; None while there is no news."""
        return max(0.0, self._next - self._clock()) if self._has_news else None

    def told(self) -> None:
        """It is being told now; what changes from here on is news again."""
        self._has_news = False
        self._next = self._clock() + self._period


class Teller:
    """A thread that calls `tell` when something has `changed`, at a `Pace`; see also `every`."""

    def __init__(self, tell: Callable[[], None], *, period: float = PERIOD) -> None:
        self._tell = tell
        self._pace = Pace(period)
        self._wake = threading.Condition()
        self._closed = False
        self._every: float | None = None
        self._thread = threading.Thread(target=self._run, name="labkit-teller", daemon=True)
        self._thread.start()

    @property
    def every(self) -> float | None:
        """It is called at least once in so many seconds; None: only when something changed."""
        return self._every

    @every.setter
    def every(self, seconds: float | None) -> None:
        with self._wake:
            if seconds != self._every:
                self._every = seconds
                self._wake.notify_all()

    def changed(self) -> None:
        """Call `tell` soon; costs next to nothing."""
        with self._wake:
            self._pace.changed()
            self._wake.notify_all()

    def close(self) -> None:
        """Tell a last time if there is news, and end; again is fine."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._wait():
            self._tell()

    def _wait(self) -> bool:
        """Return when it is time to tell; False at the end."""
        with self._wake:
            while True:
                due = self._pace.due
                if due == 0 or (self._closed and due is not None):
                    self._pace.told()
                    return True
                if self._closed:
                    return False
                waits = self._every if due is None else due
                if not self._wake.wait(waits) and due is None:
                    self._pace.changed()
