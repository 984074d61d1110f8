"""`labkit doctor`: what it prints, what it removes, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab_command import Say, sayer
from labkit.engines import Belonging
from memory_lab import MemoryLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MemoryLab]:
    with MemoryLab(tmp_path) as lab:
        yield lab


@pytest.fixture
def say(lab: MemoryLab, capsys: pytest.CaptureFixture[str]) -> Say:
    return sayer(lab, capsys)


ORPHAN = Belonging("h1", "run folder", "0badcafe", "0badcafe", "/run/0badcafe (running: r1)")


def test_nothing_wrong_is_0(lab: MemoryLab, say: Say) -> None:
    said = say("doctor")
    assert said.code == 0
    assert "Nothing is wrong" in said.out
    rows = json.loads(say("doctor", "--json").out)
    assert list(rows[0]) == ["host", "check", "state", "detail", "fix"]


def test_what_is_wrong_is_1_and_says_what_to_do(
    lab: MemoryLab, say: Say, golden: Callable[[str, str], None]
) -> None:
    net = lab.slice("net")
    net.add_vm("a")
    net.add_vm("b")
    net.deploy()
    lab.change("net", lambda seen: replace(seen, machines=seen.machines[:1]))
    lab.memory.lost_and_found = [ORPHAN]
    said = say("doctor")
    assert said.code == 1
    golden("doctor", said.out.replace(str(lab.store.path), "STORE"))


def test_orphans_are_removed_when_that_is_meant(lab: MemoryLab, say: Say) -> None:
    young = replace(ORPHAN, name="00c0ffee", owner="00c0ffee", young=True)
    lab.memory.lost_and_found = [ORPHAN, young]
    alone = say("doctor", "--fix")
    assert (alone.code, alone.out) == (2, "")
    assert "--yes" in alone.err
    assert "Nothing was removed." in say("doctor", "--fix", answer=False).err
    assert lab.memory.lost_and_found == [ORPHAN, young]
    said = say("doctor", "--fix", "--yes")
    assert said.code == 0
    assert "Removed run folder 0badcafe." in said.err
    assert lab.memory.lost_and_found == [young]
    assert "nothing to remove" in say("doctor", "--fix").err
