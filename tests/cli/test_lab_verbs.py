"""Labs from the command line, on the simulator: what is printed, and what is done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab_command import Say
from labkit.cli import main
from labkit.lab import Lab
from labkit.programs.pcap import packets

Golden = Callable[[str, str], None]


def test_a_lab_from_a_file_and_back(say: Say, routed: str, golden: Golden) -> None:
    golden("plan", say("plan", routed).out)
    assert say("ls").out.split() == ["Slices", "name", "vms", "running", "links", "(none)"]

    up = say("up", routed)
    assert up.code == 0
    golden("up", up.out)
    assert "Deployed in" in up.err
    golden("ls", say("ls").out)
    golden("ls_slice", say("ls", "routed").out)

    ping = say("run", "h1", "--", "ping", "-c", "1", "10.0.2.1")
    assert ping.code == 0
    assert "1 received" in ping.out

    assert "nothing to do" in say("plan", "routed").out
    assert "nothing to do" in say("up", routed).out
    down = say("down", "routed", "--yes")
    assert (down.code, down.out) == (0, "Slice routed is gone.\n")
    assert "(none)" in say("ls").out


def test_a_plan_saves_nothing_and_a_slip_makes_no_slice(say: Say, routed: str, sim: Lab) -> None:
    assert say("plan", routed).code == 0
    for verb in ("ls", "down", "up", "plan"):
        wrong = say(verb, "ruoted")
        assert wrong.code == 2
        assert "ruoted" in wrong.err
    assert sim.store.names() == ()


def test_a_plan_refuses_an_image_there_is_none_of(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "slip.yaml"
    file.write_text("vms: {h4: {image: ubunto}}\n")
    for verb in ("plan", "up"):
        said = say(verb, str(file))
        assert (said.code, said.out) == (2, "")
        assert "there is no system image 'ubunto'" in said.err


def test_a_file_that_changes_is_made_so(say: Say, routed: str, golden: Golden) -> None:
    say("up", routed)
    path = Path(routed)
    path.write_text(path.read_text().replace("  right: [r:eth2, h2:eth1]\n", ""))
    golden("plan_changed", say("plan", routed).out)
    say("up", routed, "--yes")
    rows = json.loads(say("ls", "routed", "--json").out)["links"]
    assert [row["name"] for row in rows] == ["left"]


def test_the_same_file_twice_side_by_side(say: Say, routed: str) -> None:
    say("up", routed)
    assert say("up", routed, "--name", "second").code == 0
    assert [row["name"] for row in json.loads(say("ls", "--json").out)] == ["routed", "second"]
    both = say("run", "h1", "--", "hostname")
    assert both.code == 2
    assert "routed/h1, second/h1" in both.err
    assert say("run", "second/h1", "--", "hostname").out == "h1\n"


def test_a_file_from_standard_input_and_files_beside_a_file(say: Say, tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("welcome\n")
    (tmp_path / "one.yaml").write_text("vms: {a: {files: {/etc/motd: {source: motd}}}}")
    assert say("up", str(tmp_path / "one.yaml")).code == 0
    assert say("run", "a", "--", "cat", "/etc/motd").out == "welcome\n"
    assert say("up", "-", stdin="name: piped\nvms: {b: {}}\n").code == 0
    assert say("run", "piped/b", "--", "hostname").out == "b\n"
    assert say("run", "-i", "piped/b", "--", "cat", stdin="typed\n").out == "typed\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"vms: {a: {flavour: micro}}", ["wrong.yaml, line 1", "Did you mean 'flavor'?"]),
        (b"", ["wrong.yaml is empty", "\n       links: [[h1, h2]]\n"]),
        (b"vms: {a: {}}\nlinks: {l: [a:eth1, b:eth1]}", ["no VM 'b'"]),
        (b"vms: [", ["not YAML"]),
        (b"\xff\xfe", ["UTF-8"]),
    ],
)
def test_a_wrong_file_is_explained_and_nothing_is_done(
    say: Say, tmp_path: Path, sim: Lab, content: bytes, words: list[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    said = say("up", str(path))
    assert said.code in (1, 2)
    for word in words:
        assert word in said.err
    assert sim.store.names() == ()
    piped = say("up", "-", stdin="vms: 3")
    assert "Error: standard input, line 1: vms is 3" in piped.err


def test_advice_is_given(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "vms: {a: {addresses: {eth1: 10.0.0.1/24}}, b: {addresses: {eth1: 10.9.9.2/24}}}\n"
        "links: [[a:eth1, b:eth1]]\n"
    )
    said = say("up", str(path))
    assert said.code == 0
    assert "share no network" in said.err


def test_run_passes_on_streams_arguments_and_status(say: Say, routed: str) -> None:
    say("up", routed)
    said = say("run", "h1", "--", "cat", "/nothing here")
    assert said.code == 1
    assert said.out == ""
    assert "/nothing here" in said.err
    assert say("run", "h1", "hostname").out == "h1\n"
    value = json.loads(say("run", "--json", "h1", "--", "hostname").out)
    assert value["slice"] == "routed"
    assert (value["vm"], value["returncode"], value["stdout"]) == ("h1", 0, "h1\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["run"], "VM"),
        (["run", "h1"], "CMD"),
        (["run", "h1", "--"], "no command"),
        (["run", "h1", "--json", "--", "hostname"], "go before the VM"),
        (["run", "--timeout", "0", "h1", "hostname"], "timeout"),
        (["capture", "left", "--for", "3x"], "no time such as 10s"),
        (["capture"], "LINK"),
        (["completion", "tcsh"], "bash"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(
    say: Say, routed: str, arguments: list[str], word: str
) -> None:
    say("up", routed)
    said = say(*arguments)
    assert said.code == 2
    assert word in said.err


def test_a_console_needs_a_terminal(say: Say, routed: str) -> None:
    say("up", routed)
    for verb in ("console", "shell"):
        said = say(verb, "h1")
        assert said.code == 2
        assert "labkit run" in said.err


def test_a_vm_is_turned_off_and_started_again(say: Say, routed: str, golden: Golden) -> None:
    say("up", routed)
    assert "h2 is off" in say("off", "h2").out
    golden("ls_one_off", say("ls", "routed").out)
    assert say("up", "routed").code == 0
    assert say("run", "h2", "hostname").out == "h2\n"
    assert say("reboot", "h2").out == "h2 is back.\n"
    assert say("off", "--hard", "--yes", "h1").code == 0
    assert json.loads(say("ls", "routed", "--json").out)["vms"][0]["state"] == "off"


def test_packets_are_shown_and_kept(say: Say, routed: str, tmp_path: Path, sim: Lab) -> None:
    say("up", routed)
    file = tmp_path / "x.pcap"
    with Pinging(sim):
        said = say("capture", "left", "right", "--count", "4", "-o", str(file))
        assert said.code == 0
        assert len(said.out.splitlines()) == 4
        assert "ICMP" in said.out
        assert f"4 packets, in {file}" in " ".join(said.err.split())
        assert len(packets(file.read_bytes())) == 4
        quiet = say("capture", "left", "-q", "--count", "1")
        assert quiet.out == ""
        rows = say("capture", "routed/left", "--json", "--count", "2").out.splitlines()
        assert [json.loads(row)["link"] for row in rows] == ["left", "left"]
    assert say("capture", "left", "--for", "10ms", "-o", "/nowhere/x.pcap").code == 1


class Pinging:
    """Pings that go on while something else is looked at."""

    def __init__(self, lab: Lab) -> None:
        self._vm = lab.slice("routed")["h1"]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._vm.run(["ping", "-c", "1", "10.0.2.1"])

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_the_simulated_lab_says_that_it_ends(
    routed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", routed, "--profile", "sim"]) == 0
    assert "Simulated" in capsys.readouterr().out
    assert main(["up", routed, "--profile", "moon"]) == 2
    assert "'moon'" in capsys.readouterr().err


def test_what_is_usually_not_wanted_is_done_only_when_it_is_said(say: Say, routed: str) -> None:
    say("up", routed)
    alone = say("down", "routed")
    assert (alone.code, alone.out) == (2, "")
    assert "--yes" in alone.err
    assert "End 3 VMs of slice routed" in alone.err
    refused = say("down", "routed", answer=False)
    assert (refused.code, refused.out, len(refused.questions)) == (0, "Nothing was done.\n", 1)
    assert say("run", "h1", "--", "hostname").out == "h1\n"
    kept = say("down", "routed", "--json", answer=False)
    assert json.loads(kept.out) == {"name": "routed", "gone": False}
    assert say("down", "routed", answer=True).out == "Slice routed is gone.\n"
    assert say("down", "routed").code == 2  # there is no such slice


def test_up_in_a_script_ends_nothing_unless_it_is_said(say: Say, routed: str) -> None:
    say("up", routed)
    without_right(routed)
    alone = say("up", routed)
    assert alone.code == 2
    assert "--yes" in alone.err
    assert say("run", "h2", "--", "hostname").out == "h2\n"
    shown = say("ls", "routed")
    assert "h2" in shown.out
    assert "nothing" not in shown.err
    assert say("up", routed, "--yes").code == 0
    assert say("run", "h2", "--", "hostname").code == 2


def test_what_is_half_done_is_told_in_the_list(say: Say, routed: str, sim: Lab) -> None:
    say("up", routed)
    assert say("ls", "routed").err == ""
    sim.slice("routed").add_vm("more")
    said = say("ls", "routed").err
    assert said == "1 change to deploy: labkit plan routed shows what, labkit up routed does it.\n"


def test_a_slice_that_holds_nothing_is_forgotten_without_a_question(say: Say, sim: Lab) -> None:
    sim.slice("empty")
    assert say("down", "empty").out == "Slice empty is gone.\n"


def without_right(routed: str) -> None:
    """Wish for a smaller slice."""
    path = Path(routed)
    text = path.read_text().replace("  right: [r:eth2, h2:eth1]\n", "")
    lines = [line for line in text.splitlines() if not line.strip().startswith("h2:")]
    path.write_text("\n".join(lines))


def test_up_asks_before_it_ends_a_machine_whose_steward_is_dead(
    say: Say, routed: str, sim: Lab
) -> None:
    say("up", routed)
    without_right(routed)
    sim.simulator.kill_steward("localhost")
    refused = say("up", routed, answer=False)
    assert refused.questions == ("Do this?",)
    assert "stop machine" in refused.out
    assert refused.out.endswith("Nothing was done.\n")
    assert say("run", "h2", "--", "hostname").out == "h2\n"

    sim.simulator.kill_steward("localhost")
    assert say("up", routed, answer=True).questions == ("Do this?",)
    assert [row["name"] for row in json.loads(say("ls", "routed", "--json").out)["vms"]] == [
        "h1",
        "r",
    ]


def test_a_plan_says_what_cannot_be_seen_yet(say: Say, routed: str, sim: Lab) -> None:
    say("up", routed)
    without_right(routed)
    sim.simulator.kill_steward("localhost")
    for more in ([], ["--json"]):
        said = say("plan", routed, *more)
        assert said.code == 0
        assert "start steward" in said.out
        assert "can be looked at whole only once it runs" in said.err
        assert "labkit up" in said.err
    assert "stop machine" not in say("plan", routed).out  # a plan changes nothing at all
