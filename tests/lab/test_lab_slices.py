"""What a slice in a lab promises its user, on an engine whose world is a value in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit import templates
from labkit.errors import (
    DuplicateError,
    Interrupted,
    InvalidArgument,
    LabkitError,
    NoRoom,
    SetupFailed,
    SliceChanged,
    SliceInUse,
    TransferError,
    UnknownSlice,
    WorkerUnreachable,
)
from labkit.lab import LabSlice, tables
from labkit.observed import OFF, PAUSED, Leftover, Observed
from labkit.room import Host
from labkit.testing.cut import CutEngine
from memory_lab import MemoryLab, memory_folder, rows_left


@pytest.fixture
def lab() -> Iterator[MemoryLab]:
    with memory_folder() as folder, MemoryLab(folder) as lab:
        yield lab


def pair(lab: MemoryLab, name: str = "net") -> LabSlice:
    """Two VMs and a link."""
    net = lab.slice(name)
    net.add_vm("a", addresses={"eth1": "10.0.0.1/24"})
    net.add_vm("b", addresses={"eth1": "10.0.0.2/24"}, internet=True)
    net.link("a", "b")
    return net


# the wish


def test_what_is_wished_is_saved_at_once(lab: MemoryLab) -> None:
    net = pair(lab)
    net.change_vm("a", memory_mb=256)
    net.remove_link("a-b")
    with MemoryLab(lab.folder) as other:
        wish = other.slice("net").wish
        assert [(vm.name, vm.size.memory_mb) for vm in wish.vms] == [("a", 256), ("b", 128)]
        assert wish.links == ()
        assert len(other.world("net").machines) == 0


def test_a_wish_travels_as_text(lab: MemoryLab) -> None:
    net = pair(lab)
    copy = lab.slice("copy")
    copy.load(net.to_yaml())
    assert copy.wish.vms == net.wish.vms
    assert copy.wish.links == net.wish.links
    assert copy.wish.name == "copy"


def test_fault_15_32_bad_wishes_are_refused_and_nothing_is_changed(lab: MemoryLab) -> None:
    net = pair(lab)
    net.add_vm("c", interfaces=2)
    before = net.wish

    def refused(work: Callable[[], object], kind: type[Exception], said: str) -> None:
        with pytest.raises(kind, match=said):
            work()

    refused(lambda: net.add_vm("a"), DuplicateError, "has a VM of this name already")
    refused(lambda: net.add_vm("../x"), InvalidArgument, "name")
    refused(lambda: net.add_vm("d", flavor="no"), LabkitError, "no")
    refused(lambda: net.change_vm("d"), InvalidArgument, "has no VM 'd'")
    refused(lambda: net.remove_vm("d"), InvalidArgument, "has no VM 'd'")
    refused(lambda: net.link("c", "d"), InvalidArgument, "has no VM 'd'")
    refused(lambda: net.link("a:eth1", "c:eth1"), DuplicateError, "in link 'a-b' already")
    refused(lambda: net.link("c:eth1", "c:eth2"), DuplicateError, "join c to itself")
    refused(lambda: net.link("c:eth1", "d:eth2"), InvalidArgument, "has no VM 'd'")
    refused(lambda: net.remove_link("x"), InvalidArgument, "has no link 'x'")
    refused(lambda: net.get_vm("x"), InvalidArgument, "has no VM 'x'")
    refused(lambda: net.get_link("x"), InvalidArgument, "has no link 'x'")
    refused(lambda: net.load("vms: [1"), InvalidArgument, "it is not YAML")
    refused(lambda: net.reset("x"), InvalidArgument, "has no VM 'x'")
    refused(lambda: net.run("true", on=["x"]), InvalidArgument, "has no VM 'x'")
    refused(lambda: lab.slice("../x"), InvalidArgument, "name of a slice")
    assert net.wish == before
    assert lab.memory.worlds == {}


def test_a_slice_is_a_collection_of_its_vms(lab: MemoryLab) -> None:
    net = pair(lab)
    assert ([vm.name for vm in net], len(net), "a" in net, "x" in net) == (
        ["a", "b"],
        2,
        True,
        False,
    )
    assert "a" in repr(net)
    assert repr(net["b"]) == "<VM b: absent, micro, eth1=10.0.0.2/24>"
    net.change_vm("b", image="mine")
    assert repr(net["b"]) == "<VM b: absent, micro, image mine, eth1=10.0.0.2/24>"
    assert "image mine" in repr(net)
    assert "mine" in net["b"]._repr_mimebundle_()["text/html"]
    assert repr(lab) == "<Lab memory; slices: net>"
    assert repr(net.get_link("a-b")).endswith(": absent>")


def test_a_wish_of_another_name_is_taken_for_this_slice(lab: MemoryLab) -> None:
    first = pair(lab)
    first.deploy()
    before = first.wish
    second = lab.slice("second")
    second.set_wish(templates.template("ring", 3, first.name))
    assert (second.name, second.wish.name, len(second)) == ("second", "second", 3)
    assert lab.slice(first.name).wish == before
    second.set_wish(templates.template("line", 2))
    assert second.deploy()["state"].tolist() == ["running"] * 2
    assert first.plan().empty


def test_a_lab_has_the_tables_of_all_its_slices(lab: MemoryLab) -> None:
    tables = {"vms": "vms", "links": "links", "interfaces": "interfaces"}
    for name in tables:
        assert getattr(lab, name).empty
    lab.slice("empty")
    net = pair(lab)
    net.deploy()
    for name in tables:
        own, of_all = getattr(net, name), getattr(lab, name)
        assert list(of_all.columns) == ["slice", *own.columns]
        assert set(of_all["slice"]) == {"net"}
        pd.testing.assert_frame_equal(of_all.drop(columns="slice"), own)
    assert list(lab.vms["state"]) == ["running", "running"]


# deploying


def test_deploy_makes_it_so_and_again_is_nothing(lab: MemoryLab) -> None:
    net = pair(lab)
    shown = net.deploy()
    assert list(shown["state"]) == ["running", "running"]
    assert net.plan().empty
    prepared = len(lab.memory.prepared)
    net.deploy()
    assert len(lab.memory.prepared) == prepared
    assert dict(net.link_states) == {"a-b": "up"}
    assert rows_left(lab.store.path).keys() == {"slices", "vms", "links", "vlan_pools", "intents"}
    assert lab.store.intents("net", only_open=True) == ()


def test_the_plan_says_what_why_and_what_suffers(lab: MemoryLab) -> None:
    net = pair(lab)
    shown = net.plan()
    assert list(shown["kind"]) == [
        *("start steward", "start machine", "start machine", "set link"),
        *("configure guest", "configure guest"),
    ]
    assert lab.memory.worlds == {}
    assert lab.store.get("net").allocation.vms == ()
    net.deploy()
    net.change_vm("a", memory_mb=256)
    shown = net.plan()
    stop = shown[shown["kind"] == "stop machine"].iloc[0]
    assert (stop["action"], stop["name"]) == ("~", "a")
    assert (stop["reason"], stop["touches"]) == ("memory_mb 128 -> 256", "a-b")
    assert net.steps().things == ("VM a", "link a-b")


def test_delete_leaves_nothing_and_again_is_fine(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    net.delete()
    net.delete()
    assert all(seen.is_nothing for seen in lab.memory.worlds.values())
    assert rows_left(lab.store.path) == {}
    assert (len(net), net.vms.empty, len(lab.slices)) == (0, True, 0)
    with pytest.raises(UnknownSlice, match="there is no slice 'net'"):
        net.deploy()


def test_after_delete_the_name_is_a_new_slice(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    key = net.record.key
    net.delete()
    again = pair(lab)
    assert again is not net
    assert again.record.key != key
    again.deploy()
    assert list(again.states.values()) == ["running", "running"]
    again.delete()
    assert rows_left(lab.store.path) == {}


def test_a_slice_that_was_never_deployed_can_be_deleted(lab: MemoryLab) -> None:
    pair(lab).delete()
    assert rows_left(lab.store.path) == {}
    assert lab.memory.worlds == {}


def test_the_same_slice_after_a_dead_kernel(lab: MemoryLab) -> None:
    pair(lab).deploy()
    with MemoryLab(lab.folder) as other:
        net = other.slice("net")
        assert dict(net.states) == {"a": "running", "b": "running"}
        assert net.plan().empty
        assert net["a"].place == lab.slice("net")["a"].place


def test_a_vm_that_joins_leaves_the_others_alone(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    before = net["a"].place
    net.add_vm("c")
    net.change_vm("a", memory_mb=128, knows_others=False)
    net.change_vm("b", knows_others=False)
    assert set(net.plan()["name"]) >= {"c"}
    net.deploy()
    assert net["a"].place == before
    net.remove_vm("c")
    net.deploy()
    assert [machine.name for machine in lab.world("net").machines] == ["a", "b"]


# faults


def test_fault_1_2_3_ports_and_names_are_unique_on_a_host_and_given_back(lab: MemoryLab) -> None:
    one, two = pair(lab, "one"), pair(lab, "two")
    one.deploy()
    two.deploy()
    both = [*one.record.allocation.vms, *two.record.allocation.vms]
    assert [vm.vnc_port for vm in both] == [5901, 5902, 5903, 5904]
    assert len({vm.overlay for vm in both}) == 4
    assert both[0].overlay == f"one-{both[0].vm_id}-a"
    assert len({mac for vm in both for mac in vm.macs(3)}) == 12
    one.delete()
    three = pair(lab, "three")
    three.deploy()
    assert [vm.vnc_port for vm in three.record.allocation.vms] == [5901, 5902]


def test_fault_2_what_was_refused_takes_nothing(lab: MemoryLab) -> None:
    net = pair(lab)
    net.add_vm("big", memory_mb=10**7)
    with pytest.raises(NoRoom):
        net.deploy()
    other = pair(lab, "other")
    other.deploy()
    assert [vm.vnc_port for vm in other.record.allocation.vms] == [5901, 5902]
    net.delete()
    assert lab.slice("other").vms.shape[0] == 2


def test_fault_11_delete_says_so_when_a_host_is_out_of_reach(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    lab.memory.unreachable = frozenset({"here"})
    with pytest.raises(WorkerUnreachable, match="here cannot be reached"):
        net.delete()
    assert len(lab.store.get("net").allocation.leaving) == 2
    assert len(lab.world("net").machines) == 2
    with MemoryLab(lab.folder) as other:
        other.memory.unreachable = frozenset({"here"})
        assert len(other.slice("net")) == 0
    lab.memory.unreachable = frozenset()
    net.delete()
    assert lab.memory.worlds[net.record.key].is_nothing
    assert rows_left(lab.store.path) == {}


def test_fault_13_addresses_are_free_when_they_repeat(lab: MemoryLab) -> None:
    for number in range(3):
        net = lab.slice(f"s{number}")
        for vm in range(40):
            net.add_vm(f"v{vm}", internet=True)
        net.deploy()
    shown = pd.concat([lab.slice(f"s{number}").vms for number in range(3)])
    assert shown["internet"].is_unique
    assert shown["internet"].notna().all()


def test_fault_17_the_intent_is_there_before_the_step(lab: MemoryLab) -> None:
    open_then: list[list[str]] = []
    engine = CutEngine(
        lab.memory,
        1,
        after=False,
        cut=lambda: open_then.append(
            [intent.kind for intent in lab.store.intents("net", only_open=True)]
        ),
    )
    net = LabSlice(engine, lab.store, "net")
    net.add_vm("a")
    net.deploy()
    assert open_then == [["start machine"]]
    assert [intent.outcome for intent in lab.store.intents("net")] == ["done"] * 3


def test_fault_24_slices_share_no_number(lab: MemoryLab) -> None:
    nets = [pair(lab, f"s{number}") for number in range(20)]
    for net in nets:
        net.deploy()
    links = [net.record.allocation.links[0] for net in nets]
    assert len({link.vlan for link in links}) == len({link.link_id for link in links}) == 20
    assert 400 not in {link.vlan for link in links}
    pools = [net.record.allocation.pools[0] for net in nets]
    assert all(abs(one - other) >= 20 for one in pools for other in pools if one != other)


def test_fault_25_a_deploy_that_fails_goes_on_from_there(lab: MemoryLab) -> None:
    def fail() -> None:
        raise SetupFailed("a did not take its settings")

    pair(lab)
    engine = CutEngine(lab.memory, 5, after=False, cut=fail)
    net = LabSlice(engine, lab.store, "net")
    with pytest.raises(SetupFailed):
        net.deploy()
    assert [vm.name for vm in lab.world("net").machines] == ["a", "b"]
    failed = engine.steps[5]
    assert [(step.kind, step.name) for step in net.steps().steps] == [(failed.kind, failed.name)]
    outcomes = {(each.kind, each.name): each.outcome for each in lab.store.intents("net")}
    assert outcomes[failed.kind, failed.name].startswith("failed: a did not take")
    net.deploy()
    assert [(step.kind, step.name) for step in engine.steps[6:]] == [(failed.kind, failed.name)]
    net.delete()
    assert rows_left(lab.store.path) == {}


def test_fault_31_a_wish_that_does_not_fit_is_refused_with_the_sum(lab: MemoryLab) -> None:
    net = pair(lab)
    net.add_vm("big", memory_mb=10**7)
    for refused in (net.plan, net.deploy):
        with pytest.raises(NoRoom, match=r"need 10000448 MB of memory .* can give 1000000 MB"):
            refused()
    assert lab.memory.worlds == {}
    assert lab.store.get("net").allocation.vms == ()
    assert lab.store.intents("net") == ()
    net.remove_vm("big")
    net.deploy()


def test_a_file_that_is_not_there_is_said_before_anything_is_done(lab: MemoryLab) -> None:
    net = pair(lab)
    net.load("vms: {a: {files: {/etc/motd: {source: /nowhere/motd}}}}")
    with pytest.raises(TransferError, match="cannot read /nowhere/motd"):
        net.deploy()
    assert lab.memory.worlds == {}
    net.delete()
    assert rows_left(lab.store.path) == {}


# the world changes by itself


def test_fault_30_nothing_is_placed_on_a_host_that_is_out_of_reach(tmp_path: Path) -> None:
    hosts = (Host("far", cores=4, memory_mb=4096), Host("near", cores=4, memory_mb=4096))
    with MemoryLab(tmp_path, hosts) as lab:
        lab.memory.unreachable = frozenset({"far"})
        net = pair(lab)
        with pytest.raises(WorkerUnreachable, match="far cannot be reached"):
            net.deploy()
        assert list(net.refresh()["host"]) == ["near", "near"]
        assert dict(net.states) == {"a": "running", "b": "running"}
        lab.memory.unreachable = frozenset()
        net.deploy()
        lab.memory.unreachable = frozenset({"near"})
        net.refresh()
        assert dict(net.states) == {"a": "unknown", "b": "unknown"}


@pytest.mark.parametrize("state", [OFF, PAUSED, "panicked", "io-error"])
def test_deploy_mends_what_happened_to_machines(lab: MemoryLab, state: str) -> None:
    net = pair(lab)
    net.deploy()

    def harm(seen: Observed) -> Observed:
        first = replace(seen.machines[0], state=state)
        return replace(seen, machines=(first, *seen.machines[1:]))

    lab.change("net", harm)
    net.refresh()
    assert dict(net.states) == {"a": state, "b": "running"}
    assert set(net.plan()["name"]) <= {"a", "a-b"}
    net.deploy()
    assert dict(net.states) == {"a": "running", "b": "running"}


def test_a_host_that_lost_everything_gets_it_again(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    places = [vm.place for vm in net]
    lab.change("net", lambda _seen: Observed())
    net.refresh()
    assert dict(net.states) == {"a": "absent", "b": "absent"}
    net.deploy()
    assert dict(net.states) == {"a": "running", "b": "running"}
    assert [vm.place for vm in net] == places


def test_machines_without_their_steward_are_served_again(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    lab.change("net", lambda seen: replace(seen, stewards=frozenset(), links=()))
    assert list(net.plan()["kind"]) == ["start steward"]
    net.deploy()
    assert net.plan().empty


def test_leftovers_are_removed(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    left = (Leftover(host="here", name="m9", why="nothing accounts for it"),)
    lab.change("net", lambda seen: replace(seen, leftovers=left))
    assert list(net.plan()["kind"]) == ["remove leftover"]
    net.deploy()
    assert lab.world("net").leftovers == ()


# reset and links


def test_reset_starts_anew_what_is_named_and_keeps_the_wish_and_the_places(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    wish, places = net.wish, [vm.place for vm in net]
    done: list[tuple[str, str]] = []
    net.listen(lambda event: done.append((type(event).__name__, event.subject)))
    shown = net.reset("a")
    assert list(shown["state"]) == ["running", "running"]
    assert net.wish == wish
    assert [vm.place for vm in net] == places
    steps = [subject for kind, subject in done if kind == "StepDone"]
    assert "a" in steps
    assert "b" not in steps
    assert net.plan().empty
    net.reset()
    assert net.plan().empty


@pytest.mark.parametrize("at", range(8))
def test_a_reset_that_is_broken_off_loses_no_wish(lab: MemoryLab, at: int) -> None:
    def fail() -> None:
        raise SetupFailed("the power went")

    pair(lab).deploy()
    wish = lab.slice("net").wish
    engine = CutEngine(lab.memory, at, after=False, cut=fail)
    net = LabSlice(engine, lab.store, "net")
    with pytest.raises(SetupFailed):
        net.reset()
    assert engine.was_cut
    assert net.wish == lab.store.get("net").wish == wish
    net.deploy()
    assert dict(net.states) == {"a": "running", "b": "running"}
    assert net.plan().empty


def test_a_links_verbs_change_the_wish_and_the_living_link(lab: MemoryLab) -> None:
    net = pair(lab)
    link = net.get_link("a-b")
    link.impair(delay="5ms")  # not deployed: the wish only
    net.deploy()
    begun = len(net.events)
    link.impair(loss="1%", sends={"a:eth1": {"rate": "5Mbit"}})
    seen = lab.world("net").links[0]
    assert {texts["delay"] for _, one in seen.impairments for texts in [one.texts()]} == {"5ms"}
    assert list(net.events["detail"][begun:]) != []
    link.down()
    assert (link.state, link.wish.up) == ("down", False)
    link.up()
    link.clear()
    assert lab.world("net").links[0].impairments == ()
    assert net.plan().empty
    assert net.links["impairments"][0] == ""


def test_a_links_verbs_do_nothing_else_of_the_wish(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    net.add_vm("c")
    net.get_link("a-b").down()
    assert [vm.name for vm in lab.world("net").machines] == ["a", "b"]
    assert not lab.world("net").links[0].up
    net.deploy()
    assert [vm.name for vm in lab.world("net").machines] == ["a", "b", "c"]


# two at once


def test_two_notebooks_see_one_another(lab: MemoryLab) -> None:
    mine = pair(lab)
    with MemoryLab(lab.folder) as other:
        theirs = other.slice("net")
        theirs.add_vm("c")
        with pytest.raises(SliceChanged, match=r"changed by another process.* Get the slice again"):
            mine.add_vm("d")
        mine = lab.slice("net")  # as the message says
        mine.add_vm("d")
        assert [vm.name for vm in mine] == ["a", "b", "c", "d"]
        theirs.deploy()
        assert set(theirs.states.values()) == {"running"}


def test_two_notebooks_do_not_work_on_one_slice_but_may_look(lab: MemoryLab) -> None:
    pair(lab)
    refused: list[str] = []
    with MemoryLab(lab.folder) as other:

        def meanwhile() -> None:
            theirs = other.slice("net")
            refused.append("start machine" in set(theirs.plan()["kind"]))  # type: ignore[arg-type]
            for work in (theirs.deploy, theirs.delete, theirs.reset):
                with pytest.raises(SliceInUse, match=r"being worked on: process .* has it"):
                    work()
                refused.append(work.__name__)
            assert theirs.refresh().shape[0] == 2

        engine = CutEngine(lab.memory, 1, after=False, cut=meanwhile)
        net = LabSlice(engine, lab.store, "net")
        net.deploy()
        assert refused == [True, "deploy", "delete", "reset"]
        assert len(net) == 2


def test_a_wish_that_changes_while_it_is_deleted_is_not_deployed(lab: MemoryLab) -> None:
    pair(lab).deploy()
    with MemoryLab(lab.folder) as other:

        def meanwhile() -> None:
            other.slice("net").add_vm("late")

        engine = CutEngine(lab.memory, 1, after=False, cut=meanwhile)
        net = LabSlice(engine, lab.store, "net")
        with pytest.raises(SliceChanged):
            net.delete()
        assert "late" not in {machine.name for machine in lab.world("net").machines}
        assert [vm.name for vm in lab.store.get("net").wish.vms] == ["late"]


def test_stop_ends_work_in_another_thread_and_says_how_to_go_on(lab: MemoryLab) -> None:
    pair(lab)
    stopped: list[LabSlice] = []
    engine = CutEngine(lab.memory, 1, after=True, cut=lambda: stopped[0].cancel())
    net = LabSlice(engine, lab.store, "net")
    stopped.append(net)
    with pytest.raises(Interrupted, match="Deploy again to go on"):
        net.deploy()
    assert len(lab.world("net").machines) < 3
    assert not _working()
    net.deploy()
    assert net.plan().empty


def _working() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("labkit-step")]


# tables


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


@pytest.mark.parametrize("stage", ["new", "wished", "deployed", "deleted"])
def test_tables_have_their_columns_and_dtypes_at_any_time(lab: MemoryLab, stage: str) -> None:
    net = lab.slice("net")
    if stage != "new":
        net = pair(lab)
    if stage in ("deployed", "deleted"):
        net.deploy()
    if stage == "deleted":
        net.delete()
    for table, columns in (
        (net.vms, tables.VMS_COLUMNS),
        (net.links, tables.LINKS_COLUMNS),
        (net.interfaces, tables.INTERFACES_COLUMNS),
        (net.events, tables.EVENTS_COLUMNS),
        (lab.slices, tables.SLICES_COLUMNS),
        (net.run("true", on=[]), tables.RUNS_COLUMNS),
    ):
        assert dtypes(table) == columns


def test_tables_tell_the_wish_and_what_was_promised(lab: MemoryLab) -> None:
    net = pair(lab)
    assert list(net.vms["vm_id"].isna()) == [True, True]
    assert list(net.links["vlan"].isna()) == [True]
    net.deploy()
    assert list(net.vms["addresses"]) == ["eth1=10.0.0.1/24", "eth1=10.0.0.2/24"]
    assert list(net.vms["internet"].isna()) == [True, False]
    assert list(net.links["vlan"]) == [100]
    assert list(net.interfaces["interface"]) == ["eth0", "eth1", "eth0", "eth1"]
    assert net.interfaces["mac"].is_unique
    assert list(lab.slices.loc[0, ["name", "vms", "links", "held"]]) == ["net", 2, 1, 2]


def test_events_tell_each_step_and_its_end(lab: MemoryLab) -> None:
    net = pair(lab)
    net.deploy()
    shown = net.events
    assert shown["event"].iloc[0] == "plan made"
    assert shown["event"].iloc[-1] == "converged"
    begun = shown[shown["event"] == "step begun"]
    done = shown[shown["event"] == "step done"]
    assert sorted(begun["subject"]) == sorted(done["subject"])
    assert shown["time"].is_monotonic_increasing


def test_events_of_machines_are_heard_also_when_all_was_gone_in_between(lab: MemoryLab) -> None:
    net = lab.slice("net")
    net.add_vm("a")
    net.deploy()
    assert len(lab.memory.ears) == 1
    net.remove_vm("a")
    net.deploy()  # its steward ends with the last machine
    net.add_vm("a")
    net.deploy()  # and another one serves the next
    assert len(lab.memory.ears) == 1
    host, tell = lab.memory.ears[0]
    facts: dict[str, Any] = {"kind": "machine-rebooted", "name": "a", "reason": "guest-reset"}
    tell(facts)
    last = net.events.iloc[-1]
    assert (last["event"], last["subject"], last["host"]) == ("machine told", "a", host)
    assert "rebooted" in last["detail"]


def test_a_link_is_changed_also_when_another_process_has_deployed_it(lab: MemoryLab) -> None:
    ours = lab.slice("net")
    ours.add_vm("a")
    ours.add_vm("b")
    ours.link("a", "b")
    theirs = LabSlice(lab.memory, lab.store, "net")
    theirs.deploy()
    ours.get_link("a-b").down()
    assert theirs.refresh() is not None
    assert theirs.link_states["a-b"] == "down"
    assert len(theirs.plan()) == 0


def test_a_link_that_should_join_others_takes_changes_with_the_next_deployment(
    lab: MemoryLab,
) -> None:
    net = lab.slice("net")
    net.add_vm("a")
    net.add_vm("b")
    net.link("a", "b", name="cable")
    net.deploy()
    net.remove_link("cable")
    net.add_vm("c")
    net.link("a", "c", name="cable")
    before = net.seen
    net.get_link("cable").impair(delay="20ms")
    assert net.seen == before
    net.deploy()
    assert net.links.impairments[0] == "delay 20ms"


def test_a_listener_that_fails_stops_nothing(
    lab: MemoryLab, caplog: pytest.LogCaptureFixture
) -> None:
    net = lab.slice("net")
    net.add_vm("a")

    def fail(_event: object) -> None:
        raise RuntimeError("of a listener")

    net.listen(fail)
    net.deploy()
    assert net.states["a"] == "running"
    assert "a listener failed" in caplog.text


def test_a_link_shows_what_it_does_to_packets(lab: MemoryLab) -> None:
    net = lab.slice("net")
    net.add_vm("a")
    net.add_vm("b")
    link = net.link("a", "b")
    assert repr(link) == "<Link a-b (a:eth1 - b:eth1): absent>"
    link.impair(delay="20ms", loss="1%")
    assert repr(link) == "<Link a-b (a:eth1 - b:eth1): absent, delay 20ms, loss 1%>"
    link.clear()
    link.impair(sends={"a:eth1": {"rate": "5Mbit"}})
    assert repr(link) == "<Link a-b (a:eth1 - b:eth1): absent, a:eth1 sends: rate 5Mbit>"


def test_what_was_removed_says_so(lab: MemoryLab) -> None:
    net = lab.slice("net")
    vm = net.add_vm("a")
    net.add_vm("b")
    link = net.link("a", "b")
    with pytest.raises(LabkitError, match=r"not there|was not deployed"):
        link.counters()
    net.remove_vm("a")
    assert repr(vm) == "<VM a: removed from slice net>"
    assert repr(link) == "<Link a-b: removed from slice net>"
    for thing in (vm, link):
        with pytest.raises(InvalidArgument, match="has no"):
            _ = thing.state


def test_nothing_to_capture_is_refused(lab: MemoryLab) -> None:
    with pytest.raises(InvalidArgument, match="has none"):
        lab.slice("net").capture()


def test_a_vm_that_is_named_twice_runs_a_command_once(lab: MemoryLab) -> None:
    net = lab.slice("net")
    net.add_vm("a")
    assert len(net.run("true", on=["a", "a"])) == 1
