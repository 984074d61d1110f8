"""The work on a slice, told by its events: what runs, how far it is, how long it may take. Pure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from labkit.events import (
    Converged,
    Event,
    GaveUp,
    GuestWaiting,
    ImageBuildStage,
    ImageBuilt,
    ImageCopied,
    ImageCopyProgress,
    ImageCopyWaiting,
    MachineTold,
    PackageProgress,
    PlanMade,
    StepBegun,
    StepDone,
    StepFailed,
)
from labkit.markup import counted

MIB = 2**20
LATE = 20.0  # seconds a guest is waited for before its console is of interest
# What is done that is no step: it comes before the plan's first.
BUILD, COPY = "build image", "copy image"
STAGES = {
    "wait": "waiting for another process that builds it",
    "index": "reading the mirror's list of packages",
    "unpack": "unpacking its packages",
    "pack": "packing kernel and files",
}
STARTING, RUNNING, ABSENT, UP = "starting", "running", "absent", "up"


@dataclass(frozen=True, slots=True)
class Activity:
    """What is being done, to what, and for how long so far.

    `kind` is that of a step, or `BUILD` or `COPY` of an image; `detail` and `share` say how far it
    is, where that is known.
    """

    kind: str
    subject: str
    seconds: float
    detail: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A guest that is waited for: for what, and how long so far."""

    vm: str
    what: str
    seconds: float

    @property
    def is_late(self) -> bool:
        return self.seconds >= LATE


@dataclass(frozen=True, slots=True)
class Work:
    """Where the work stands.

    `state` is ``idle``, ``working``, ``done`` or ``failed``; `fraction` counts steps; `left` are
    the seconds it usually takes from now on, negative when it takes longer, None when unknown.
    `active` is in the order in which it began, `waiting` has the latest guest first.
    `vms` and `links` have the states that the work has given to some since the last look.
    """

    state: str = "idle"
    active: tuple[Activity, ...] = ()
    done: int = 0
    steps: int = 0
    seconds: float = 0.0
    left: float | None = None
    waiting: tuple[Waiting, ...] = ()
    failures: tuple[str, ...] = ()
    vms: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.steps) if self.steps else 0.0

    @property
    def count(self) -> str:
        """``3 of 12 steps``."""
        return f"{self.done} of {counted(self.steps, 'step')}" if self.steps else ""

    @property
    def time(self) -> str:
        """How long it takes, in words: ``6 s, about 8 s left``."""
        told = f"{self.seconds:.0f} s"
        return f"{told}, {self.rest}" if self.rest else told

    @property
    def rest(self) -> str:
        """The time that is left, in words, where it is known: ``about 8 s left``."""
        if self.left is None or self.state != "working":
            return ""
        if self.left >= 1:
            return f"about {self.left:.0f} s left"
        usual = self.seconds + self.left
        late = self.left < -max(2.0, 0.2 * usual)
        return f"longer than usual ({usual:.0f} s)" if late else "nearly done"

    @property
    def late(self) -> tuple[Waiting, ...]:
        """The guests whose consoles are of interest by now."""
        return tuple(one for one in self.waiting if one.is_late)


