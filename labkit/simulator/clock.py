"""Simulated time: a clock that only moves when simulated work is done."""

from __future__ import annotations

import datetime
import threading

from labkit import rules

START = int(datetime.datetime(2025, 9, 1, 8, 0, tzinfo=datetime.UTC).timestamp())
SECOND = 1_000_000  # the clock counts whole microseconds, so that sums carry no rounding noise


class Clock:
    """Counts simulated time from 2025-09-01 08:00 UTC.

    With `pace` 0 waiting takes no real time; with 1.0 a simulated second takes a real one. Two
    programs that run at once overlap: each has its own moment, and the clock shows the latest.
    """

    def __init__(self, pace: float = 0.0) -> None:
        if pace != 0:
            rules.positive(pace, "pace")
        self.pace = pace
        self._moment = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Clock {self.seconds:.6f} s>"

    def __float__(self) -> float:
        return self.seconds

    @property
    def moment(self) -> int:
        """Microseconds since the start."""
        return self._moment

    @property
    def seconds(self) -> float:
        """Simulated seconds since the start."""
        return self._moment / SECOND

    @property
    def nanoseconds(self) -> int:
        """The simulated date as nanoseconds since 1970, for the files that are written."""
        return START * 10**9 + self._moment * 1000

    def advance(self, seconds: float) -> None:
        """Let simulated time pass, as a test or a notebook may wish."""
        moment = self._moment
        self.move(moment, moment + round(rules.positive(seconds, "seconds") * SECOND))

    def let_others_work(self) -> None:
        """Give other threads a real moment: what we wait for is theirs to do."""
        threading.Event().wait(0.001)

    def show(self, moment: int) -> None:
        """Show a moment to which somebody has already waited."""
        with self._lock:
            self._moment = max(self._moment, moment)

    def move(self, start: int, end: int) -> None:
        """Go from one moment to another: the one place where a simulation really waits."""
        rest = end - max(start, self._moment)
        if self.pace and rest > 0:
            threading.Event().wait(rest / SECOND * self.pace)
        self.show(end)
