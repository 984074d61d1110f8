"""Cutting an engine off at one step: how a test ends a process, or a machine, at any moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.allocate import Allocation
    from labkit.calls import Facts
    from labkit.engines import Belonging, Check, Engine, SliceId
    from labkit.engines.engine import IsStopping, Survey
    from labkit.events import Listener
    from labkit.links import Links
    from labkit.machines import Machine
    from labkit.observed import Observed
    from labkit.plan import Plan, Step
    from labkit.room import Host


def kill_this_process() -> None:
    """End without another word, as the kernel ends a process when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def press_ctrl_c() -> None:
    """What the terminal, or the notebook's stop button, does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class CutEngine:
    """An engine that does all another one does, and calls `cut` at its step number `at`.

    Steps are numbered from 0 in the order in which they are begun. `cut` is called when the step
    has taken effect (`after`) or before it has, in the thread that does it; what it raises is the
    outcome of the step.
    """

    def __init__(
        self, engine: Engine, at: int, *, after: bool, cut: Callable[[], None] = kill_this_process
    ) -> None:
        self.name = engine.name
        self.is_real = engine.is_real
        self.steps: list[Step] = []
        self._engine = engine
        self._at = at
        self._after = after
        self._cut = cut
        self._lock = threading.Lock()
        self._busy = 0

    @property
    def is_busy(self) -> bool:
        """Whether a step is being done just now."""
        return self._busy > 0

    @property
    def was_cut(self) -> bool:
        """Whether it came so far."""
        return len(self.steps) > self._at

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        with self._lock:
            is_here = len(self.steps) == self._at
            self.steps.append(step)
            self._busy += 1
        try:
            if is_here and not self._after:
                self._cut()
            self._engine.do(slice_id, step, tell, is_stopping)
            if is_here and self._after:
                self._cut()
        finally:
            with self._lock:
                self._busy -= 1

    # as the other engine has it

    def hosts(self, *, with_disks: bool) -> tuple[Host, ...]:
        return self._engine.hosts(with_disks=with_disks)

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        return self._engine.observe(slice_id, allocation)

    def survey(self) -> tuple[Survey, ...]:
        return self._engine.survey()

    def check(self, plan: Plan) -> None:
        self._engine.check(plan)

    def prepare(self, plan: Plan, tell: Listener) -> None:
        self._engine.prepare(plan, tell)

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        return self._engine.machine(slice_id, host, index, name)

    def links(self, slice_id: SliceId, host: str) -> Links:
        return self._engine.links(slice_id, host)

    def listen(
        self, slice_id: SliceId, host: str, listener: Callable[[Facts], None]
    ) -> Callable[[], None]:
        return self._engine.listen(slice_id, host, listener)

    def checks(self, tell: Listener) -> tuple[Check, ...]:
        return self._engine.checks(tell)

    def belongings(self) -> tuple[Belonging, ...]:
        return self._engine.belongings()

    def remove(self, belonging: Belonging) -> None:
        self._engine.remove(belonging)

    def close(self) -> None:
        self._engine.close()
