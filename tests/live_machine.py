"""A real machine that a test starts and a notebook's kernel, another process, attaches to."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.guest import Guest
from labkit.local import LocalExecutor
from labkit.machines import Machine, Machines
from labkit.steward import ensure


@dataclass(frozen=True)
class LiveVM:
    """What `labkit_widgets.faces` need of a VM."""

    machine: Machine

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def guest(self) -> Guest:
        return self.machine.guest


def attach(folder: str, key: str, index: int = 1) -> LiveVM:
    """The machine at `index` of the slice `key`, whose run folder is `folder`."""
    executor = LocalExecutor({"LABKIT_RUN_DIR": folder})
    steward = ensure(executor, "localhost", key)
    return LiveVM(Machines(steward, executor).get(index))
