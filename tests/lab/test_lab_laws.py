"""Laws of labs in memory: from anything that may be there, deploy and delete arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.errors import SetupFailed
from labkit.lab import LabSlice
from labkit.lab.converging import look_back
from labkit.observed import Observed
from labkit.testing.cut import CutEngine
from memory_lab import MemoryLab, memory_folder, rows_left
from slice_worlds import two_hosts_and_a_router, wishes, worlds
from thorough import examples

pytestmark = pytest.mark.timeout(300)  # each example is a whole life of a slice
laws = settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])


def neighbour(lab: MemoryLab) -> Observed:
    """Another slice, which nothing that is done to the first may touch."""
    other = lab.slice("other")
    other.set_wish(two_hosts_and_a_router("other"))
    other.deploy()
    return lab.world("other")


def surprise(lab: MemoryLab, data: st.DataObject) -> None:
    """Let the world of the slice be another behind its back; the machines are its own."""
    net = lab.slice("net")
    drawn = data.draw(worlds(net.wish))
    uuids = {vm.name: vm.uuid for vm in net.record.allocation.vms}
    overlays = {vm.name: vm.overlay for vm in net.record.allocation.vms}

    def change(seen: Observed) -> Observed:
        real = {machine.name: machine for machine in seen.machines}
        disks = {disk.name for disk in seen.overlays}
        machines = tuple(
            replace(
                machine,
                index=real[machine.name].index,
                uuid=machine.uuid if machine.uuid.startswith("00000000") else uuids[machine.name],
                overlay=overlays[machine.name] if machine.overlay else "",
            )
            for machine in drawn.machines
            if machine.name in real
        )
        kept = {name for name in disks if data.draw(st.booleans(), label=f"disk {name}")}
        served = drawn.stewards & seen.stewards
        return replace(
            seen,
            stewards=served,
            machines=machines,
            links=tuple(one for one in drawn.links) if served else (),
            overlays=tuple(disk for disk in seen.overlays if disk.name in kept),
            leftovers=drawn.leftovers,
        )

    lab.change("net", change)


@laws
@given(st.data())
def test_from_any_state_deploy_arrives_and_delete_leaves_nothing(data: st.DataObject) -> None:
    with memory_folder() as folder, MemoryLab(folder) as lab:
        beside = neighbour(lab)
        net = lab.slice("net")
        net.set_wish(data.draw(wishes()))
        net.deploy()
        surprise(lab, data)
        net.set_wish(data.draw(wishes()))
        ahead = net.steps()
        assert net.seen is not None
        assert set(look_back(net.record, net.seen).things) == set(ahead.things)
        net.deploy()
        assert net.plan().empty
        assert set(net.states.values()) <= {"running"}
        assert lab.store.intents("net", only_open=True) == ()
        surprise(lab, data)
        net.delete()
        assert lab.memory.worlds[net.record.key].is_nothing
        assert lab.world("other") == beside
        lab.slice("other").delete()
        assert rows_left(lab.store.path) == {}


@laws
@given(st.data())
def test_a_deployment_broken_off_anywhere_goes_on(data: st.DataObject) -> None:
    def fail() -> None:
        raise SetupFailed("it was broken off")

    with memory_folder() as folder, MemoryLab(folder) as lab:
        lab.slice("net").set_wish(data.draw(wishes()))
        lab.slice("net").deploy()
        for _ in range(data.draw(st.integers(1, 3))):
            at, after = data.draw(st.integers(0, 12)), data.draw(st.booleans())
            engine = CutEngine(lab.memory, at, after=after, cut=fail)
            net = LabSlice(engine, lab.store, "net")
            net.set_wish(data.draw(wishes()))
            try:
                net.deploy()
            except SetupFailed:
                assert engine.was_cut
        net = lab.slice("net")
        net.deploy()
        assert net.plan().empty
        assert lab.store.intents("net", only_open=True) == ()
        net.delete()
        assert rows_left(lab.store.path) == {}
