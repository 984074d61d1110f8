"""What notebooks add to a lab: views that other packages provide under a name."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata, util
from typing import Any

from labkit.errors import ProgramMissing

GROUP = "labkit.views"


def show(name: str, *arguments: object, **options: object) -> object:
    """The view of this name of something; raises `ProgramMissing` where none is installed."""
    found = find(name)
    if found is None:
        raise ProgramMissing(
            f"there is no {name} to show",
            why="the notebook part of labkit is not installed",
            fix="Install it: pip install 'labkit[notebook]'",
        )
    return found(*arguments, **options)


def find(name: str, needs: str = "ipywidgets") -> Any:
    """The function that makes a view, or None where it is not there or what it needs is not."""
    for entry in metadata.entry_points(group=GROUP, name=name):
        if util.find_spec(needs) is not None:
            return entry.load()
    return None


def is_in_notebook() -> bool:
    """Whether a notebook's kernel runs this: it has loaded ipykernel, which nobody else does."""
    return "ipykernel" in sys.modules


def display(name: str, thing: object) -> None:
    """Display a view of something in the running cell.

    Raises NotImplementedError where none can be shown: IPython then takes the thing's own bundle.
    """
    shows = find(name) if is_in_notebook() else None
    if shows is None or not shows(thing):
        raise NotImplementedError


def progress(thing: object, *, is_watched: bool) -> AbstractContextManager[object]:
    """Shows the work on something: in a notebook in the running cell; on a terminal below its
    prompt, unless somebody watches it already; nowhere else."""
    if is_in_notebook():
        shows = find("progress")
    else:
        shows = find("terminal", "rich") if sys.stderr.isatty() and not is_watched else None
    found: AbstractContextManager[object] = shows(thing) if shows else nullcontext()
    return found
