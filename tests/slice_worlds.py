"""Wishes and worlds for tests of slices: built by hand, and by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from labkit.allocate import Allocation, Taken, allocate, empty
from labkit.observed import (
    OFF,
    PANICKED,
    PAUSED,
    Configured,
    Leftover,
    Observed,
    ObservedLink,
    ObservedMachine,
    ObservedOverlay,
    links_still_there,
    vms_still_there,
)
from labkit.plan import plan
from labkit.promise import NicSpec, Port, Promise, promise
from labkit.room import Host
from labkit.testing.simulate import simulate
from labkit.wish import Impairment, Slice

SLICE_UUID = "6f0c4d4e-3f1c-4c57-8a3f-0d4a5c5f2a11"
HOSTS = (Host("here", cores=64, memory_mb=10**6),)
NOBODY = Taken()


def two_hosts_and_a_router(name: str = "net") -> Slice:
    """h1 - r - h2, addressed and routed."""
    return (
        Slice(name)
        .with_vm("h1", addresses={"eth1": "10.0.1.2/24"}, routes=["default via 10.0.1.1"])
        .with_vm("h2", addresses={"eth1": "10.0.2.2/24"}, routes=["default via 10.0.2.1"])
        .with_vm(
            "r",
            interfaces=2,
            forwarding=True,
            addresses={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"},
        )
        .with_link("h1:eth1", "r:eth1")
        .with_link("r:eth2", "h2:eth1")
    )


def allocated(
    wish: Slice, kept: Allocation | None = None, seen: Observed | None = None
) -> Allocation:
    """What a wish is promised on one large host, after what it had and what is there."""
    kept = kept or empty(wish.name, SLICE_UUID)
    seen = seen or Observed()
    return allocate(
        wish,
        kept,
        HOSTS,
        still_there=vms_still_there(kept, seen),
        links_still_there=links_still_there(kept, seen),
    )


def promised(wish: Slice, kept: Allocation | None = None, seen: Observed | None = None) -> Promise:
    return promise(wish, allocated(wish, kept, seen))


def deployed(wish: Slice) -> Observed:
    """The world after a wish was fulfilled."""
    return simulate(plan(promised(wish), Observed()), Observed())


def observed_from_dict(value: Mapping[str, Any]) -> Observed:
    """The inverse of `dataclasses.asdict` after a journey through JSON."""
    return Observed(
        **{key: frozenset(value[key]) for key in ("stewards", "folders", "unreachable")},
        machines=tuple(_machine(one) for one in value["machines"]),
        links=tuple(_link(one) for one in value["links"]),
        overlays=tuple(ObservedOverlay(**one) for one in value["overlays"]),
        leftovers=tuple(Leftover(**one) for one in value["leftovers"]),
    )


def _machine(value: dict[str, Any]) -> ObservedMachine:
    done = value["configured"]
    marks = done and tuple((part, word) for part, word in done["marks"])
    nics = tuple(NicSpec(**nic) for nic in value["nics"])
    return ObservedMachine(
        **{**value, "nics": nics, "configured": done and Configured(done["boot_id"], marks)}
    )


def _link(value: dict[str, Any]) -> ObservedLink:
    impairments = tuple((Port(*port), Impairment(**one)) for port, one in value["impairments"])
    ports = {key: tuple(Port(*port) for port in value[key]) for key in ("ports", "connected")}
    return ObservedLink(**{**value, **ports, "impairments": impairments})


NAMES = ("a", "b", "c", "d", "e")
DELAYS = st.sampled_from([None, "5ms", "20ms"])


@st.composite
def wishes(draw: st.DrawFn, name: str = "net") -> Slice:
    """Small wishes of every kind: with disks and without, cables and switches."""
    wish = Slice(name)
    for vm in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5)):
        flavor = draw(st.sampled_from(["micro", "micro", "cirros", "ubuntu"]))
        count = draw(st.integers(0, 3))
        third = draw(st.integers(0, 3))
        addressed = draw(st.integers(0, count))
        wish = wish.with_vm(
            vm,
            flavor=flavor,
            interfaces=count,
            internet=draw(st.booleans()),
            memory_mb=draw(st.sampled_from([None, 256])),
            forwarding=draw(st.booleans()),
            addresses={
                f"eth{n}": f"10.{third}.{n}.{NAMES.index(vm) + 1}/24"
                for n in range(1, addressed + 1)
            },
            commands=draw(st.sampled_from([(), ("true",), ("echo hi",)])),
        )
    for _ in range(draw(st.integers(0, 3))):
        wish = _linked(draw, wish)
    return wish


def _linked(draw: st.DrawFn, wish: Slice) -> Slice:
    taken = {end for link in wish.links for end in link.ends}
    ends = {}
    for vm in draw(st.permutations(wish.vms)):
        free = [f"{vm.name}:eth{n}" for n in range(1, vm.interfaces + 1)]
        free = [end for end in free if end not in taken]
        if free:
            ends[vm.name] = draw(st.sampled_from(free))
    count = draw(st.integers(2, 4))
    chosen = list(ends.values())[:count]
    if len(chosen) < 2:
        return wish
    name = draw(st.sampled_from([None, "x", "y"]))
    if name in {link.name for link in wish.links}:
        name = None
    return wish.with_link(*chosen, name=name, delay=draw(DELAYS), up=draw(st.booleans()))


@st.composite
def worlds(draw: st.DrawFn, before: Slice) -> Observed:
    """What may be there after a wish was fulfilled and time went by."""
    seen = deployed(before)
    machines, links, overlays = [], [], []
    for machine in seen.machines:
        fate = draw(st.sampled_from(["well", "well", "well", *FATES]))
        if fate != "gone":
            machines.append(FATES[fate](machine) if fate != "well" else machine)
    for link in seen.links:
        fate = draw(st.sampled_from(["well", "well", "gone", "apart", "impaired"]))
        if fate == "apart":
            link = replace(link, connected=())
        if fate == "impaired":
            link = replace(link, impairments=((link.ports[0], Impairment(loss=0.5)),))
        if fate != "gone":
            links.append(link)
    for overlay in seen.overlays:
        fate = draw(st.sampled_from(["well", "well", "gone", "other", "small"]))
        if fate == "other":
            overlay = replace(overlay, image="other.img")
        if fate == "small":
            overlay = replace(overlay, size=512)
        if fate != "gone":
            overlays.append(overlay)
    served = draw(st.sampled_from([True, True, True, False]))
    left = (Leftover(host="here", name="m9", why="nobody's socket"),)
    return replace(
        seen,
        machines=tuple(machines),
        links=tuple(links) if served else (),
        overlays=tuple(overlays),
        stewards=seen.stewards if served else frozenset(),
        leftovers=left if draw(st.integers(0, 4)) == 0 else (),
    )


def _nobody(machine: ObservedMachine) -> ObservedMachine:
    return replace(machine, uuid=f"00000000-0000-0000-0000-00000000000{machine.index}")


FATES: dict[str, Any] = {
    "gone": None,
    "off": lambda machine: replace(machine, state=OFF, configured=None),
    "paused": lambda machine: replace(machine, state=PAUSED),
    "panicked": lambda machine: replace(machine, state=PANICKED),
    "odd": lambda machine: replace(machine, state="io-error"),
    "rebooted": lambda machine: replace(machine, boot_id="another"),
    "stranger": _nobody,
    "larger": lambda machine: replace(machine, memory_mb=512),
    "unplugged": lambda machine: replace(machine, nics=machine.nics[:1]),
}
