"""A real machine for the live views, and the code by which a notebook finds it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machines_lab import MachinesLab, machines_lab


@pytest.fixture(scope="session")
def machines() -> Iterator[MachinesLab]:
    """A lab with the machine r1, which has a screen."""
    with machines_lab() as lab:
        lab.start(screen=True)
        yield lab


@pytest.fixture
def attach(machines: MachinesLab) -> str:
    """Python for a notebook: `vm` is the machine."""
    return (
        "import live_machine\n"
        "from labkit_widgets import faces\n"
        f"vm = live_machine.attach({str(machines.folder.parent)!r}, {machines.key!r})"
    )
