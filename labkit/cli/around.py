"""What a command finds around it: the way to a lab, its standard input, and somebody to ask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import rich_click as click

import labkit
from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.lab import Lab

OpenLab = Callable[[str | None], AbstractContextManager["Lab"]]
Ask = Callable[[str, bool], bool]


def _open_lab(profile: str | None) -> Lab:
    return labkit.Lab(profile)


def _confirm(question: str, default: bool) -> bool:
    return bool(click.confirm(question, default=default, err=True))


def _somebody() -> Ask | None:
    """Whoever sits at a terminal and can answer."""
    return _confirm if sys.stdin.isatty() and sys.stderr.isatty() else None


@dataclass(frozen=True)
class Around:
    """What commands use of the world around them; a test may give another.

    `open_lab` gives the lab of a profile. `ask` answers a question that has a usual answer; it is
    None where nobody can be asked.
    """

    open_lab: OpenLab = _open_lab
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    ask: Ask | None = field(default_factory=_somebody)


def around() -> Around:
    """What the command that runs now has around it."""
    context = click.get_current_context()
    assert context is not None
    return context.ensure_object(Around)


def asked(question: str, *, yes: bool, default: bool) -> bool:
    """Whether to go on; with `yes` it is meant.

    Where nobody can be asked, what people usually want is done; what they usually do not want is
    refused by `UsageError`.
    """
    if yes:
        return True
    ask = around().ask
    if ask is not None:
        return ask(question, default)
    if not default:
        raise UsageError(
            "this needs --yes where nobody can be asked",
            why=f"there is no terminal, and the question is: {question}",
            fix="Add --yes if that is meant. Nothing was done.",
        )
    return True
