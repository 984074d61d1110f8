"""A simulated program in progress: whoever wants its output drives it, so that timeouts and
interrupts are exact."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from enum import Enum

from labkit.executor import SIGNALLED
from labkit.simulator.clock import SECOND
from labkit.simulator.machine import Machine, Process, Program, Wait


class Stop(Enum):
    """Why a running program stands still."""

    ENDED = "it ended"
    ENOUGH = "there is enough output"
    HUNGRY = "it waits for input"
    LATE = "the deadline passed"


class Running:
    """A program in progress. It moves only in `advance`, and keeps its own moment in time."""

    def __init__(self, machine: Machine, process: Process, program: Program | None = None) -> None:
        self.machine = machine
        self.process = process
        self.moment = machine.clock.moment
        self.status: int | None = None
        self._steps = machine.start(process, program)
        self._wait: Wait | None = None
        self._left = 0.0  # microseconds of the present `Wait` that are still to come

    def catch_up(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Do what it would have done meanwhile, up to the time the clock shows."""
        now = self.machine.clock.moment
        if self.moment < now:
            self.advance(now, enough, idle=True)
            self.moment = now

    def advance(
        self, deadline: int, enough: Callable[[], bool] = lambda: False, *, idle: bool = False
    ) -> Stop:
        """Let it run until it ends, needs input, is past the deadline, or there is enough.

        With `idle` time passes while it waits for input that does not come.
        """
        while self.status is None:
            if enough():
                return Stop.ENOUGH
            if self._wait is None:
                self._step()
                continue
            if self._wait.for_input and self._has_input():
                self._wait = None
                continue
            if self._wait.for_input and not idle:
                return Stop.HUNGRY
            if self._left > deadline - self.moment:
                self._pass(max(0, deadline - self.moment))
                return Stop.HUNGRY if self._wait.for_input else Stop.LATE
            if self._wait.is_contended:
                self.machine.clock.let_others_work()
            self._pass(int(self._left))
            self._wait = None
        return Stop.ENDED

    def close(self) -> None:
        """End it where it stands."""
        with self.machine.lock:
            self._steps.close()
        if self.status is None:
            self.status = SIGNALLED + signal.SIGKILL

    def _has_input(self) -> bool:
        return self.process.stdin.ended or bool(self.process.stdin.data)

    def _pass(self, microseconds: int) -> None:
        self.machine.clock.move(self.moment, self.moment + microseconds)
        self.moment += microseconds
        self._left -= microseconds

    def _step(self) -> None:
        with self.machine.lock:
            try:
                self._wait = next(self._steps)
            except StopIteration as end:
                self.status = end.value
                return
        seconds = self._wait.seconds
        self._left = seconds if math.isinf(seconds) else round(seconds * SECOND)
