"""Ready-made wishes: the shapes that network exercises begin with, of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from labkit import rules
from labkit.near import did_you_mean
from labkit.wish import LinkWish, Slice
from labkit.wish.links import link_wish
from labkit.wish.refusal import refuse
from labkit.wish.vms import vm_wish

# A link of a shape: the positions of the VMs that it joins.
Ends = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A shape of a slice: what it is for people, and how many VMs it may have."""

    name: str
    title: str
    about: str
    least: int
    most: int
    usual: int
    build: Callable[[int, str], Slice]


def template(name: str, count: int, slice_name: str = "template") -> Slice:
    """The wish of `count` VMs in a shape: line, ring, star, mesh, routed or lan.

    `TEMPLATES` tells more of them. The wish is for `LabSlice.set_wish`, which gives it the name of
    its slice.
    """
    if name not in TEMPLATES:
        rule = f"these are known: {', '.join(TEMPLATES)}"
        refuse("template", name, rule, did_you_mean(name, TEMPLATES, "Choose one of them."))
    shape = TEMPLATES[name]
    rules.integer(count, f"number of VMs in template {name!r}", shape.least, shape.most)
    return shape.build(count, slice_name)


def _line(count: int, slice_name: str) -> Slice:
    return _of_routers(slice_name, count, _chain(count))


def _ring(count: int, slice_name: str) -> Slice:
    return _of_routers(slice_name, count, [*_chain(count), (count - 1, 0)])


def _star(count: int, slice_name: str) -> Slice:
    return _of_routers(slice_name, count, [(0, leaf) for leaf in range(1, count)])


def _mesh(count: int, slice_name: str) -> Slice:
    pairs = [(one, two) for one in range(count) for two in range(one + 1, count)]
    return _of_routers(slice_name, count, pairs)


def _of_routers(slice_name: str, count: int, cables: Iterable[Ends]) -> Slice:
    """Routers r1 to rN: neighbours reach each other at once, routes are the exercise."""
    names = [f"r{number}" for number in range(1, count + 1)]
    settings = {name: {"forwarding": True} for name in names}
    return _wired(slice_name, settings, [tuple(names[end] for end in ends) for ends in cables])


def _routed(count: int, slice_name: str) -> Slice:
    """Two hosts with a chain of routers between them; every VM knows the way to every network."""
    names = ["h1", *(f"r{number}" for number in range(1, count - 1)), "h2"]
    settings: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        settings[name] = {"forwarding": 0 < place < count - 1}
        settings[name]["routes"] = list(_routes_in_chain(place, count))
    ends = [(names[one], names[two]) for one, two in _chain(count)]
    return _wired(slice_name, settings, ends)


def _routes_in_chain(place: int, count: int) -> Iterator[str]:
    """Network n lies between VM n - 1 and VM n; its left end has .1, its right end .2."""
    if place == 0:
        yield "default via 10.0.1.2"
        return
    if place == count - 1:
        yield f"default via 10.0.{place}.1"
        return
    for network in range(1, place):
        yield f"10.0.{network}.0/24 via 10.0.{place}.1"
    for network in range(place + 2, count):
        yield f"10.0.{network}.0/24 via 10.0.{place + 1}.2"


def _lan(count: int, slice_name: str) -> Slice:
    names = [f"h{number}" for number in range(1, count + 1)]
    return _wired(slice_name, {name: {} for name in names}, [tuple(names)], ["lan"])


def _chain(count: int) -> list[Ends]:
    return [(place, place + 1) for place in range(count - 1)]


def _wired(
    slice_name: str,
    settings: dict[str, dict[str, Any]],
    links: Sequence[tuple[str, ...]],
    names: list[str] | None = None,
) -> Slice:
    """VMs and links, with the network 10.0.n.0/24 on the n-th link."""
    addresses: dict[str, dict[str, str]] = {vm: {} for vm in settings}
    wired: list[LinkWish] = []
    for network, vms in enumerate(links, start=1):
        ends = []
        for host, vm in enumerate(vms, start=1):
            interface = f"eth{len(addresses[vm]) + 1}"
            addresses[vm][interface] = f"10.0.{network}.{host}/24"
            ends.append(f"{vm}:{interface}")
        name = names[network - 1] if names else "-".join(vms)
        wired.append(link_wish(name, tuple(ends)))
    made = (
        vm_wish(vm, interfaces=len(addresses[vm]), addresses=addresses[vm], **rest)
        for vm, rest in settings.items()
    )
    return Slice(slice_name, tuple(made), tuple(wired))


TEMPLATES = {
    shape.name: shape
    for shape in (
        Template("line", "Line", "routers in a row", 2, 50, 3, _line),
        Template("ring", "Ring", "routers in a circle", 3, 50, 4, _ring),
        Template("star", "Star", "one router in the middle, the others around it", 3, 50, 5, _star),
        Template("mesh", "Full mesh", "every router joined to every other", 3, 12, 4, _mesh),
        Template(
            "routed",
            "Two hosts and routers",
            "two hosts that reach each other through a chain of routers",
            3,
            50,
            3,
            _routed,
        ),
        Template("lan", "LAN", "hosts on one switch", 2, 50, 5, _lan),
    )
}
