"""What happened, as values: every stage of labkit's work tells it through one function."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from labkit.markup import counted

logger = logging.getLogger("labkit")


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened on `host` to `subject` (a file, a VM, a worker)."""

    host: str
    subject: str


@dataclass(frozen=True, slots=True)
class ImageCopyProgress(Event):
    """A base image is on its way to a worker.

    `done` of `total` bytes of the image are there, holes included; `sent` bytes went over the
    network. The first event has `done` = what an earlier, interrupted copy had left there.
    """

    done: int
    total: int
    sent: int


@dataclass(frozen=True, slots=True)
class ImageCopyWaiting(Event):
    """Another manager is copying the same image to this worker; ours waits for it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ImageCopied(Event):
    """A base image is on the worker, whole and verified against `sha256`."""

    sha256: str
    sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OverlayCreated(Event):
    """A VM's disk was made; `adopted` when an earlier, interrupted request had made it."""

    size: int
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class OverlayDeleted(Event):
    """A VM's disk was deleted, or (`absent`) was not there any more."""

    absent: bool = False


@dataclass(frozen=True, slots=True)
class PackageProgress(Event):
    """A package for the micro image is being downloaded: `done` of `total` bytes are here."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class StepBegun(Event):
    """A step of a plan begins: `kind` as in `labkit.plan.steps`, `reason` in words."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A step of a plan is done; `reason` as when it began."""

    kind: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed(Event):
    """A step of a plan could not be done, or was interrupted; `why` says so."""

    kind: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class PlanMade(Event):
    """Work on a slice begins: `steps` of a plan, which usually take `expected` seconds in all.

    `expected` is None where this machine has not done the like before.
    """

    steps: int
    expected: float | None

    @property
    def words(self) -> str:
        """``4 steps, usually 12 s``; of less than a second nothing is said."""
        steps = counted(self.steps, "step")
        is_long = self.expected is not None and self.expected >= 1
        return f"{steps}, usually {self.expected:.0f} s" if is_long else steps


@dataclass(frozen=True, slots=True)
class Converged(Event):
    """A slice is as it was wished, after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GaveUp(Event):
    """Work on a slice has ended before its end, for the reason `why`."""

    why: str


@dataclass(frozen=True, slots=True)
class GuestWaiting(Event):
    """The guest of a machine is waited for: what has not happened yet after so many seconds."""

    waiting_for: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MachineTold(Event):
    """Something happened to a machine by itself: `kind` is started, ready, rebooted, ended, …"""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ImageBuildStage(Event):
    """The build of the system image `subject` has come to `stage`: wait, index, unpack, pack."""

    stage: str


@dataclass(frozen=True, slots=True)
class ImageBuilt(Event):
    """The micro image is there, of `size` bytes; `cached` when an earlier build had made it."""

    size: int
    seconds: float
    cached: bool = False


Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """The listener of those who do not listen."""


class Listeners:
    """One listener that tells many; they may come and go while events happen, in any thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[object, Listener] = {object(): one for one in listeners}

    def __call__(self, event: Event) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # who only listens must not stop the work that is told of
                logger.exception("a listener failed at %r", event)

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` too, until the function that is returned is called; again is fine."""
        ticket = object()
        with self._lock:
            self._listeners[ticket] = listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(ticket, None)

        return stop
