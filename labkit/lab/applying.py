"""A plan, done: each step as soon as those before it are done, each with its intent saved first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from labkit.engines import Engine, SliceId
from labkit.errors import Interrupted, LabkitError
from labkit.events import Listener, StepBegun, StepDone, StepFailed
from labkit.plan import Plan, Step
from labkit.store import Lease, Store

AT_ONCE = 16
LOOK_UP = 0.2  # seconds: how soon a request to stop is heard


class Application:
    """Does one plan of one slice. A failed step stops those that wait for it, and no others."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        lease: Lease,
        slice_id: SliceId,
        tell: Listener,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._store = store
        self._lease = lease
        self._slice = slice_id
        self._tell = tell
        self._asked_to_stop = is_stopping
        self._stopping = threading.Event()
        self._calm = threading.Condition()
        self._busy = 0
        self._took: list[tuple[str, float]] = []

    def apply(self, plan: Plan) -> None:
        """Do the plan; the first error is raised after all that could be done was done.

        Interrupted (Ctrl-C), it begins nothing new and waits for what has begun, which ends soon:
        what is half done is never left to run by itself.
        """
        failures: list[LabkitError] = []
        self._took.clear()
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="labkit-step")
        try:
            self._run(plan, pool, failures)
            pool.shutdown()
        except BaseException:
            self._stopping.set()
            raise
        finally:
            pool.shutdown()  # once more, for a Ctrl-C that came while it was waited for
            with self._calm:  # a thread that was just being started is not waited for by the pool
                self._calm.wait_for(lambda: not self._busy)
        self._store.took(self._took)
        if failures:
            raise _first(failures)

    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self._asked_to_stop()

    def _run(self, plan: Plan, pool: ThreadPoolExecutor, failures: list[LabkitError]) -> None:
        waiting = dict(enumerate(plan.after))
        done: set[int] = set()
        running: dict[Future[None], int] = {}
        while waiting or running:
            if self._is_stopping():
                waiting.clear()
                if not failures:
                    failures.append(_stopped(self._slice.name))
            ready = [number for number, before in waiting.items() if done.issuperset(before)]
            for number in ready[: 2 * AT_ONCE - len(running)]:
                del waiting[number]
                running[pool.submit(self._do, plan.steps[number])] = number
            if not running:
                return  # the others wait for what failed
            ended, _ = wait(running, timeout=LOOK_UP, return_when=FIRST_COMPLETED)
            for future in ended:
                number = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(number)
                elif isinstance(error, LabkitError):
                    failures.append(error)
                else:
                    raise error

    def _do(self, step: Step) -> None:
        with self._calm:
            if self._is_stopping():
                raise _stopped(self._slice.name)
            self._busy += 1
        try:
            self._do_noted(step)
        finally:
            with self._calm:
                self._busy -= 1
                self._calm.notify_all()

    def _do_noted(self, step: Step) -> None:
        intent = self._store.begin(self._lease, step.kind, step.name, step.host, step.reason)
        self._tell(StepBegun(step.host, step.name, step.kind, step.reason))
        began = time.monotonic()
        try:
            self._engine.do(self._slice, step, self._tell, self._is_stopping)
        except LabkitError as error:
            self._store.end(self._lease, intent, f"failed: {error}")
            taken = time.monotonic() - began
            self._tell(StepFailed(step.host, step.name, step.kind, taken, str(error)))
            raise
        taken = time.monotonic() - began
        self._store.end(self._lease, intent)
        self._took.append((step.kind, taken))
        self._tell(StepDone(step.host, step.name, step.kind, taken, step.reason))


def _stopped(name: str) -> Interrupted:
    return Interrupted(
        f"work on slice {name!r} was stopped",
        why="it was told to stop",
        fix="Deploy again to go on from here, or delete it.",
        slice=name,
    )


def _first(failures: Sequence[LabkitError]) -> LabkitError:
    """The error that tells most: not that others were stopped because of it."""
    telling = [error for error in failures if not isinstance(error, Interrupted)]
    first = (telling or list(failures))[0]
    for other in telling[1:]:
        first.add_note(f"Besides: {other}")
    return first
