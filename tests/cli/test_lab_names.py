"""How the command line understands names of VMs and links."""

from __future__ import annotations

import pytest

from labkit.cli.labs import choose
from labkit.errors import InvalidArgument

NAMES = {"ospf": ["r1", "r2"], "bgp": ["r1", "edge"]}


@pytest.mark.parametrize(
    ("target", "meant"),
    [("r2", ("ospf", "r2")), ("edge", ("bgp", "edge")), ("bgp/r1", ("bgp", "r1"))],
)
def test_a_name_is_enough_where_one_slice_has_it(target: str, meant: tuple[str, str]) -> None:
    assert choose("VM", target, NAMES) == meant


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("r1", ["2 slices", "ospf/r1", "bgp/r1"]),
        ("r3", ["no VM 'r3'", "ospf/r1, ospf/r2, bgp/r1, bgp/edge"]),
        ("edgy", ["Did you mean 'bgp/edge'?"]),
        ("ospff/r1", ["no slice 'ospff'", "Did you mean 'ospf'?"]),
        ("ospf/edge", ["no VM 'ospf/edge'", "ospf/r1, ospf/r2"]),
        ("", ["no VM ''"]),
        ("/", ["no slice ''"]),
    ],
)
def test_what_is_meant_by_nobody_or_by_several_is_explained(target: str, words: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        choose("VM", target, NAMES)
    for word in words:
        assert word in str(refused.value)


def test_where_there_is_nothing_it_says_so() -> None:
    with pytest.raises(InvalidArgument, match="none yet"):
        choose("link", "r1-r2", {})
