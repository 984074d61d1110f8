"""Templates: every size is a valid wish in its shape, and the routed one is routed."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import spec
from labkit.errors import InvalidArgument
from labkit.templates import TEMPLATES, template
from labkit.wish import Slice, VMWish

LINKS: dict[str, Callable[[int], int]] = {
    "line": lambda n: n - 1,
    "ring": lambda n: n,
    "star": lambda n: n - 1,
    "mesh": lambda n: n * (n - 1) // 2,
    "routed": lambda n: n - 1,
    "lan": lambda n: 1,
}
BUSIEST: dict[str, Callable[[int], int]] = {
    "line": lambda n: min(2, n - 1),
    "ring": lambda n: 2,
    "star": lambda n: n - 1,
    "mesh": lambda n: n - 1,
    "routed": lambda n: 2,
    "lan": lambda n: 1,
}


@st.composite
def shaped(draw: st.DrawFn) -> tuple[str, int, Slice]:
    name = draw(st.sampled_from(sorted(TEMPLATES)))
    count = draw(st.integers(TEMPLATES[name].least, TEMPLATES[name].most))
    return name, count, template(name, count, "net")


@given(shaped())
def test_every_template_is_a_wish_of_its_size_and_shape(made: tuple[str, int, Slice]) -> None:
    name, count, wish = made
    assert wish.name == "net"
    assert len(wish.vms) == count
    assert len(wish.links) == LINKS[name](count)
    assert max(vm.interfaces for vm in wish.vms) == BUSIEST[name](count)
    assert wish.advice() == ()
    assert spec.from_yaml(spec.to_yaml(wish)) == wish


@given(shaped())
def test_every_interface_is_in_a_link_and_has_an_address(made: tuple[str, int, Slice]) -> None:
    _, _, wish = made
    ends = [end for link in wish.links for end in link.ends]
    addressed = [f"{vm.name}:{interface}" for vm in wish.vms for interface, _ in vm.addresses]
    everything = [f"{vm.name}:eth{n}" for vm in wish.vms for n in range(1, vm.interfaces + 1)]
    assert sorted(ends) == sorted(addressed) == sorted(everything)


@pytest.mark.parametrize("count", [3, 4, 9, TEMPLATES["routed"].most])
def test_any_two_vms_of_the_routed_one_reach_each_other(count: int) -> None:
    wish = template("routed", count, "net")
    for start in (wish.vms[0], wish.vms[1], wish.vms[-1]):
        for target in wish.vms:
            for _, address in target.addresses:
                assert target.name in path(wish, start, address.partition("/")[0])


def path(wish: Slice, start: VMWish, address: str) -> list[str]:
    """The way of a packet: each VM hands it to a neighbour on a link, or to its route's gateway."""
    owners = {own.partition("/")[0]: vm.name for vm in wish.vms for _, own in vm.addresses}
    neighbours = {frozenset(link.vms) for link in wish.links}
    way = [start.name]
    while way[-1] != owners[address]:
        vm = wish[way[-1]]
        assert len(way) == 1 or vm.forwarding
        assert len(way) <= len(wish.vms)
        way.append(owners[next_hop(vm, address)])
        assert frozenset(way[-2:]) in neighbours
    return way


def next_hop(vm: VMWish, address: str) -> str:
    to = ipaddress.ip_address(address)
    if any(to in ipaddress.ip_interface(own).network for _, own in vm.addresses):
        return address
    gateways = {
        ipaddress.ip_network("0.0.0.0/0" if r.destination == "default" else r.destination): r.via
        for r in vm.routes
    }
    return gateways[max((net for net in gateways if to in net), key=lambda net: net.prefixlen)]


def test_three_vms_routed() -> None:
    wish = template("routed", 3, "net")
    assert [vm.name for vm in wish.vms] == ["h1", "r1", "h2"]
    assert [vm.forwarding for vm in wish.vms] == [False, True, False]
    assert [str(route) for vm in wish.vms for route in vm.routes] == [
        "default via 10.0.1.2",
        "default via 10.0.2.1",
    ]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_size_that_does_not_fit_is_refused(name: str) -> None:
    for count in (TEMPLATES[name].least - 1, TEMPLATES[name].most + 1, True):
        with pytest.raises(InvalidArgument, match=f"template '{name}'"):
            template(name, count, "net")


def test_an_unknown_template_is_refused_and_the_known_ones_are_told() -> None:
    with pytest.raises(InvalidArgument, match="line, ring, star, mesh, routed, lan"):
        template("tree", 3, "net")
    with pytest.raises(InvalidArgument, match="Did you mean 'ring'"):
        template("rign", 3, "net")
