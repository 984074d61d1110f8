"""What machines of a size can do, and what is said where they cannot."""

from __future__ import annotations

import pytest

from labkit.errors import GuestError, NoAgent
from labkit.flavors import ABILITIES, SIZES, need_agent


def test_a_guest_without_agent_is_refused_with_the_ways_that_are_left() -> None:
    with pytest.raises(NoAgent) as told:
        need_agent(SIZES["cirros"], "run commands in", "web")
    text = str(told.value)
    assert text.startswith("cannot run commands in web: its image ")
    for word in ("no agent", "console", "seed", "flavor micro"):
        assert word in text
    assert isinstance(told.value, GuestError)
    assert told.value.context["vm"] == "web"


def test_a_guest_with_agent_is_not() -> None:
    need_agent(SIZES["micro"], "run commands in", "web")


def test_the_agent_gives_everything_that_there_is() -> None:
    assert all(ability.with_agent for ability in ABILITIES)
    without = {ability.what for ability in ABILITIES if not ability.without_agent}
    assert "run commands" in without
    assert "upload and download files" in without
    assert "console, screen" not in without
