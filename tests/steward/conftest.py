"""A host on which a steward may be started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steward_host import StewardHost, steward_host


@pytest.fixture
def host() -> Iterator[StewardHost]:
    with steward_host() as found:
        yield found
