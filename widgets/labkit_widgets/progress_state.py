"""The work on a slice, told by its events: what runs, how far it is, how long it may take. Pure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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

MIB = 2**20
LATE = 20.0  # seconds a guest is waited for before its console is of interest
MOST_NAMES = 4
# Kind of step -> what people call it; their order is that of a deployment.
VERBS = {
    "start steward": "preparing",
    "stop machine": "ending",
    "forget machine": "clearing away",
    "delete link": "taking away link",
    "delete overlay": "deleting the disk of",
    "make overlay": "making the disk of",
    "grow overlay": "growing the disk of",
    "start machine": "starting",
    "resume machine": "resuming",
    "set internet": "connecting the internet of",
    "set link": "laying link",
    "configure guest": "setting up",
    "stop steward": "leaving",
    "remove leftover": "clearing away",
}
STARTING, RUNNING, ABSENT, UP = "starting", "running", "absent", "up"


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
    `vms` and `links` have the states that the work has given to some since the last look.
    """

    state: str = "idle"
    words: str = ""
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
        return f"{self.done} of {self.steps} steps" if self.steps else ""

    @property
    def time(self) -> str:
        """How long it takes, in words: ``6 s, about 8 s left``."""
        told = f"{self.seconds:.0f} s"
        if self.left is None or self.state != "working":
            return told
        if self.left < 1:
            usual = self.seconds + self.left
            late = self.left < -max(2.0, 0.2 * usual)
            return f"{told}, longer than usual ({usual:.0f} s)" if late else f"{told}, nearly done"
        return f"{told}, about {self.left:.0f} s left"


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
        self._running: dict[tuple[str, str], str] = {}
        self._aside = ""
        self._waiting: dict[str, Waiting] = {}
        self._failures: list[str] = []
        self._vms: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def begin(self, words: str = "looking at what is there") -> None:
        """Work begins, before any event tells of it."""
        with self._lock:
            self._reset()
            self._state, self._aside = "working", words

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
                words=self._words(),
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
                    self._running.pop((kind, subject), None)
                    self._waiting.pop(subject, None)
                    self._failures.append(f"{kind} {subject}: {why}")
                case GuestWaiting(_, subject, what, seconds):
                    self._waiting[subject] = Waiting(subject, what, seconds)
                case MachineTold(_, subject, kind):
                    self._machine(subject, kind)
                case _:
                    self._aside = image_words(event) or self._aside

    # inside, under the lock

    def _planned(self, steps: int, expected: float | None) -> None:
        if self._state != "working":
            self._reset()
            self._state = "working"
        self._aside = ""
        self._steps = self._done + steps
        self._due = None if expected is None else self._clock() + expected

    def _finish(self, state: str) -> None:
        self._state, self._ended = state, self._clock()
        self._running.clear()
        self._waiting.clear()
        self._aside = ""

    def _gave_up(self, why: str) -> None:
        """Steps that failed have said why; the error tells only what they did not."""
        self._finish("failed")
        if not self._failures:
            self._failures.append(why)

    def _step_begun(self, kind: str, subject: str) -> None:
        self._aside = ""
        self._running[kind, subject] = subject
        if kind == "start machine":
            self._vms[subject] = STARTING

    def _step_done(self, kind: str, subject: str) -> None:
        self._running.pop((kind, subject), None)
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

    def _words(self) -> str:
        """What is being done, the same things together: ``starting r1, r2; laying link l1``."""
        found: dict[str, list[str]] = {}
        for kind, subject in self._running:
            found.setdefault(kind, []).append(subject)
        known = [*VERBS, *found]  # steps that have no verb are called what they are
        told = [
            f"{VERBS.get(kind, kind)} {_names(sorted(names))}"
            for kind, names in sorted(found.items(), key=lambda item: known.index(item[0]))
        ]
        return "; ".join([*told, self._aside] if self._aside else told)


def _names(names: list[str]) -> str:
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"


def image_words(event: Event) -> str:
    """What an event of images means to who waits; nothing when it is of something else."""
    match event:
        case ImageCopyProgress(host, subject, done, total):
            return f"copying {subject} to {host}: {done / MIB:.0f} of {total / MIB:.0f} MiB"
        case ImageCopyWaiting(host, subject, seconds):
            return f"waiting: {subject} is being copied to {host} already, {seconds:.0f} s"
        case ImageCopied(host, subject):
            return f"{subject} is on {host}"
        case PackageProgress(_, subject, done, total):
            return f"downloading {subject}: {done / MIB:.1f} of {total / MIB:.1f} MiB"
        case ImageBuildStage(_, subject, stage):
            return f"building the image {subject}, once: {stage}"
        case ImageBuilt(_, subject):
            return f"the image {subject} is built"
    return ""
