"""The store: nothing lost, nothing given twice, several processes at once, never overwritten."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from slice_worlds import HOSTS, two_hosts_and_a_router, wishes

from labkit.allocate import Allocation, Taken, allocate
from labkit.errors import (
    DuplicateError,
    InvalidArgument,
    SliceChanged,
    SliceInUse,
    StoreBusy,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
    UnknownSlice,
    UsageError,
)
from labkit.store import Record, Store, default_path
from labkit.store.database import Database
from labkit.store.lease import SILENCE_SECONDS
from labkit.store.process import Process
from labkit.store.schema import VERSION
from labkit.wish import Slice


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labkit.db", clock=Clock()) as opened:
        yield opened


def decide(record: Record, taken: Taken) -> Allocation:
    return allocate(record.wish, record.allocation, HOSTS, taken)


def wished(store: Store, wish: Slice) -> Record:
    """Save and reserve, as `deploy` does before it touches anything."""
    before = store.get_or_create(wish.name)
    store.save_wish(wish, seen_version=before.version)
    with store.lease(wish.name) as lease:
        return store.reserve(lease, decide)


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
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
    ):
        other.lease("net")
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
            with pytest.raises(SliceInUse):
                store.lease("net")


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


# Several processes


def many_reserve(path: Path, number: int) -> None:
    with Store(path) as store:
        for _ in range(3):
            wished(store, two_hosts_and_a_router(f"net{number}").with_vm("x", internet=True))
            wished(store, two_hosts_and_a_router(f"net{number}"))


def test_fault_21_processes_that_reserve_at_once_share_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "labkit.db"
    workers = [context.Process(target=many_reserve, args=(path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with Store(path) as store:
        assert len(store.names()) == 4
        assert len(store.taken().vm_ids) == 12
        assert len(store.taken().vnc_ports) == 12
        assert len(store.taken().pools) == 4


def test_fault_21_threads_share_one_store(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = [f"net{number}" for number in range(8)]
        list(pool.map(lambda name: wished(store, two_hosts_and_a_router(name)), names))
    assert len(store.taken().vm_ids) == 24


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_uses_the_store_without_harming_its_parent(store: Store) -> None:
    wished(store, two_hosts_and_a_router("one"))
    child = os.fork()
    if child == 0:
        try:
            wished(store, two_hosts_and_a_router("two"))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.names() == ("one", "two")


def test_several_may_make_the_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "labkit.db"
    barrier = threading.Barrier(6)

    def make(number: int) -> None:
        barrier.wait()
        with Store(path) as store:
            store.get_or_create(f"net{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))
    with Store(path) as store:
        assert len(store.names()) == 6


def test_a_store_that_others_hold_is_an_error_not_a_hang(tmp_path: Path) -> None:
    path = tmp_path / "labkit.db"
    Store(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    database = Database(path, busy_seconds=0.05)
    with pytest.raises(StoreBusy, match="nothing was written"), database.writing():
        pass
    holder.close()
    database.close()


# Crashes

CUTS = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from slice_worlds import two_hosts_and_a_router
from test_store import decide
from labkit.store import Store

def deploy(path):
    store = Store(path)
    record = store.get_or_create("net")
    if not record.wish.vms:
        record = store.save_wish(two_hosts_and_a_router(), seen_version=record.version)
    with store.lease("net") as lease:
        store.settle(lease)
        store.reserve(lease, decide)
        for vm in ("h1", "h2"):
            number = store.begin(lease, "start machine", vm, "here", "it is new")
            store.end(lease, number)
    store.close()

def cut_off(path, cut):
    # Runs deploy in a child that is killed before the statement that `cut` counts to.
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [cut]
    def count(connection, cursor=None, statement="COMMIT", *_):
        left[0] -= sys.argv[2] == "statements" or statement.startswith(("BEGIN", "COMMIT"))
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", lambda connection: count(connection))
    deploy(path)
    os._exit(0)

cut = 0
while cut_off(Path(sys.argv[1]) / str(cut) / "labkit.db", cut) == -signal.SIGKILL:
    deploy(Path(sys.argv[1]) / str(cut) / "labkit.db")
    cut += 1
"""


@pytest.mark.parametrize(
    ("counted", "least"),
    [("transactions", 15), pytest.param("statements", 50, marks=pytest.mark.slow)],
)
def test_fault_29_17_a_kill_anywhere_loses_nothing(
    tmp_path: Path, counted: str, least: int
) -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", CUTS, str(tmp_path), counted],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    allocations = set()
    cuts = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    for folder in cuts:
        with Store(folder / "labkit.db") as store:
            found = store.get("net")
            assert not store.intents("net", only_open=True)
            assert found.wish == two_hosts_and_a_router()
        allocations.add(tuple((vm.name, vm.vm_id, vm.vnc_port) for vm in found.allocation.vms))
    assert len(cuts) > least
    assert len(allocations) == 1


# Broken files


def harm_cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def harm_empty(path: Path) -> None:
    os.truncate(path, 0)


def harm_text(path: Path) -> None:
    path.write_text("these are my notes\n" * 20)


def harm_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


def harm_other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()


@pytest.mark.parametrize("harm", [harm_cut, harm_empty, harm_text, harm_middle, harm_other])
def test_fault_29_a_broken_store_is_told_and_left_as_it_is(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path = tmp_path / "labkit.db"
    with Store(path) as store:
        wished(store, two_hosts_and_a_router())
    harm(path)
    before = path.read_bytes()
    with pytest.raises(StoreUnreadable) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert "leaves it as it is" in caught.value.fix
    assert path.read_bytes() == before


def test_fault_29_a_log_without_its_database_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "labkit.db"
    (tmp_path / "labkit.db-wal").write_bytes(b"something")
    with pytest.raises(StoreUnreadable, match="its log of the last changes is still there"):
        Store(path)
    assert not path.exists()


def test_fault_29_a_newer_store_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "labkit.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreTooNew, match="another LABKIT_DATA_DIR"):
        Store(path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="LABKIT_DATA_DIR"):
        Store(tmp_path / "file" / "labkit.db")


# Export


def test_an_export_makes_the_same_store_elsewhere(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        wished(store, two_hosts_and_a_router(name).with_vm("srv", flavor="cirros", internet=True))
    exported = json.loads(json.dumps(store.export()))
    with Store(tmp_path / "other.db") as other:
        assert other.import_from(exported) == ("one", "two")
        for name in ("one", "two"):
            old, new = store.get(name), other.get(name)
            assert (new.wish, new.allocation, new.key) == (old.wish, old.allocation, old.key)
        with pytest.raises(DuplicateError, match="nothing was imported"):
            other.import_from(exported)


def test_a_bad_export_imports_nothing(store: Store) -> None:
    good = store.export()
    for bad in (None, {}, {**good, "slices": [{}]}, {**good, "slices": [{"wish": {"name": "-"}}]}):
        with pytest.raises(StoreUnreadable):
            store.import_from(bad)
    with pytest.raises(StoreTooNew):
        store.import_from({**good, "version": VERSION + 1})
    assert store.names() == ()


def test_the_store_lies_where_the_data_directory_is() -> None:
    code = "from labkit.store import default_path; print(default_path())"
    environment = {**os.environ, "LABKIT_DATA_DIR": "/somewhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "/somewhere/labkit.db"
    assert default_path().name == "labkit.db"
