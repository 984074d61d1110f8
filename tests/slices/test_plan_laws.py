"""The laws of plans, for wishes and worlds of every kind."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from labkit.allocate import Allocation
from labkit.observed import Observed
from labkit.plan import Plan, plan
from labkit.plan.steps import (
    DeleteOverlay,
    ForgetMachine,
    MakeOverlay,
    SetLink,
    StartMachine,
    StopMachine,
)
from labkit.promise import Promise, promise
from labkit.testing.simulate import simulate
from labkit.wish import Slice
from slice_worlds import allocated, deployed, promised, two_hosts_and_a_router, wishes, worlds


@st.composite
def situations(draw: st.DrawFn) -> tuple[Promise, Observed]:
    """Something was wished and became what it became; now something is wished."""
    before = draw(wishes())
    seen = draw(worlds(before))
    return promised(draw(wishes()), allocated(before), seen), seen


def rounds(what: Promise, seen: Observed) -> list[Plan]:
    """Plan and do until nothing is to be done."""
    done = []
    while found := plan(what, seen):
        done.append(found)
        seen = simulate(found, seen)
        assert len(done) < 5
    return done


@given(situations())
def test_after_a_plan_nothing_is_left_to_plan(situation: tuple[Promise, Observed]) -> None:
    what, seen = situation
    done = rounds(what, seen)
    assert len(done) <= (2 if done and done[0].look_again else 1)


@given(situations())
def test_every_step_finds_what_it_needs_in_every_order_that_is_allowed(
    situation: tuple[Promise, Observed],
) -> None:
    what, seen = situation
    found = plan(what, seen)
    expected = simulate(found, seen)  # raises where a step lacks something
    waiting = list(range(len(found.steps)))
    order: list[int] = []
    choose = random.Random(len(waiting))
    while waiting:
        ready = [n for n in waiting if set(found.after[n]) <= set(order)]
        order.append(choose.choice(ready))
        waiting.remove(order[-1])
    shuffled = Plan(tuple(found.steps[number] for number in order))
    assert simulate(shuffled, seen) == expected


@given(situations())
def test_nothing_that_is_there_is_made_again(situation: tuple[Promise, Observed]) -> None:
    what, seen = situation
    there = {(overlay.host, overlay.name) for overlay in seen.overlays}
    alive = {machine.uuid for machine in seen.machines if machine.is_alive}
    for step in plan(what, seen).steps:
        match step:
            case DeleteOverlay():
                there.remove((step.host, step.overlay))
            case StopMachine():
                alive.remove(step.uuid)
            case MakeOverlay():
                assert (step.host, step.overlay) not in there
            case StartMachine():
                assert step.uuid not in alive


@given(situations())
def test_fault_25_no_disk_is_deleted_under_a_running_machine(
    situation: tuple[Promise, Observed],
) -> None:
    what, seen = situation
    alive = {machine.overlay for machine in seen.machines if machine.is_alive and machine.overlay}
    disks = {machine.index: machine.overlay for machine in seen.machines}
    for step in plan(what, seen).steps:
        if isinstance(step, StopMachine):
            alive.discard(disks[step.index])
        if isinstance(step, DeleteOverlay):
            assert step.overlay not in alive


@given(wishes())
def test_what_is_as_promised_is_left_alone(wish: Slice) -> None:
    assert not plan(promised(wish), deployed(wish))


@given(wishes(), st.data())
def test_only_what_differs_is_touched(wish: Slice, data: st.DataObject) -> None:
    if not wish.vms:
        return
    vm = data.draw(st.sampled_from(wish.vms))
    seen = deployed(wish)
    changed = wish.with_changed_vm(vm.name, forwarding=not vm.forwarding)
    for step in plan(promised(changed, allocated(wish), seen), seen).steps:
        if isinstance(step, SetLink):
            assert any(end.startswith(f"{vm.name}:") for end in step.link.ends)
        else:
            assert step.name == vm.name


@given(wishes(), st.data())
def test_a_changed_link_restarts_no_machine(wish: Slice, data: st.DataObject) -> None:
    if not wish.links:
        return
    link = data.draw(st.sampled_from(wish.links))
    seen = deployed(wish)
    changed = wish.with_changed_link(link.name, up=not link.up, loss="3%")
    steps = plan(promised(changed, allocated(wish), seen), seen).steps
    assert [(type(step), step.name) for step in steps] == [(SetLink, link.name)]


@given(situations())
def test_deleting_leaves_nothing(situation: tuple[Promise, Observed]) -> None:
    _, seen = situation
    for found in rounds(Promise("net"), seen):
        seen = simulate(found, seen)
    assert seen.is_nothing


@given(situations())
def test_every_step_says_why(situation: tuple[Promise, Observed]) -> None:
    what, seen = situation
    assert all(step.reason and step.name and step.host for step in plan(what, seen).steps)


@given(st.data())
def test_a_cut_at_any_step_changes_nothing_about_the_end(data: st.DataObject) -> None:
    before = data.draw(wishes())
    seen = data.draw(worlds(before))
    wish = data.draw(wishes())
    what = promised(wish, allocated(before), seen)
    found = plan(what, seen)
    cut = data.draw(st.integers(0, len(found.steps)))
    half_done = simulate(Plan(found.steps[:cut]), seen)
    end = half_done
    for again in rounds(what, half_done):
        end = simulate(again, end)
    assert not plan(what, end)
    again_allocated = _again(wish, before, seen, half_done)
    assert again_allocated.vms == _again(wish, before, seen, seen).vms


def _again(wish: Slice, before: Slice, seen: Observed, later: Observed) -> Allocation:
    return allocated(wish, allocated(wish, allocated(before), seen), later)


def test_a_restarted_machine_names_the_links_it_drops() -> None:
    wish = two_hosts_and_a_router()
    changed = wish.with_changed_vm("r", memory_mb=256)
    seen = deployed(wish)
    steps = plan(promised(changed, allocated(wish), seen), seen).steps
    stop = next(step for step in steps if isinstance(step, StopMachine))
    assert (stop.name, stop.touches) == ("r", ("h1-r", "r-h2"))
    assert stop.reason == "memory_mb 128 -> 256"


def test_fault_23_a_machine_is_ended_by_the_uuid_that_was_seen() -> None:
    seen = deployed(two_hosts_and_a_router())
    uuids = {machine.name: machine.uuid for machine in seen.machines}
    ended = [step for step in plan(Promise("net"), seen).steps if isinstance(step, StopMachine)]
    assert {step.name: step.uuid for step in ended} == uuids


def test_an_unreachable_host_is_left_alone_and_keeps_its_promises() -> None:
    wish = two_hosts_and_a_router()
    kept = allocated(wish)
    dark = Observed(unreachable=frozenset({"here"}))
    found = plan(promise(wish, kept), dark)
    assert not found
    assert found.unreachable == ("here",)
    assert allocated(wish.emptied(), kept, dark).leaving == kept.vms


def test_machines_without_their_steward_are_looked_at_before_anything_else() -> None:
    wish = two_hosts_and_a_router()
    seen = replace(deployed(wish), stewards=frozenset(), links=())
    found = plan(promised(wish), seen)
    assert [step.kind for step in found.steps] == ["start steward"]
    assert found.look_again


def test_dead_machines_are_forgotten_before_they_start_again() -> None:
    wish = two_hosts_and_a_router()
    seen = deployed(wish)
    dead = tuple(replace(m, state="off", configured=None) for m in seen.machines)
    steps = plan(promised(wish), replace(seen, machines=dead)).steps
    kinds = [type(step) for step in steps if isinstance(step, ForgetMachine | StartMachine)]
    assert kinds == [ForgetMachine] * 3 + [StartMachine] * 3


def test_a_vm_that_joins_restarts_no_other() -> None:
    wish = Slice("s").with_vm("a", flavor="cirros", addresses={"eth1": "10.0.0.1/24"})
    more = wish.with_vm("b", addresses={"eth1": "10.0.0.2/24"}).with_link("a", "b")
    seen = deployed(wish)
    steps = plan(promised(more, allocated(wish), seen), seen).steps
    assert {step.name for step in steps} == {"b", "a-b"}
