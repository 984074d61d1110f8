"""The simulator behind `Lab("sim")`: faults that are scripted, and what a lab makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path

import pytest

from labkit import steward
from labkit.engines import HostsEngine
from labkit.errors import (
    ConnectionLost,
    ProgramMissing,
    UnknownImage,
    UsageError,
    WorkerUnreachable,
)
from labkit.lab import Lab, LabSlice
from labkit.machines import Machines
from memory_lab import MemoryLab

HOST = "localhost"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("sim") as lab:
        yield lab


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def net(lab: Lab) -> LabSlice:
    net = lab.slice("net")
    net.add_vm("a", addresses={"eth1": "10.0.0.1/24"})
    net.add_vm("b", addresses={"eth1": "10.0.0.2/24"})
    net.link("a", "b")
    return net


def test_a_scripted_fault_breaks_a_lab_until_it_is_healed(lab: Lab, net: LabSlice) -> None:
    lab.simulator.fail(HOST, "missing", on="qemu-system-x86_64")
    with pytest.raises(ProgramMissing, match=HOST):
        net.deploy()
    lab.simulator.heal()
    net.deploy()
    assert net.states == {"a": "running", "b": "running"}


def test_stewards_are_started_and_machines_stay_as_they_are(lab: Lab, net: LabSlice) -> None:
    net.deploy()
    boot = net["a"].run("cat /proc/sys/kernel/random/boot_id").text
    for _ in range(10):  # that its connection has ended is heard sooner or later
        lab.simulator.kill_steward(HOST)
        blind = lab.preview(net.wish)
        assert (blind.look_again, blind.unreachable) == (True, ())
        lab.start_stewards("net")
        assert not lab.preview(net.wish).look_again
    assert net["a"].run("cat /proc/sys/kernel/random/boot_id").text == boot
    lab.start_stewards("net")  # where they run, nothing is done


def test_a_lab_without_a_simulator_says_so(tmp_path: Path) -> None:
    with MemoryLab(tmp_path) as lab, pytest.raises(UsageError, match="memory has no simulator"):
        _ = lab.simulator


def test_who_only_looks_starts_no_steward(lab: Lab, net: LabSlice) -> None:
    net.deploy()
    engine = lab.engine
    assert isinstance(engine, HostsEngine)
    served = engine.served(net.id, HOST)
    lab.simulator.kill_steward(HOST)
    for _ in range(2):
        with pytest.raises((ConnectionLost, WorkerUnreachable)):
            Machines(served, lab.simulator).list(revive=False)
        assert steward.find(lab.simulator, HOST, net.id.key) is None
    assert len(Machines(served, lab.simulator).list()) == 2


def test_who_listens_starts_no_steward_either(lab: Lab, net: LabSlice) -> None:
    net.deploy()
    lab.simulator.kill_steward(HOST)
    with suppress(ConnectionLost, WorkerUnreachable):  # that it has ended may not be known yet
        lab.engine.listen(net.id, HOST, lambda _facts: None)
    net.refresh()
    with pytest.raises(WorkerUnreachable, match=f"nothing can be heard of slice net on {HOST}"):
        lab.engine.listen(net.id, HOST, lambda _facts: None)
    assert steward.find(lab.simulator, HOST, net.id.key) is None
    lab.start_stewards("net")
    heard: list[str] = []
    lab.engine.listen(net.id, HOST, lambda facts: heard.append(str(facts["kind"])))
    net["a"].pause()
    assert "machine-paused" in heard


def test_what_is_simulated_is_not_measured(net: LabSlice) -> None:
    net.deploy()
    with pytest.raises(UsageError, match="it is simulated"):
        net.get_link("a-b").measure()


def test_a_capture_that_was_not_started_says_so(net: LabSlice) -> None:
    net.deploy()
    seen = net.get_link("a-b").capture()
    assert "not started" in repr(seen)
    for use in (
        lambda: seen.packets,
        lambda: seen.pcap,
        seen.stop,
        lambda: seen.assert_seen("arp"),
    ):
        with pytest.raises(UsageError, match="was not started"):
            use()


def test_a_capture_says_what_it_does_not_show(net: LabSlice) -> None:
    net.deploy()
    with net.get_link("a-b").capture() as seen:
        net["a"].run("ping -c 1 b", check=True)
        short = str(seen)
        net["a"].run("ping -c 9 b", check=True)
    assert "The last" not in short
    assert f"The last 12 of {len(seen)}; all: .packets" in str(seen)
    assert f"The last 12 of {len(seen)}" in seen._repr_mimebundle_()["text/html"]


def test_a_result_reads_like_a_terminal(net: LabSlice) -> None:
    net.deploy()
    shown = repr(net["a"].run("hostname; cat /missing"))
    assert shown.splitlines()[0].startswith("$ hostname; cat /missing  (status 1, a, ")
    assert shown.splitlines()[1:3] == ["a", "stderr:"]


@pytest.mark.parametrize("name", ["net", "another"])
def test_an_unknown_image_is_refused_when_it_is_planned(lab: Lab, net: LabSlice, name: str) -> None:
    net.deploy()
    wanted = lab.slice(name)
    wanted.add_vm("h4", image="ubunto")
    before = len(lab.simulator.transcript)
    looks: list[Callable[[], object]] = [wanted.plan, lambda: lab.preview(wanted.wish)]
    for look in (*looks, wanted.deploy):
        with pytest.raises(UnknownImage, match="there is no system image 'ubunto'") as caught:
            look()
        assert caught.value.fix == "Make it with: labkit image build ubunto --add PACKAGE"
    asked = [str(entry.command) for entry in lab.simulator.transcript[before:]]
    assert not [line for line in asked if "qemu" in line or "mkdir" in line]
    assert wanted.states["h4"] == "absent"
    assert net.states["a"] == "running"
    wanted.change_vm("h4", image="micro")
    wanted.deploy()
    assert wanted.states["h4"] == "running"


def test_an_image_with_a_slip_in_its_name_is_told_the_right_one(net: LabSlice) -> None:
    net.add_vm("h4", image="micor")
    with pytest.raises(UnknownImage) as caught:
        net.plan()
    assert caught.value.fix == "Did you mean 'micro'?"


def test_what_runs_is_planned_whether_its_image_is_still_there_or_not(
    lab: Lab, data_folder: Path
) -> None:
    own = data_folder / "micro" / "mine" / "micro.lock.json"
    own.parent.mkdir(parents=True)
    own.write_bytes(resources.files("labkit.micro").joinpath("micro.lock.json").read_bytes())
    net = lab.slice("net")
    net.add_vm("a", image="mine")
    net.deploy()
    own.unlink()
    assert net.plan().empty
    net.add_vm("b", image="mien")
    with pytest.raises(UnknownImage, match="'mien'"):
        net.plan()