class Progress:
    """Hears events, in any thread, and answers at any time with the `Work` they mean."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reset()
        self._state = "idle"

    def _reset(self) -> None:
        self._began = self._ended = self._clock()
        self._due: float | None = None
        self._steps = self._done = 0
        # What goes on, by kind and subject; its `seconds` are those of the clock when it began.
        self._active: dict[tuple[str, str], Activity] = {}
        self._packages: dict[str, int] = {}
        self._waiting: dict[str, Waiting] = {}
        self._failures: list[str] = []
        self._vms: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def begin(self) -> None:
        """Work begins, before any event tells of it."""
        with self._lock:
            self._begin()

    def end(self, failure: str = "") -> None:
        """Work has ended: well, or by a failure."""
        with self._lock:
            if failure:
                self._gave_up(failure)
            else:
                self._finish("done")

    def looked(self) -> None:
        """What is there was looked at: what the steps have said of states is no news any more."""
        with self._lock:
            if self._state != "working":
                self._vms, self._links = {}, {}

    @property
    def is_idle(self) -> bool:
        """Whether there was no work so far."""
        return self._state == "idle"

    @property
    def work(self) -> Work:
        """Where it stands now."""
        with self._lock:
            now = self._clock() if self._state == "working" else self._ended
            return Work(
                state=self._state,
                active=tuple(
                    replace(one, seconds=now - one.seconds) for one in self._active.values()
                ),
                done=self._done,
                steps=self._steps,
                seconds=now - self._began,
                left=None if self._due is None else self._due - now,
                waiting=tuple(sorted(self._waiting.values(), key=lambda one: -one.seconds)),
                failures=tuple(self._failures),
                vms=dict(self._vms),
                links=dict(self._links),
            )

    def heard(self, event: Event) -> None:
        """Take in an event."""
        with self._lock:
            match event:
                case PlanMade(_, _, steps, expected):
                    self._planned(steps, expected)
                case Converged():
                    self._finish("done")
                case GaveUp(_, _, why):
                    self._gave_up(why)
                case StepBegun(_, subject, kind, _):
                    self._step_begun(kind, subject)
                case StepDone(_, subject, kind, _):
                    self._step_done(kind, subject)
                case StepFailed(_, subject, kind, _, why):
                    self._active.pop((kind, subject), None)
                    self._waiting.pop(subject, None)
                    self._failures.append(f"{kind} {subject}: {why}")
                case GuestWaiting(_, subject, what, seconds):
                    self._waiting[subject] = Waiting(subject, what, seconds)
                case MachineTold(_, subject, kind):
                    self._machine(subject, kind)
                case _:
                    self._image(event)

    # inside, under the lock

    def _begin(self) -> None:
        self._reset()
        self._state = "working"

    def _planned(self, steps: int, expected: float | None) -> None:
        if self._state != "working":
            self._begin()
        self._steps = self._done + steps
        self._due = None if expected is None else self._clock() + expected

    def _finish(self, state: str) -> None:
        self._state, self._ended = state, self._clock()
        self._active.clear()
        self._waiting.clear()

    def _gave_up(self, why: str) -> None:
        """Steps that failed have said why; the error tells only what they did not."""
        self._finish("failed")
        if not self._failures:
            self._failures.append(why)

    def _goes_on(
        self, kind: str, subject: str, detail: str = "", share: float | None = None
    ) -> None:
        before = self._active.get((kind, subject))
        began = self._clock() if before is None else before.seconds
        self._active[kind, subject] = Activity(kind, subject, began, detail, share)

    def _step_begun(self, kind: str, subject: str) -> None:
        self._goes_on(kind, subject)
        if kind == "start machine":
            self._vms[subject] = STARTING

    def _step_done(self, kind: str, subject: str) -> None:
        self._active.pop((kind, subject), None)
        if self._state == "working":  # else a link was changed, which is no plan's step
            self._done += 1
        match kind:
            case "configure guest":
                self._waiting.pop(subject, None)
                self._vms[subject] = RUNNING
            case "stop machine":
                self._vms[subject] = ABSENT
            case "resume machine":
                self._vms[subject] = RUNNING
            case "set link":
                self._links[subject] = UP
            case "delete link":
                self._links[subject] = ABSENT

    def _machine(self, subject: str, kind: str) -> None:
        if kind == "ready":
            self._waiting.pop(subject, None)
            if self._vms.get(subject) == STARTING:
                self._vms[subject] = RUNNING

    def _image(self, event: Event) -> None:
        """What the steps need is made or brought before the plan is told: that is work, too."""
        match event:
            case ImageBuildStage(_, subject, stage):
                self._image_goes_on(BUILD, subject, STAGES.get(stage, stage))
            case PackageProgress(_, subject, done):
                self._packages[subject] = done
                size = sum(self._packages.values()) / MIB
                self._image_goes_on(BUILD, "packages", f"downloading packages: {size:.1f} MiB")
            case ImageBuilt():
                self._forget_build()
                self._packages.clear()
            case ImageCopyProgress(host, subject, done, total):
                told = f"to {host}: {done / MIB:.0f} of {total / MIB:.0f} MiB"
                self._image_goes_on(COPY, subject, told, done / total if total else None)
            case ImageCopyWaiting(host, subject):
                self._image_goes_on(COPY, subject, f"to {host}: another labkit does it already")
            case ImageCopied(_, subject):
                self._active.pop((COPY, subject), None)

    def _image_goes_on(
        self, kind: str, subject: str, detail: str, share: float | None = None
    ) -> None:
        if self._state != "working":
            self._begin()
        if kind == BUILD and (kind, subject) not in self._active:
            self._forget_build()  # images are built one by one: a stage takes another's place
        self._goes_on(kind, subject, detail, share)

    def _forget_build(self) -> None:
        for key in [key for key in self._active if key[0] == BUILD]:
            self._active.pop(key)
