"""What shows a machine in a cell, from a handle that a lab gives.

These are the entry points of the group ``labkit.views``: the core finds them there, for it must
not import them.
"""

from __future__ import annotations

from typing import Protocol

from labkit.executor import Connection
from labkit.guest import Guest
from labkit.machines import Machine
from labkit.streams import CallStream
from labkit_widgets.screen import Screen
from labkit_widgets.terminal import ROWS, Terminal


class Handle(Protocol):
    """What is needed of a VM."""

    @property
    def name(self) -> str: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def guest(self) -> Guest: ...


def console(vm: Handle, *, rows: int = ROWS, read_only: bool = False) -> Terminal:
    """Its serial console: what the machine says from its start on, before it has a network."""
    last: CallStream | None = None

    def connect(_columns: int, _rows: int) -> Connection:
        nonlocal last
        last = vm.machine.open_console(after=last.position if last is not None else None)
        return last

    return Terminal(connect, name=vm.name, what="console", rows=rows, read_only=read_only)


def shell(vm: Handle, *, rows: int = ROWS, read_only: bool = False) -> Terminal:
    """A shell in its guest, by way of the guest's agent: needs no network either."""
    return Terminal(
        lambda columns, rows: vm.guest.open_shell(columns, rows),
        name=vm.name,
        what="shell",
        rows=rows,
        resizable=True,
        read_only=read_only,
    )


def screen(vm: Handle, *, read_only: bool = False) -> Screen:
    """Its screen; the machine must have one."""
    return Screen(
        lambda: vm.machine.open_screen(),
        name=vm.name,
        picture=lambda: vm.machine.screenshot(),
        read_only=read_only,
    )
