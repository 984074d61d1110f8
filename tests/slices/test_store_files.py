"""The store's file: broken or newer ones are told and left alone; exports go elsewhere."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.errors import (
    DuplicateError,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
)
from labkit.store import Store, default_path
from labkit.store.schema import VERSION
from slice_store import Clock, wished
from slice_worlds import two_hosts_and_a_router


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labkit.db", clock=Clock()) as opened:
        yield opened


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
