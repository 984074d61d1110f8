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


def complete(*words: str, folder: Path | None = None) -> list[str]:
    """What is offered for the last of the words."""
    environment = {
        **os.environ,
        "_LABKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("labkit", *words)),
        "COMP_CWORD": str(len(words)),
    }
    labkit = Path(sys.executable).with_name("labkit")
    answer = subprocess.run(
        [labkit], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
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


@pytest.mark.usefixtures("two_slices")
def test_a_name_in_several_slices_is_offered_with_each() -> None:
    assert complete("run", "h") == ["bgp/h1", "ospf/h1", "h2"]
    assert complete("console", "h1") == ["bgp/h1", "ospf/h1"]


@pytest.mark.usefixtures("two_slices")
def test_slices_are_offered_beside_files(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    (folder / "old").mkdir(parents=True)
    for name in ("ospf.yaml", "lab.yaml", ".hidden"):
        (folder / name).touch()
    assert complete("up", "o", folder=folder) == ["ospf", "old/", "ospf.yaml"]
    assert complete("plan", "", folder=folder) == ["bgp", "ospf", "lab.yaml", "old/", "ospf.yaml"]
    assert complete("up", "old/x", folder=folder) == ["old/x"]  # the shell looks for files itself


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.usefixtures("two_slices")
def test_bash_takes_slices_and_files(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "ospf.yaml").touch()
    ask = "COMP_WORDS=(labkit up o) COMP_CWORD=2; _labkit_completion labkit; echo ${COMPREPLY[@]}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    answer = subprocess.run(
        ["bash", "-c", f"{say('completion', 'bash').out}\n{ask}"],
        env={**os.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["ospf", "ospf.yaml"]


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
