"""The last words on a VM's console: what to look at when its system is late."""

from __future__ import annotations

from typing import Any, Protocol

from labkit.errors import LabkitError
from labkit.machine_problems import tail_of

TAIL_BYTES = 4000


class HasVMs(Protocol):
    """What has VMs by their names; `labkit.LabSlice` is one."""

    def __getitem__(self, name: str) -> Any: ...


def console_tail(vms: HasVMs, name: str) -> str:
    """The last lines on a VM's console; what cannot be read says so."""
    try:
        said = vms[name].console_log(TAIL_BYTES)
    except LabkitError as error:
        return f"(its console cannot be read: {error.what})"
    return tail_of(said)
