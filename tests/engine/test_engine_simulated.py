"""The contract of machines, guests and links, on the simulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_contract import EngineContract, Net
from simulated_lab import simulated_lab


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with simulated_lab() as lab:
        yield Net(lab)


class TestSimulatedEngine(EngineContract):
    """All of the contract."""
