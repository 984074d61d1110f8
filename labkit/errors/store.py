"""Errors of the database of what was promised."""

from __future__ import annotations

from labkit.errors.lab import LabError


class StoreError(LabError):
    """The database of what was promised cannot be used as asked; it is as it was before."""

    code = "store"


class StoreUnreadable(StoreError, ValueError):
    """The database is damaged or not labkit's. It is never overwritten or emptied."""

    code = "store-unreadable"


class StoreTooNew(StoreError):
    """A newer labkit has written the database; this one must not touch it."""

    code = "store-too-new"


class StoreBusy(StoreError, TimeoutError):
    """Other processes held the database for longer than we wait; nothing was written."""

    code = "store-busy"


class SliceInUse(StoreError):
    """Another process is at work on the slice, or has taken it over from this one."""

    code = "slice-in-use"


class SliceChanged(StoreError):
    """The wish was changed by another process since it was read; nothing was written."""

    code = "slice-changed"
