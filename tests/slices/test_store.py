"""The store: what is saved, who may work on it, and what was about to be done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from labkit.allocate import Allocation, Taken
from labkit.errors import (
    InvalidArgument,
    SliceChanged,
    SliceInUse,
    StoreError,
    UnknownSlice,
    UsageError,
)
from labkit.store import Record, Store
from labkit.store.lease import SILENCE_SECONDS
from labkit.store.process import Process
from labkit.wish import Slice
from slice_store import Clock, decide, wished
from slice_worlds import two_hosts_and_a_router, wishes
from thorough import examples


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labkit.db", clock=Clock()) as opened:
        yield opened


def test_a_slice_is_the_same_after_everything_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "labkit.db"
    with Store(path) as first:
        before = wished(first, two_hosts_and_a_router())
    with Store(path) as second:
        assert second.get("net") == before
        assert second.names() == ("net",)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["labkit.db"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30))
@given(wishes(), wishes())
def test_every_allocation_survives(store: Store, first: Slice, second: Slice) -> None:
    for wish in (first, second):
        record = wished(store, wish)
        assert record.wish == wish
        assert store.get("net") == record
        assert {vm.name for vm in record.allocation.vms} == {vm.name for vm in wish.vms}


def test_faults_1_3_12_13_24_the_database_itself_refuses_what_is_taken(store: Store) -> None:
    held = wished(store, two_hosts_and_a_router("one")).allocation
    for field in ("vm_id", "uuid", "vnc_port", "overlay"):

        def steal(record: Record, taken: Taken, field: str = field) -> Allocation:
            mine = decide(record, taken)
            stolen = replace(mine.vms[0], **{field: getattr(held.vms[0], field)})
            return replace(mine, vms=(stolen, *mine.vms[1:]))

        other = store.get_or_create("two")
        store.save_wish(two_hosts_and_a_router("two"), seen_version=other.version)
        with store.lease("two") as lease, pytest.raises(StoreError, match="what another slice has"):
            store.reserve(lease, steal)
        assert not store.get("two").allocation.vms


def test_fault_2_what_is_deleted_is_free_again(store: Store) -> None:
    first = wished(store, two_hosts_and_a_router("one")).allocation
    wished(store, two_hosts_and_a_router("one").emptied())
    with store.lease("one") as lease:
        store.remove(lease)
    assert store.names() == ()
    second = wished(store, two_hosts_and_a_router("two")).allocation
    assert [vm.vm_id for vm in second.vms] == [vm.vm_id for vm in first.vms]
    assert [vm.vnc_port for vm in second.vms] == [vm.vnc_port for vm in first.vms]
    assert {vm.uuid for vm in second.vms}.isdisjoint(vm.uuid for vm in first.vms)


def test_a_slice_that_holds_something_is_not_forgotten(store: Store) -> None:
    wished(store, two_hosts_and_a_router())
    with store.lease("net") as lease, pytest.raises(UsageError, match="still holds VMs"):
        store.remove(lease)


def test_unknown_slices_and_bad_names_are_refused(store: Store) -> None:
    with pytest.raises(UnknownSlice, match="there are none yet"):
        store.get("net")
    store.get_or_create("net")
    with pytest.raises(UnknownSlice, match="the slices are net"):
        store.lease("ten")
    with pytest.raises(InvalidArgument):
        store.get_or_create("../x")


def test_two_notebooks_on_one_slice_do_not_undo_each_other_unseen(store: Store) -> None:
    seen = store.get_or_create("net").version
    store.save_wish(Slice("net").with_vm("a"), seen_version=seen)
    with pytest.raises(SliceChanged, match="of version 2, ours of 1"):
        store.save_wish(Slice("net").with_vm("b"), seen_version=seen)
    assert [vm.name for vm in store.get("net").wish.vms] == ["a"]


def test_two_notebooks_do_not_work_on_one_slice(store: Store, tmp_path: Path) -> None:
    store.get_or_create("net")
    with (
        Store(tmp_path / "labkit.db", clock=Clock()) as other,
        store.lease("net"),
        pytest.raises(SliceInUse, match=f"process {os.getpid()}"),
        other.lease("net"),
    ):
        pass
    with store.lease("net"):
        pass


def test_a_dead_owner_is_taken_over_at_once(store: Store) -> None:
    store.get_or_create("net")
    child = subprocess.run(
        [sys.executable, "-c", TAKE_AND_DIE, str(store.path)], capture_output=True, text=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    with store.lease("net") as lease:
        assert [intent.kind for intent in store.settle(lease)] == ["start machine"]
        assert store.intents("net", only_open=True) == ()
        assert store.intents("net")[0].outcome == "interrupted"


TAKE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from labkit.store import Store
store = Store(Path(sys.argv[1]), clock=lambda: 1000.0)
with store.lease("net") as lease:
    store.begin(lease, "start machine", "r1", "here", "it is new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_who_was_silent_for_too_long_notices_that_he_was_taken_over(tmp_path: Path) -> None:
    clock = Clock()
    with Store(tmp_path / "labkit.db", clock=clock) as store:
        store.get_or_create("net")
        with store.lease("net") as old:
            clock.now += SILENCE_SECONDS + 1
            with store.lease("net") as new:
                store.begin(new, "start machine", "r1", "here", "it is new")
                assert not old.beat()
                for attempt in (
                    lambda: store.begin(old, "stop machine", "r1", "here", "gone"),
                    lambda: store.reserve(old, decide),
                    lambda: store.remove(old),
                ):
                    with pytest.raises(SliceInUse, match="no longer ours"):
                        attempt()
            assert [intent.kind for intent in store.intents("net")] == ["start machine"]


def test_a_living_owner_who_beats_is_not_taken_over(tmp_path: Path) -> None:
    clock = Clock()
    with Store(tmp_path / "labkit.db", clock=clock) as store:
        store.get_or_create("net")
        with store.lease("net") as lease:
            clock.now += SILENCE_SECONDS - 1
            assert lease.beat()
            clock.now += SILENCE_SECONDS - 1
            with pytest.raises(SliceInUse), store.lease("net"):
                pass


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    me = Process.current()
    assert Process.parse(str(me)) == me
    assert not me.is_gone
    assert replace(me, began="1").is_gone
    assert replace(me, boot="another").is_gone
    assert replace(me, pid=2**22 + 1).is_gone
    assert not replace(me, machine="elsewhere", pid=2**22 + 1).is_gone
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert replace(me, pid=child.pid).is_gone  # a zombie
    child.wait()


def test_fault_17_25_an_intent_is_there_before_the_step_and_tells_its_end(store: Store) -> None:
    store.get_or_create("net")
    with store.lease("net") as lease:
        first = store.begin(lease, "make overlay", "r1", "here", "disk missing")
        second = store.begin(lease, "start machine", "r1", "here", "it is new")
        store.end(lease, first)
        assert [intent.id for intent in store.intents("net", only_open=True)] == [second]
        store.end(lease, second, "failed: no memory")
        assert [i.outcome for i in store.intents("net")] == ["done", "failed: no memory"]
        assert store.settle(lease, keep=1) == ()
        assert [intent.id for intent in store.intents("net")] == [second]
