"""The command as people run it, on real machines: one lab for all of these tests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab_command import ROUTED
from labkit.micro import build_micro
from labkit.micro.image import images_folder
from labkit.programs.pcap import packets
from machines_lab import HAS_QEMU

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]
LABKIT = Path(sys.executable).with_name("labkit")
PATIENCE = 120.0  # seconds; a busy machine is no failure


@pytest.fixture(autouse=True)
def own_places() -> None:
    """Its own places are those of `User`."""


@dataclass(frozen=True)
class User:
    """Somebody with a store and run folders of their own, who has the micro image already."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {"LABKIT_DATA_DIR": str(self.folder / "data"), "LABKIT_RUN_DIR": str(self.runs)}
        return {**os.environ, **own, "COLUMNS": "100"}

    @property
    def runs(self) -> Path:
        return self.folder / "r"

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [LABKIT, *arguments],
            env={**self.environment, **settings.pop("environment", {})},  # type: ignore[dict-item]
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            **settings,
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [LABKIT, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def at_a_terminal(self, *arguments: str, story: list[tuple[str, str]]) -> tuple[int, str]:
        """Types each second text once the first was seen after it; exit code, and what was seen."""
        process, hand = pty.fork()
        if process == 0:
            os.execve(LABKIT, [str(LABKIT), *arguments], self.environment)
        seen, position, left = "", 0, list(story)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if left and left[0][0] in seen[position:]:
                position = len(seen)
                os.write(hand, left.pop(0)[1].encode())
            if select.select((hand,), (), (), 0.2)[0]:
                try:
                    data = os.read(hand, 1 << 16)
                except OSError:  # it has ended
                    break
                if not data:
                    break
                seen += data.decode(errors="replace")
        else:
            os.kill(process, signal.SIGKILL)
        os.close(hand)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert not left, (left, seen)
        return code, seen


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    build_micro()
    folder = Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))
    user = User(folder)
    (folder / "data").mkdir()
    (folder / "data" / "micro").symlink_to(images_folder())
    (folder / "routed.yaml").write_text(ROUTED)
    try:
        yield user
    finally:
        user.run("down", "routed", "--yes")
        left = [str(path) for path in user.runs.rglob("*")]
        shutil.rmtree(folder)
        assert left == []


@pytest.fixture(scope="module")
def lab(user: User) -> User:
    """The user, whose lab is deployed."""
    shown = user.ok("up", str(user.folder / "routed.yaml"))
    assert shown.count("running") == 3
    return user


def test_the_lab_is_there_for_every_command(lab: User) -> None:
    assert "2 packets transmitted, 2 received" in lab.ok(
        "run", "h1", "--", "ping", "-c2", "10.0.2.1"
    )
    (row,) = json.loads(lab.ok("ls", "--json"))
    assert (row["name"], row["vms"], row["running"]) == ("routed", 3, 3)
    assert "nothing to do" in lab.ok("plan", "routed")


