"""What notebooks add to a lab: views that other packages provide under a name."""

from __future__ import annotations

from importlib import metadata, util

from labkit.errors import ProgramMissing

GROUP = "labkit.views"


def show(name: str, *arguments: object) -> object:
    """The view of this name of something; raises `ProgramMissing` where none is installed."""
    found = find(name)
    if found is None:
        raise ProgramMissing(
            f"there is no {name} to show",
            why="the notebook part of labkit is not installed",
            fix="Install it: pip install 'labkit[notebook]'",
        )
    return found(*arguments)  # type: ignore[operator]


def find(name: str) -> object | None:
    """The function that makes a view, or None."""
    for entry in metadata.entry_points(group=GROUP, name=name):
        if util.find_spec("ipywidgets") is not None:
            return entry.load()  # type: ignore[no-any-return]
    return None
