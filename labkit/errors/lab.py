"""Errors of the lab as a whole, and the class of all errors of the lab."""

from __future__ import annotations

from labkit.errors.root import LabkitError


class LabError(LabkitError):
    """The lab is wrong; the same request may succeed later."""

    code = "lab"


class LinkError(LabError):
    """A link cannot be as asked, or does not do what it should."""

    code = "link"


class NotSeen(LabError, AssertionError):
    """A packet that was expected was not captured in time."""

    code = "not-seen"


class NoRoom(LabError):
    """The hosts cannot hold the wish, or a pool of ids or addresses is used up; nothing was done.

    `context` holds the sums: what is `needed` and what is `free`.
    """

    code = "no-room"


class Interrupted(LabError):
    """Work on a slice was told to stop; what was done stays, asking again goes on from there."""

    code = "interrupted"


class NotSettled(LabError, TimeoutError):
    """A slice does not become as it was wished: something undoes what is done."""

    code = "not-settled"
