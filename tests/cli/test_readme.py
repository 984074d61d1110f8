"""What the README shows works as it is written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import rich_click as click

import labkit
from lab_command import Say
from labkit.cli.main import cli

README = Path(__file__).parent.parent.parent / "README.md"


def block(language: str, holding: str) -> str:
    """The block of code that holds some words."""
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    (only,) = [one for one in found if holding in one]
    return str(only)


def test_the_lab_in_twelve_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_PROFILE", "sim")
    code = block("python", "Lab()")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 13
    names: dict[str, object] = {}
    exec(compile(code, README.name, "exec"), names)
    assert "3 received" in capsys.readouterr().out
    seen = names["seen"]
    packets = seen.packets  # type: ignore[attr-defined]
    assert isinstance(packets, pd.DataFrame)
    assert set(packets["protocol"]) >= {"ARP", "ICMP"}
    net = names["net"]
    assert isinstance(net, labkit.LabSlice)
    net.get_link("r-h2").down()
    net.get_link("r-h2").impair(loss="10%")
    net.delete()


def test_the_file_and_the_commands(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(block("yaml", "lab.yaml"))
    assert say("up", str(path)).code == 0
    assert "3 received" in say("run", "h1", "--", "ping", "-c", "3", "10.0.2.1").out
    assert say("down", "lab", "--yes").code == 0


def test_every_command_that_it_names_is_there() -> None:
    named = set()
    for text in re.findall(r"`labkit ([^`]+)`", README.read_text()):
        word, *others = shlex.split(text.replace("\\|", "|"))
        named.add(word)
        command = cli.commands[word]
        if isinstance(command, click.Group):
            command = command.commands[others[0]]
        options = [word for word in others if word.startswith("--") and word != "--"]
        for option in options:
            assert any(option in parameter.opts for parameter in command.params), text
    assert named <= set(cli.commands)
    assert named >= set(cli.commands) - {"demo", "version"}


def test_every_file_that_it_links_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert not [link for link in links if not (README.parent / link).exists()]
