"""Work on a slice as it goes on: from events to lines on a terminal, or in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from labkit.cli import show
from labkit.cli.image import STAGES
from labkit.events import (
    Converged,
    Event,
    GuestWaiting,
    ImageBuildStage,
    ImageBuilt,
    ImageCopied,
    ImageCopyProgress,
    ImageCopyWaiting,
    Listener,
    PackageProgress,
    PlanMade,
    StepBegun,
    StepDone,
    StepFailed,
)

Listen = Callable[[Listener], Callable[[], None]]

MOST_LINES = 12
DOING = {
    "start steward": "starts what serves the slice",
    "stop steward": "ends what served the slice",
    "start machine": "starts",
    "stop machine": "is ended",
    "forget machine": "is cleared away",
    "resume machine": "goes on",
    "set internet": "gets its way to the internet",
    "configure guest": "boots",
    "set link": "is connected",
    "delete link": "is disconnected",
    "make overlay": "gets its disk",
    "grow overlay": "gets a larger disk",
    "delete overlay": "loses its disk",
    "remove leftover": "is cleared away",
}


@dataclass
class Activity:
    """What somebody is doing, since when, and how far it is where that is known."""

    words: str
    since: float
    share: float | None = None


class Progress:
    """What events have told so far. They come from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._planned = self._began
        self._steps = self._done = 0
        self._expected: float | None = None
        self._active: dict[str, Activity] = {}
        self._packages: dict[str, int] = {}
        self.seconds: float | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case PlanMade():
                self._steps = self._done + event.steps
                self._expected, self._planned = event.expected, self._clock()
            case StepBegun():
                self._begin(event.subject, DOING.get(event.kind, event.kind))
            case GuestWaiting():
                active = self._active.get(event.subject)
                if active is not None:
                    active.words = f"boots: {event.waiting_for}"
            case StepDone():
                self._done += 1
                self._active.pop(event.subject, None)
            case StepFailed():
                self._active.pop(event.subject, None)
            case Converged():
                self.seconds = event.seconds
            case _:
                self._note_image(event)

    def _note_image(self, event: Event) -> None:
        match event:
            case ImageBuildStage():
                self._begin(f"image {event.subject}", STAGES.get(event.stage, event.stage))
            case PackageProgress():
                self._packages[event.subject] = event.done
                self._tell_download(sum(self._packages.values()))
            case ImageBuilt():
                self._active.pop(f"image {event.subject}", None)
            case ImageCopyProgress():
                self._begin(event.subject, f"is copied to {event.host}")
                share = event.done / event.total if event.total else None
                self._active[event.subject].share = share
            case ImageCopyWaiting():
                self._begin(event.subject, "is being copied by another labkit")
            case ImageCopied():
                self._active.pop(event.subject, None)

    def _begin(self, subject: str, words: str) -> None:
        old = self._active.get(subject)
        since = old.since if old is not None else self._clock()
        self._active[subject] = Activity(words, since)

    def _tell_download(self, size: int) -> None:
        for subject, active in self._active.items():
            if subject.startswith("image "):
                active.words = f"downloading packages: {show.size(size)}"

    def left(self) -> str:
        """How long it will take, as far as it is known."""
        if self._expected is None:
            return ""
        rest = self._expected - (self._clock() - self._planned)
        if rest < 0:
            return f"longer than the usual {self._expected:.0f} s"
        return f"about {rest:.0f} s left"

    def render(self) -> RenderableType:
        """What a terminal shows while it goes on."""
        with self._lock:
            now = self._clock()
            head = Table.grid(padding=(0, 2))
            counted = f"{self._done} of {self._steps} steps" if self._steps else "looking"
            bar = ProgressBar(total=self._steps or None, completed=self._done, width=24)
            head.add_row(counted, bar, f"{now - self._began:.0f} s", f"[dim]{self.left()}[/dim]")
            lines = Table.grid(padding=(0, 2))
            for subject, active in list(self._active.items())[:MOST_LINES]:
                share = "" if active.share is None else f"{active.share:.0%}"
                words = Text(active.words, style="dim", overflow="ellipsis", no_wrap=True)
                lines.add_row(f"  {subject}", words, f"{now - active.since:.0f} s", share)
            if len(self._active) > MOST_LINES:
                lines.add_row(f"  and {len(self._active) - MOST_LINES} more", "", "", "")
        return Group(head, lines)


def log_line(event: Event) -> str | None:
    """An event as a line for a log; None for one that is told too often."""
    match event:
        case PlanMade():
            usual = "" if event.expected is None else f", usually {event.expected:.0f} s"
            return f"{event.steps} steps{usual}"
        case StepDone():
            return f"{event.subject}: {event.kind}, {event.seconds:.1f} s"
        case StepFailed():
            return f"{event.subject}: {event.kind} failed: {event.why}"
        case ImageBuildStage():
            return f"image {event.subject}: {STAGES.get(event.stage, event.stage)}"
        case ImageBuilt() if not event.cached:
            return f"image {event.subject} is built, {event.seconds:.0f} s"
        case ImageCopied():
            return f"{event.subject} is copied to {event.host}, {event.seconds:.0f} s"
    return None


@contextmanager
def watching(listen: Listen | None = None) -> Iterator[Progress]:
    """Shows on standard error what events tell; `listen` begins to tell them, if it is given."""
    progress = Progress() if show.err.is_terminal else _Logging()
    with ExitStack() as stack:
        if show.err.is_terminal:
            stack.enter_context(
                Live(
                    get_renderable=progress.render,
                    console=show.err,
                    transient=True,
                    refresh_per_second=5,
                )
            )
        if listen is not None:
            stack.callback(listen(progress))
        yield progress


class _Logging(Progress):
    """Writes lines as well."""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        line = log_line(event)
        if line is not None:
            show.note(line)
