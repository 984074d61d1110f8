"""Programs that run by themselves in simulated time: those of guests."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from labkit.executor import SIGNALLED
from labkit.simulator.machine import Buffer, Steps, TooMuchOutput, Wait
from labkit.simulator.waiting import Signal, Times

SIGKILL, SIGPIPE = 9, 13
PIPE_SIZE = 1 << 16
LEAST_SECONDS = 0.00001  # any turn takes some time: an endless loop must not stop the world


class Gate:
    """Lets a program go on as long as somebody takes what it says."""

    def __init__(self) -> None:
        self.is_closed = False
        self.opened = Signal()

    def close(self) -> None:
        self.is_closed = True

    def open(self) -> None:
        if self.is_closed:
            self.is_closed = False
            self.opened.fire()


class Pipe(Buffer):
    """Between two programs: who writes much waits for who reads, and is ended when nobody does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self._is_abandoned = False

    def write(self, data: bytes, /) -> None:
        if self._is_abandoned:
            raise BrokenPipeError
        super().write(data)
        if len(self.data) > PIPE_SIZE:
            self.gate.close()

    def take(self, size: int) -> bytes:
        taken = super().take(size)
        if len(self.data) <= PIPE_SIZE:
            self.gate.open()
        return taken

    def abandon(self) -> None:
        self._is_abandoned = True
        self.gate.open()


class Task:
    """A program in progress, from `start` to its end; `status` is None until then."""

    def __init__(
        self,
        times: Times,
        steps: Steps[int],
        on_end: Callable[[int], None],
        gate: Gate | None = None,
        pid: int = 0,
    ) -> None:
        self.status: int | None = None
        self.pid = pid
        self.ended = Signal()
        self._times = times
        self._steps = steps
        self._on_end = on_end
        self._gate = gate
        self._turn = 0
        self._waits: list[tuple[Signal, Callable[[], None]]] = []

    def start(self) -> None:
        self._times.call_later(0, partial(self._wake, self._turn))

    def wait(self) -> Steps[int]:
        """Its status, once it has ended."""
        while self.status is None:
            yield Wait(math.inf, signal=self.ended)
        return self.status

    def kill(self, status: int) -> None:
        """End it where it stands."""
        if self.status is None:
            self._forget()
            self._turn += 1
            self._steps.close()
            self._end(status)

    def _wake(self, turn: int) -> None:
        if turn == self._turn and self.status is None:
            self._forget()
            self._turn += 1
            self._step()

    def _forget(self) -> None:
        for signal, waker in self._waits:
            signal.forget(waker)
        self._waits.clear()

    def _step(self) -> None:
        if self._gate is not None and self._gate.is_closed:
            self._await(self._gate.opened)
            return
        try:
            wait = next(self._steps)
        except StopIteration as end:
            self._end(end.value)
            return
        except BrokenPipeError:
            self._end(SIGNALLED + SIGPIPE)
            return
        except TooMuchOutput:
            self._end(SIGNALLED + SIGKILL)
            return
        self._sleep(wait)

    def _sleep(self, wait: Wait) -> None:
        source = wait.source
        if source is not None and (source.data or source.ended):
            self._times.call_later(0, partial(self._wake, self._turn))
            return
        if source is not None:
            self._await(source.changed)
        if wait.signal is not None:
            self._await(wait.signal)
        if not math.isinf(wait.seconds):
            seconds = max(wait.seconds, LEAST_SECONDS)
            self._times.call_later(seconds, partial(self._wake, self._turn))

    def _await(self, signal: Signal) -> None:
        waker = partial(self._wake, self._turn)
        self._waits.append((signal, waker))
        signal.wait(waker)

    def _end(self, status: int) -> None:
        self.status = status
        self._on_end(status)
        self.ended.fire()
