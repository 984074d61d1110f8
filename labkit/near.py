"""The known name that a slip of the keyboard was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name most like `name`, if one is like it; capital letters make no difference."""
    folded = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return folded[found[0]] if found else None


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """What to do about a `name` that is not known: the nearest, or what to do `otherwise`."""
    found = nearest(name, known)
    return otherwise if found is None else f"Did you mean {found!r}?"


def listed(known: Iterable[str]) -> str:
    """The first of the names there are."""
    names = list(known)
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
