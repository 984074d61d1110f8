"""What simulated programs wait for: time, and signals that wake them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Signal:
    """Something that changes now and then; who waits looks again when it fires."""

    def __init__(self) -> None:
        self._wakers: list[Callable[[], None]] = []

    def wait(self, waker: Callable[[], None]) -> None:
        """Call once, when it fires next."""
        self._wakers.append(waker)

    def forget(self, waker: Callable[[], None]) -> None:
        """Do not call any more; again is fine."""
        if waker in self._wakers:
            self._wakers.remove(waker)

    def fire(self) -> None:
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()


class Times(Protocol):
    """The guest's own time, which stands still while it is paused."""

    def now(self) -> float: ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> object: ...