def test_streams_status_and_input_are_those_of_the_command(lab: User) -> None:
    done = lab.run("run", "r", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    done = lab.run("run", "-i", "routed/r", "--", "cat", input="typed\nhere")
    assert (done.returncode, done.stdout) == (0, "typed\nhere")
    done = lab.run("run", "r", "--", "nonsense", "a b")
    assert done.returncode == 127
    assert "nonsense" in done.stderr
    done = lab.run("run", "--timeout", "0.5", "r", "sleep 60")
    assert done.returncode == 1
    assert "0.5" in done.stderr


def test_output_comes_while_it_is_made_and_ctrl_c_ends_it_in_the_vm(lab: User) -> None:
    process = lab.start("run", "h2", "echo first; exec sleep 4321")
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert lab.ok("run", "h2", "pgrep -f 'sleep 432[1]' || echo none") == "none\n"


def test_packets_are_kept_when_ctrl_c_ends_a_capture(lab: User) -> None:
    file = lab.folder / "left.pcap"
    process = lab.start("capture", "left", "right", "-o", str(file))
    assert process.stderr is not None
    assert "Ctrl-C" in process.stderr.readline()
    pinging = lab.start("run", "h1", "--", "ping", "-c", "5", "10.0.2.1")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    with process:  # `communicate` would not know of what was read ahead
        lines += process.stdout.readlines()
        err = process.stderr.read()
    pinging.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    count = len(lines)
    assert f"{count} packets, in {file}" in err
    assert len(packets(file.read_bytes())) == count
    assert any("ICMP" in line for line in lines)


def test_a_capture_can_be_piped(lab: User) -> None:
    process = subprocess.Popen(
        [LABKIT, "capture", "left", "--count", "2", "-q", "-o", "-"],
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    head = process.stdout.read(24)  # at once, for whoever reads on
    assert len(head) == 24
    lab.ok("run", "h1", "--", "ping", "-c", "2", "10.0.2.1")
    rest, _ = process.communicate(timeout=PATIENCE)
    assert len(packets(head + rest)) == 2


def test_a_console_and_a_shell_at_a_terminal(lab: User) -> None:
    story = [("Ctrl-]", "\n"), ("#", "echo $((6*7))\n"), ("\n42", "\x1d")]
    code, seen = lab.at_a_terminal("console", "h1", story=story)
    assert code == 0
    assert "Left h1, which runs on." in seen
    code, seen = lab.at_a_terminal("shell", "h1", story=[("#", "echo $((6*7)); exit 5\n")])
    assert code == 5
    assert "42" in seen
    assert "A shell in h1. Leave it with Ctrl-]" in seen


def test_a_person_is_asked_before_something_ends(lab: User) -> None:
    smaller = lab.folder / "smaller.yaml"
    smaller.write_text("name: routed\n" + ROUTED.replace("  right: [r:eth2, h2:eth1]\n", ""))
    code, seen = lab.at_a_terminal("up", str(smaller), story=[("[y/N]", "\n")])
    assert code == 0
    assert "Nothing was done" in seen
    code, seen = lab.at_a_terminal("down", "routed", story=[("[y/N]", "\n")])
    assert "Nothing was done" in seen
    assert "nothing to do" in lab.ok("plan", "routed")


def test_ctrl_c_while_it_is_deployed_says_how_to_go_on(lab: User) -> None:
    file = lab.folder / "again.yaml"
    file.write_text(ROUTED)
    process = lab.start("up", str(file))
    assert process.stderr is not None
    while "start machine" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "labkit up again" in err
    assert "labkit down again" in err
    assert lab.ok("up", "again").count("running") == 3
    assert lab.ok("down", "again", "--yes") == "Slice again is gone.\n"


def test_fault_17_the_doctor_finds_and_removes_what_no_slice_has(lab: User) -> None:
    """A lab whose store is gone: machines run, and no slice knows of them."""
    lost = {"LABKIT_DATA_DIR": str(lab.folder / "lost")}
    (lab.folder / "lost").mkdir()
    (lab.folder / "lost" / "micro").symlink_to(lab.folder / "data" / "micro")
    small = lab.folder / "small.yaml"
    small.write_text("vms: {only: {}}")
    assert lab.run("up", str(small), environment=lost).returncode == 0
    keys = {path.name for path in lab.runs.iterdir()}
    (ours,) = [row["key"] for row in json.loads(lab.ok("ls", "--json"))]
    (orphan,) = keys - {ours}
    (lab.folder / "lost" / "labkit.db").rename(lab.folder / "away")

    young = lab.run("doctor", "--fix", "--yes")
    assert "It is young" in young.stdout
    assert (lab.runs / orphan).exists()

    (lab.folder / "away").rename(lab.folder / "lost" / "labkit.db")
    hour_ago = time.time() - 3600
    os.utime(lab.runs / orphan / "lock", (hour_ago, hour_ago))
    elsewhere = lab.run("doctor", "--fix", "--yes")
    assert f"LABKIT_DATA_DIR={lab.folder}/lost" in "".join(elsewhere.stdout.split())
    ran = lab.run("run", "only", "--", "hostname", environment=lost)
    assert (elsewhere.returncode, ran.stdout) == (0, "only\n")

    shutil.rmtree(lab.folder / "lost")
    (lab.runs / orphan / "put here").touch()
    pid = int((lab.runs / orphan / "m0" / "pid").read_text())
    found = lab.run("doctor")
    assert found.returncode == 1
    assert "running: only" in found.stdout
    fixed = lab.run("doctor", "--fix", "--yes")
    assert (fixed.returncode, f"Removed run folder {orphan}." in fixed.stderr) == (0, True)
    assert {path.name for path in lab.runs.iterdir()} == {ours}
    assert not is_alive(pid)
    assert lab.ok("run", "h1", "--", "hostname") == "h1\n"


def test_the_doctor_tells_of_machines_that_were_killed_and_up_brings_them_back(lab: User) -> None:
    states = {
        row["name"]: row["state"] for row in json.loads(lab.ok("ls", "routed", "--json"))["vms"]
    }
    assert states == {"h1": "running", "h2": "running", "r": "running"}
    (folder,) = list(lab.runs.iterdir())
    os.kill(int((folder / "m0" / "pid").read_text()), signal.SIGKILL)
    found = lab.run("doctor")
    assert "ended: " in found.stdout
    assert lab.ok("up", "routed").count("running") == 3
    rows = json.loads(lab.ok("doctor", "--json"))
    by_check = {row["check"]: row["state"] for row in rows}
    assert by_check["QEMU"] == by_check["micro image"] == by_check["slice routed"] == "ok"


def test_the_demo_runs_for_real_and_leaves_nothing(lab: User) -> None:
    before = {path.name for path in lab.runs.iterdir()}
    shown = " ".join(lab.ok("demo").split())
    for words in ("three virtual machines", "2 received", "Who has 10.0.1.254?", "ICMP", "is gone"):
        assert words in shown
    assert {path.name for path in lab.runs.iterdir()} == before
    assert [row["name"] for row in json.loads(lab.ok("ls", "--json"))] == ["routed"]


def test_ctrl_c_in_the_demo_leaves_nothing(lab: User) -> None:
    before = {path.name for path in lab.runs.iterdir()}
    process = lab.start("demo")
    assert process.stderr is not None
    while "start machine" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert {path.name for path in lab.runs.iterdir()} == before
    assert [row["name"] for row in json.loads(lab.ok("ls", "--json"))] == ["routed"]


def is_alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
