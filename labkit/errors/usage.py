"""Errors of the caller."""

from __future__ import annotations

from labkit.errors.root import LabkitError


class UsageError(LabkitError):
    """The caller is wrong; nothing was done, and asking again changes nothing."""

    code = "usage"


class InvalidArgument(UsageError, ValueError):
    """An argument breaks its rule. `context` holds `argument`, `value` and `rule`."""

    code = "invalid-argument"


class DuplicateError(UsageError, ValueError):
    """An id or a name that must be unique is already taken."""

    code = "duplicate"


class UnknownFlavor(UsageError, LookupError):
    """There is no flavor of this name."""

    code = "unknown-flavor"


class UnknownImage(UsageError, LookupError):
    """Neither the image library nor the catalogue knows this name."""

    code = "unknown-image"


class UnknownSlice(UsageError, LookupError):
    """There is no slice of this name in the store."""

    code = "unknown-slice"


class ClosedError(UsageError, RuntimeError):
    """An executor was used after `close()`."""

    code = "closed"
