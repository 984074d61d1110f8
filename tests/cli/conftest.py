"""The command line in this process, on a lab that stays from one command to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab_command import ROUTED, Say, sayer
from labkit.cli import show
from labkit.lab import Lab

GOLDEN = Path(__file__).parent.parent / "golden" / "cli"


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_DATA_DIR", str(tmp_path / "data"))
    show.out.width = show.err.width = 100  # whatever COLUMNS was when they were made
    monkeypatch.delenv("LABKIT_PROFILE", raising=False)


@pytest.fixture
def routed(tmp_path: Path) -> str:
    """The path of a file with two hosts and a router between them."""
    path = tmp_path / "routed.yaml"
    path.write_text(ROUTED)
    return str(path)


@pytest.fixture
def sim() -> Iterator[Lab]:
    with Lab("sim") as lab:
        yield lab


@pytest.fixture
def say(sim: Lab, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs commands on a simulated lab."""
    return sayer(sim, capsys)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with a golden file; --update-golden writes it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        lines = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        if request.config.getoption("--update-golden"):
            path.write_text(lines)
        assert path.read_text() == lines

    return compare
