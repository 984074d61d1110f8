"""The micro image for tests that boot it, built once into the user's folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit.errors import MirrorMissing, MirrorUnreachable
from labkit.micro import MicroImage, build_micro
from micro_guest import QEMU, Machine


@pytest.fixture(scope="session")
def image() -> MicroImage:
    if QEMU is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    try:
        return build_micro()
    except (MirrorMissing, MirrorUnreachable) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def machine(image: MicroImage) -> Iterator[Machine]:
    with Machine(image) as one:
        yield one
