"""Completion in the shell: verbs, and names of slices, VMs and links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab_command import ROUTED, Say
from labkit import spec
from labkit.store import Store


def complete(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    environment = {
        **os.environ,
        "_LABKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("labkit", *words)),
        "COMP_CWORD": str(len(words)),
    }
    labkit = Path(sys.executable).with_name("labkit")
    answer = subprocess.run([labkit], env=environment, capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    return [line.partition(",")[2] for line in answer.stdout.splitlines() if line]


@pytest.fixture
def two_slices(own_places: None) -> None:
    """In the store of this user, as far as the test is concerned."""
    with Store() as store:
        for name in ("ospf", "bgp"):
            record = store.get_or_create(name)
            wish = spec.from_yaml(
                ROUTED if name == "ospf" else "vms: {h1: {}, edge: {}}", name=name
            )
            store.save_wish(wish, seen_version=record.version)


@pytest.mark.usefixtures("two_slices")
def test_verbs_and_names_are_offered() -> None:
    assert "capture" in complete("c")
    assert complete("ls", "") == ["bgp", "ospf"]
    assert complete("down", "o") == ["ospf"]
    assert complete("run", "") == [
        "bgp/h1",
        "edge",
        "bgp/edge",
        "ospf/h1",
        "h2",
        "ospf/h2",
        "r",
        "ospf/r",
    ]
    assert complete("console", "ospf/h") == ["ospf/h1", "ospf/h2"]
    assert complete("capture", "ri") == ["right"]
    assert complete("ls", "--profile", "s") == ["sim"]


def test_where_there_is_no_store_nothing_is_offered_and_none_is_made(tmp_path: Path) -> None:
    assert complete("ls", "") == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(say: Say, shell: str) -> None:
    said = say("completion", shell)
    assert said.code == 0
    assert "_LABKIT_COMPLETE" in said.out
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=said.out, text=True, check=True)
