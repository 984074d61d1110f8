"""The contract of machines, guests and links, on real QEMU machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_contract import EngineContract, Net
from machines_lab import HAS_QEMU, machines_lab

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with machines_lab() as lab:
        yield Net(lab)


class TestRealEngine(EngineContract):
    """All of the contract."""
