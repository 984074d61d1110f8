"""Work on a slice as it goes on: from its state to lines on a terminal, or in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from labkit.cli import show
from labkit.events import (
    Converged,
    Event,
    ImageBuildStage,
    ImageBuilt,
    ImageCopied,
    Listener,
    PlanMade,
    StepDone,
    StepFailed,
)
from labkit.pace import Teller
from labkit.progress import BUILD, COPY, STAGES, Activity, Progress, Waiting, Work

if TYPE_CHECKING:
    from labkit.lab import LabSlice

Listen = Callable[[Listener], Callable[[], None]]
# What a VM last said on its console.
ReadTail = Callable[[str], str]

MOST_LINES = 12
MOST_TAILS = 2  # a page of console is no progress any more
TAIL_PERIOD = 2.0  # seconds between looks at the consoles of who is late
DOING = {
    BUILD: "is built, once:",
    COPY: "is copied",
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


def render(work: Work, tails: dict[str, str]) -> RenderableType:
    """What a terminal shows of work that goes on; `tails` are what late guests have said."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=work.steps or None, completed=work.done, width=24)
    head.add_row(work.count or "looking", bar, f"{work.seconds:.0f} s", f"[dim]{work.rest}[/dim]")
    lines = Table.grid(padding=(0, 2))
    waiting = {one.vm: one.what for one in work.waiting}
    for one in work.active[:MOST_LINES]:
        share = "" if one.share is None else f"{one.share:.0%}"
        words = Text(_doing(one, waiting), style="dim", overflow="ellipsis", no_wrap=True)
        lines.add_row(f"  {_subject(one)}", words, f"{one.seconds:.0f} s", share)
    if len(work.active) > MOST_LINES:
        lines.add_row(f"  and {len(work.active) - MOST_LINES} more", "", "", "")
    late = [_late(one, tails[one.vm]) for one in work.late if one.vm in tails]
    return Group(head, lines, *late[:MOST_TAILS])


def _subject(one: Activity) -> str:
    return "system image" if one.kind == BUILD else one.subject


def _doing(one: Activity, waiting: dict[str, str]) -> str:
    words = DOING.get(one.kind, one.kind)
    if one.kind == "configure guest" and one.subject in waiting:
        return f"{words}: {waiting[one.subject]}"
    return f"{words} {one.detail}".rstrip()


def late_words(one: Waiting, tail: str) -> str:
    """Who is late, and the last words on its console."""
    said = "".join(f"\n    {line}" for line in (tail or "(nothing)").split("\n"))
    return f"{one.vm} is late: {one.what}, {one.seconds:.0f} s. On its console:{said}"


def _late(one: Waiting, tail: str) -> Text:
    return Text(late_words(one, tail), style="yellow", overflow="ellipsis", no_wrap=True)


def log_line(event: Event) -> str | None:
    """An event as a line for a log; None for one that is told too often."""
    match event:
        case PlanMade():
            return event.words
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


class Watch:
    """Hears events from any thread, and knows what to show of them."""

    def __init__(self, console: ReadTail | None = None) -> None:
        self._progress = Progress()
        self._progress.begin()
        self._console = console
        self._tails: dict[str, str] = {}
        self.seconds: float | None = None  # of a deployment that has done something

    def __call__(self, event: Event) -> None:
        self._progress.heard(event)
        if isinstance(event, Converged):
            self.seconds = event.seconds

    def look(self) -> None:
        """Read the consoles of guests that are late; it may take as long as their host takes."""
        if self._console is not None:
            self._tails = {
                one.vm: self._console(one.vm) for one in self._progress.work.late[:MOST_TAILS]
            }

    def render(self) -> RenderableType:
        """For a terminal."""
        return render(self._progress.work, self._tails)


class _Logging(Watch):
    """Writes lines as they come, for a log: who is late is told once."""

    def __init__(self, console: ReadTail | None = None) -> None:
        super().__init__(console)
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        line = log_line(event)
        if line is not None:
            show.note(line)

    def look(self) -> None:
        super().look()
        for one in self._progress.work.late:
            if one.vm in self._tails and one.vm not in self._told:
                self._told.add(one.vm)
                show.note(late_words(one, self._tails[one.vm]))


@contextmanager
def watching(listen: Listen | None = None, *, console: ReadTail | None = None) -> Iterator[Watch]:
    """Shows on standard error what events tell; `listen` begins to tell them, if it is given.

    With `console`, what a guest that is late has said last is shown, too.
    """
    watch = Watch(console) if show.err.is_terminal else _Logging(console)
    with ExitStack() as stack:
        if show.err.is_terminal:
            stack.enter_context(
                Live(
                    get_renderable=watch.render,
                    console=show.err,
                    transient=True,
                    refresh_per_second=5,
                )
            )
        if console is not None:
            teller = Teller(watch.look)
            teller.every = TAIL_PERIOD
            stack.callback(teller.close)
        if listen is not None:
            stack.callback(listen(watch))
        yield watch


def on_terminal(net: LabSlice) -> AbstractContextManager[Watch]:
    """The same around the work on a slice, and what its late guests have said."""
    from labkit.lab.console_tail import console_tail  # noqa: PLC0415 - keeps `labkit version` quick

    return watching(net.listen, console=partial(console_tail, net))
