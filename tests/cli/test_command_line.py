"""The command line: what it prints and the exit codes it ends with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import labkit
from labkit.cli import main, show
from labkit.cli.main import cli
from labkit.cli.show import size

PathWith = Callable[..., None]


@pytest.fixture(autouse=True)
def wide(own_places: None) -> None:
    show.out.width = show.err.width = 120


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PathWith:
    """Leaves only these programs to be found."""

    def leave(*programs: str) -> None:
        (tmp_path / "bin").mkdir()
        for program in programs:
            found = sys.executable if program == "python3" else shutil.which(program)
            (tmp_path / "bin" / program).symlink_to(Path(found or "").resolve())
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return leave


@pytest.fixture
def disk(tmp_path: Path) -> str:
    if shutil.which("qemu-img") is None:
        pytest.skip("no qemu-img: apt install qemu-utils")
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
    return str(path)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    told = capsys.readouterr().out
    assert labkit.__version__ in told
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == told


def verbs(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All there are, groups of them too."""
    for name, command in group.commands.items():
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from verbs(command, (*words, name))


@pytest.mark.parametrize("verb", list(verbs(cli)), ids=" ".join)
def test_every_verb_shows_an_example(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, "--help"]) == 0
    examples = [line for line in capsys.readouterr().out.splitlines() if "Usage:" not in line]
    assert any(f"labkit {' '.join(verb)}" in line for line in examples)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["up", "run", "capture", "doctor", "demo", "image", "worker", "version"]),
        (["--help"], ["Exit codes", "labkit up lab.yaml"]),
        (["up", "--help"], ["FILE|NAME", "--yes", "--json", "--profile", "Examples"]),
        (["capture", "--help"], ["--for", "--count", "wireshark"]),
        (["image", "--help"], ["add", "info", "list", "pull", "rm"]),
        (["worker", "check", "--help"], ["--user", "--port", "HOST"]),
    ],
)
def test_help(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    shown = "".join(capsys.readouterr())
    for word in words:
        assert word in shown


@pytest.mark.parametrize("arguments", [["nonsense"], ["image", "add"], ["demo", "--fast"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_the_simulated_demo_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--simulated"]) == 0
    shown = capsys.readouterr().out
    for words in ("Simulated", "web", "52:54:00:03:e9:00", "10.60.7.101", "web_img.qcow2", "Next"):
        assert words in shown
    for words in ("no machine runs", "2 received", "Who has 10.0.1.254?", "ICMP", "is gone"):
        assert words in " ".join(shown.split())
    assert "a disk is never overwritten" in " ".join(shown.split())
    assert "apt install" not in shown


@pytest.mark.qemu_img
def test_without_qemu_the_demo_shows_real_disks_and_says_what_to_install(
    disk: str, path_with: PathWith, capsys: pytest.CaptureFixture[str]
) -> None:
    path_with("python3", "qemu-img")
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "Real: the qemu-img" in shown
    assert "There is no QEMU" in shown
    assert "apt install qemu-system-x86" in shown
    assert "no machine runs" in shown
    assert "1.0 GiB" in shown
    (folder,) = {word for word in shown.split() if "/labkit-demo-" in word and word[-1] == "."}
    assert not Path(folder.rstrip(".")).exists()


def test_without_anything_the_demo_is_simulated_and_says_what_to_install(
    path_with: PathWith, capsys: pytest.CaptureFixture[str]
) -> None:
    path_with("python3")
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "There is no qemu-img" in shown
    assert "apt install qemu-utils" in shown
    assert "apt install qemu-system-x86" in shown


@pytest.mark.qemu_img
def test_an_image_is_added_shown_and_removed(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "list"]) == 0
    assert "(none)" in capsys.readouterr().out
    assert main(["image", "add", "tiny", disk]) == 0
    assert main(["image", "list"]) == 0
    assert "64.0 MiB" in capsys.readouterr().out
    assert main(["image", "list", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["library"]
    assert (told["name"], told["virtual_size"]) == ("tiny", 64 << 20)
    assert main(["image", "info", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["image", "info", "tiny"]) == 0
    assert "sha256" in capsys.readouterr().out
    assert main(["image", "rm", "tiny"]) == 0
    assert main(["image", "info", "tiny"]) == 2
    assert "tiny" in capsys.readouterr().err


def test_a_file_that_is_no_image_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.img").write_text("<html>not found</html>")
    assert main(["image", "add", "page", str(tmp_path / "page.img")]) == 1
    assert "page.img" in capsys.readouterr().err


def test_a_worker_that_does_not_answer_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known_hosts").touch()
    known = str(tmp_path / "known_hosts")
    assert main(["worker", "check", "127.0.0.1", "--port", "1", "--known-hosts", known]) == 1
    shown = capsys.readouterr().err
    assert "cannot connect" in shown
    assert "why" in shown


@pytest.mark.qemu_img
def test_this_machine_is_ready(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "check", "localhost", "--local"]) == 0
    assert "Ready" in capsys.readouterr().out
    assert main(["worker", "check", "localhost", "--local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ready"] is True


def test_a_worker_without_qemu_img_is_not_ready(
    path_with: PathWith, capsys: pytest.CaptureFixture[str]
) -> None:
    path_with("python3")
    assert main(["worker", "check", "localhost", "--local"]) == 1
    shown = capsys.readouterr().out
    assert "apt install qemu-utils" in shown
    assert "Not ready" in shown
    assert main(["worker", "check", "localhost", "--local", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ready"] is False


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2**30, "1.0 GiB"), (5 * 2**40, "5.0 TiB"), (None, "?")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text
