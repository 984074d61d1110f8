"""The progress of work on a slice in the running cell: one output, updated in place."""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self

from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from labkit import markup
from labkit.errors import LabkitError
from labkit.events import Event, Listener
from labkit.lab.console_tail import console_tail
from labkit.markup import Bundle
from labkit.pace import Teller
from labkit.progress import Progress, Waiting, Work
from labkit_widgets.progress_words import words

BAR = 24
ONCE_A_SECOND = 1.0
Show = Callable[[Bundle], None]


class Worked(Protocol):
    """What is worked on; `labkit.LabSlice` is one."""

    @property
    def name(self) -> str: ...

    def listen(self, listener: Listener) -> Callable[[], None]: ...

    def __getitem__(self, name: str) -> Any: ...


def is_watched() -> bool:
    """Whether a person sits before this notebook, as far as can be known.

    A front end with a person lets the kernel ask for input; what runs notebooks by itself (nbval,
    nbconvert, papermill) does not, and compares or keeps what it is shown.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    content = kernel.get_parent("shell").get("content", {})
    return bool(content.get("allow_stdin"))


def progress(slice_: Worked) -> AbstractContextManager[object]:
    """Shows the work on a slice while a cell does it; nothing where nobody looks.

    Work in another thread is a panel's, or somebody's who did not ask for an output.
    """
    if threading.current_thread() is not threading.main_thread() or not is_watched():
        return nullcontext()
    return CellProgress(slice_)


class CellProgress:
    """Shows work from its first event on: where there is nothing to do, nothing is shown."""

    def __init__(self, slice_: Worked, *, show: Show | None = None) -> None:
        self._slice = slice_
        self._progress = Progress()
        self._show = show or _in_cell()
        self._is_shown = False
        self._teller: Teller | None = None
        self._deaf: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._teller = Teller(self._tell)
        self._deaf = self._slice.listen(self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._teller is not None
        assert self._deaf is not None
        self._deaf()
        if self._is_shown:
            self._progress.end("" if error is None else failure_words(error))
            self._teller.changed()
        self._teller.close()

    def _heard(self, event: Event) -> None:
        assert self._teller is not None
        self._progress.heard(event)
        if not self._progress.is_idle:
            self._is_shown = True
            self._teller.every = ONCE_A_SECOND
            self._teller.changed()

    def _tell(self) -> None:
        work = self._progress.work
        if not self._is_shown:
            return
        tails = {one.vm: console_tail(self._slice, one.vm) for one in work.late}
        self._show(work_bundle(self._slice.name, work, tails))


def _in_cell() -> Show:
    """Shows bundles as one output of the running cell.

    Outside of the cell's own context, as in another thread, an output is for who has asked the
    kernel last. That may be a widget's page, which shows none.
    """
    display_id = secrets.token_hex(8)
    shown = False
    cell = contextvars.copy_context()

    def show(bundle: Bundle) -> None:
        nonlocal shown
        transient = {"display_id": display_id}
        cell.run(publish_display_data, bundle, transient=transient, update=shown)
        shown = True

    return show


def failure_words(error: BaseException) -> str:
    """An error in a line."""
    if isinstance(error, LabkitError):
        return f"{error.what}: {error.why}" if error.why else error.what
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what is done stays, and deploy() goes on from there"
    return f"{type(error).__name__}: {error}"


def work_bundle(name: str, work: Work, tails: dict[str, str]) -> Bundle:
    """Work as an output: a line, a bar, and what is late or failed."""
    if work.state == "done":
        head = markup.heading(name, markup.chip("as wished", markup.GOOD), work.count, work.time)
        return markup.bundle(f"{name}: as wished, {work.count}, {work.time}", head)
    failed = work.state == "failed"
    mark = markup.chip(*(("failed", markup.BAD) if failed else ("working", markup.WARN)))
    parts = [markup.heading(name, mark, work.count, work.time)]
    doing = "failed" if failed else words(work)
    text = [f"{name}: {', '.join(one for one in (doing, work.count, work.time) if one)}"]
    if not failed:
        parts.append(f"<div>{_bar(work.fraction)} {markup.escape(doing)}</div>")
    for one in work.failures:
        parts.append(markup.lines(one, kind=markup.BAD))
        text.append(f"  {one}")
    for waiting in work.late:
        parts += _late(waiting, tails.get(waiting.vm, ""))
        text.append(f"  {waiting.vm}: {waiting.what}, {waiting.seconds:.0f} s")
    return markup.bundle("\n".join(text), *parts)


def _late(waiting: Waiting, tail: str) -> list[str]:
    told = f"{waiting.vm} is late: {waiting.what}, {waiting.seconds:.0f} s. On its console:"
    return [markup.note(told), markup.lines(tail or "(nothing)", kind=markup.WARN)]


def _bar(fraction: float) -> str:
    """Characters: viewers strip progress elements."""
    full = round(fraction * BAR)
    return f'<span role="presentation">{"▰" * full}{"▱" * (BAR - full)}</span>'
