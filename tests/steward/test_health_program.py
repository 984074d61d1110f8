"""The worker program that tells what is wrong with labkit's place on a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit import remote
from labkit.local import LocalExecutor

KEY = "0badcafe"


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as folder:
        path = Path(folder, "run")
        path.mkdir(mode=0o700)
        yield path


def health(base: Path | str, *end: str) -> dict[str, Any]:
    executor = LocalExecutor({"LABKIT_RUN_DIR": str(base)})
    question = json.dumps({"end": list(end)}).encode()
    answer = executor.run("localhost", remote.program("health"), stdin=question).check()
    return dict(json.loads(answer.stdout))


def test_a_place_in_order(base: Path) -> None:
    (base / KEY).mkdir()
    (base / "not a key").mkdir()
    found = health(base)
    assert found["problem"] is None
    assert found["run_dir"] == str(base)
    assert list(found["ages"]) == [KEY]
    assert found["strays"] == []


def test_a_place_that_is_not_there_yet_is_in_order(base: Path) -> None:
    assert health(base / "later")["problem"] is None
    assert not (base / "later").exists()


def test_what_would_keep_a_slice_from_starting_is_told(base: Path) -> None:
    long = base / ("x" * 90)
    assert health(long)["problem"]["code"] == "path-too-long"
    base.chmod(0o777)
    problem = health(base)["problem"]
    assert problem["code"] == "folder-unsafe"
    assert "others may write to it" in problem["reason"]
    file = base / "file"
    file.touch()
    assert health(file)["problem"]["reason"] == "it is not a folder"


def test_the_age_of_a_folder_is_that_of_its_lock(base: Path) -> None:
    (base / KEY).mkdir()
    (base / KEY / "lock").touch()
    hour_ago = time.time() - 3600
    os.utime(base / KEY / "lock", (hour_ago, hour_ago))
    (base / KEY / "state.json").touch()
    assert 3500 < health(base)["ages"][KEY] < 3700


def started_in(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A process whose folder is removed under it."""
    folder.mkdir(parents=True)
    program = "import sys; print('here', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        (sys.executable, "-c", program, *arguments),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    folder.rmdir()
    return process


def test_processes_whose_folder_was_removed_are_found_and_ended_by_uuid(base: Path) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    machine = started_in(base / KEY / "m3", "-uuid", one)
    second = started_in(base / KEY / "m4", "-uuid", other)
    stranger = started_in(base / "elsewhere" / "m3", "-uuid", one)
    steward = started_in(base / "00c0ffee", str(base / "00c0ffee" / "steward.pyz"))
    processes = (machine, second, stranger, steward)
    try:
        found = {stray["pid"]: stray for stray in health(base)["strays"]}
        assert set(found) == {machine.pid, second.pid, steward.pid}
        assert found[machine.pid]["kind"] == "machine"
        assert found[machine.pid]["uuid"] == one
        assert found[machine.pid]["folder"] == str(base / KEY / "m3")
        assert found[steward.pid]["kind"] == "steward"

        left = {stray["pid"] for stray in health(base, one)["strays"]}
        assert left == {second.pid, steward.pid}
        assert machine.wait(10) != 0
        assert stranger.poll() is None
    finally:
        for process in processes:
            process.kill()
            process.communicate()
