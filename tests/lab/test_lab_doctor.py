"""What the doctor finds in a lab, and what of it is put right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from labkit.engines import Belonging
from labkit.errors import UsageError
from labkit.lab import Lab, LabSlice, tables
from labkit.observed import OFF, Leftover, Observed
from memory_lab import MemoryLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MemoryLab]:
    with MemoryLab(tmp_path) as lab:
        yield lab


@pytest.fixture
def net(lab: MemoryLab) -> LabSlice:
    """A slice with two VMs, deployed."""
    net = lab.slice("net")
    net.add_vm("a")
    net.add_vm("b")
    net.deploy()
    return net


def rows(found: pd.DataFrame, check: str) -> list[tuple[str, str, str]]:
    """State, detail and fix of the rows of one check."""
    chosen = found[found["check"] == check]
    return list(chosen[["state", "detail", "fix"]].itertuples(index=False, name=None))


def test_a_lab_in_order_has_nothing_bad(lab: MemoryLab, net: LabSlice) -> None:
    found = lab.doctor()
    assert dict(found.dtypes.astype(str)) == tables.DOCTOR_COLUMNS
    assert set(found["state"]) == {"ok"}
    assert rows(found, "slice net") == [("ok", "2 of 2 VMs run", "")]
    ((_, detail, _),) = rows(found, "store")
    assert detail == f"{lab.store.path}, 1 slice"


def test_one_is_not_told_as_many(lab: MemoryLab) -> None:
    lab.slice("net").add_vm("a")
    assert repr(lab.slice("net")).startswith("slice net: 1 VM (1 absent), 0 links")
    lab.slice("net").deploy()
    assert rows(lab.doctor(), "slice net") == [("ok", "1 of 1 VM runs", "")]


def test_what_was_promised_and_is_lost_is_bad(lab: MemoryLab, net: LabSlice) -> None:
    lab.change("net", lambda seen: replace(seen, machines=seen.machines[:1], links=()))
    ((state, detail, fix),) = rows(lab.doctor(), "slice net")
    assert (state, detail) == ("bad", "promised and not there: b")
    assert "labkit up net" in fix
    assert "labkit down net" in fix


def test_what_has_ended_is_to_note(lab: MemoryLab, net: LabSlice) -> None:
    def end(seen: Observed) -> Observed:
        first, *others = seen.machines
        return replace(seen, machines=(replace(first, state=OFF), *others))

    lab.change("net", end)
    ((state, detail, _),) = rows(lab.doctor(), "slice net")
    assert (state, detail) == ("note", "ended: a")


def test_a_dead_steward_and_strange_files_are_to_note(lab: MemoryLab, net: LabSlice) -> None:
    host = net["a"].place.host
    leftover = Leftover(host=host, name="junk", why="nothing accounts for it")
    lab.change("net", lambda seen: replace(seen, stewards=frozenset(), leftovers=(leftover,)))
    details = [detail for state, detail, _ in rows(lab.doctor(), "slice net") if state == "note"]
    assert details == [
        "its steward has ended, its machines live on",
        "strange files in its run folder: junk",
    ]


def test_fault_30_a_host_out_of_reach_is_said_so_and_nothing_is_invented(
    lab: MemoryLab, net: LabSlice
) -> None:
    lab.memory.unreachable = frozenset({net["a"].place.host})
    ((state, detail, _),) = rows(lab.doctor(), "slice net")
    assert (state, detail) == ("bad", "the host cannot be reached")


def test_fault_25_work_that_was_interrupted_is_told(lab: MemoryLab, net: LabSlice) -> None:
    with lab.store.lease("net") as lease:
        lab.store.begin(lease, "start machine", "a", "here", "it is new")
    ((state, detail, fix),) = rows(lab.doctor(), "slice net")[1:]
    assert state == "note"
    assert "1 step was begun and not ended, or goes on" in detail
    assert "labkit up net" in fix


def belonging(owner: str, **changes: object) -> Belonging:
    return replace(
        Belonging("h", "run folder", owner, owner, "/run/x (running: r1)"),
        **changes,  # type: ignore[arg-type]
    )


def test_fault_17_orphans_are_told_and_removed_and_nothing_of_a_slice_is(
    lab: MemoryLab, net: LabSlice
) -> None:
    ours = [belonging(net.record.key), belonging(net.record.allocation.uuid, kind="disk")]
    orphan, stray = belonging("0badcafe"), belonging("", kind="machine", name="some-uuid")
    lab.memory.lost_and_found = [*ours, orphan, stray]
    found = rows(lab.doctor(), "orphan")
    assert [state for state, _, _ in found] == ["bad", "bad"]
    assert "run folder of no slice: /run/x (running: r1)" in found[0][1]
    assert "labkit doctor --fix" in found[0][2]
    assert lab.orphans() == (orphan, stray)
    for one in lab.orphans():
        lab.remove_orphan(one)
    assert lab.memory.lost_and_found == ours
    assert rows(lab.doctor(), "orphan") == []


def test_what_is_of_another_store_is_left_to_it(lab: MemoryLab, tmp_path: Path) -> None:
    other = tmp_path / "other" / "labkit.db"
    stranger = belonging("0badcafe", stores=(str(tmp_path / "gone.db"), str(other)))
    lab.memory.lost_and_found = [stranger]
    assert lab.orphans() == (stranger,)  # a store that is gone has nobody to ask
    ((state, detail, fix),) = rows(lab.doctor(), "orphan")
    assert state == "bad"
    assert f"its slice was in {tmp_path}/gone.db and {other}" in detail
    assert fix == "Remove it: labkit doctor --fix"

    other.parent.mkdir()
    other.touch()
    assert lab.orphans() == ()
    assert rows(lab.doctor(), "orphan") == []
    ((state, detail, fix),) = rows(lab.doctor(), "other store")
    assert state == "note"
    assert f"run folder of a slice in {tmp_path}/gone.db and {other}: /run/x" in detail
    assert f"LABKIT_DATA_DIR={other.parent} labkit ls" in fix
    with pytest.raises(UsageError, match="it is of a slice in"):
        lab.remove_orphan(stranger)
    assert lab.memory.lost_and_found == [stranger]

    hidden = belonging("0badcafe", stores=(f"{other.parent}/{'x' * 300}.db",))
    lab.memory.lost_and_found = [hidden]  # a place that cannot be looked at
    assert lab.orphans() == ()

    own = belonging("0badcafe", stores=(str(lab.store.path),))
    lab.memory.lost_and_found = [own]
    assert lab.orphans() == (own,)


def test_what_a_slice_has_or_may_get_is_never_removed(lab: MemoryLab, net: LabSlice) -> None:
    ours = belonging(net.record.key)
    young = belonging("0badcafe", young=True)
    lab.memory.lost_and_found = [ours, young]
    ((state, _, fix),) = rows(lab.doctor(), "orphan")
    assert state == "note"
    assert "young" in fix
    for one in (ours, young):
        with pytest.raises(UsageError, match="is not removed"):
            lab.remove_orphan(one)
    assert lab.memory.lost_and_found == [ours, young]


def test_the_simulated_lab_can_be_examined() -> None:
    with Lab("sim") as lab:
        net = lab.slice("net")
        net.add_vm("a")
        found = lab.doctor()
        net.deploy()
        net["a"].power_off()
        ((state, detail, fix),) = rows(lab.doctor(), "slice net")
    assert (state, detail) == ("note", "ended: a")
    assert fix == "Go on with it: its .deploy(); or forget it: its .delete()"  # no command knows it
    assert set(found["state"]) == {"ok"}
    assert rows(found, "slice net") == [("ok", "nothing of it is deployed", "")]
