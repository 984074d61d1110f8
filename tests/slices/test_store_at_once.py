"""The store under several processes at once, and under processes that are killed."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import (
    StoreBusy,
)
from labkit.store import Store
from labkit.store.database import Database
from slice_store import Clock, wished
from slice_worlds import two_hosts_and_a_router


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labkit.db", clock=Clock()) as opened:
        yield opened


# Several processes


def many_reserve(path: Path, number: int) -> None:
    with Store(path) as store:
        for _ in range(3):
            wished(store, two_hosts_and_a_router(f"net{number}").with_vm("x", internet=True))
            wished(store, two_hosts_and_a_router(f"net{number}"))


@pytest.mark.thorough
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
from slice_store import decide
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


@pytest.mark.thorough
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
