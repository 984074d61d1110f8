"""Simulated machines beyond what real ones promise: time, determinism, scripted faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from engine_contract import Net, boot, mac, round_trips, transmitted, until
from labkit.errors import (
    CommandTimeout,
    ConnectionLost,
    GuestGone,
    GuestHung,
    GuestNotReady,
    GuestPanicked,
    GuestRebooted,
    GuestTimeout,
    InvalidArgument,
    LabkitError,
    MachineNotStarted,
    ProgramMissing,
    WorkerUnreachable,
)
from labkit.links import Links
from labkit.machines import Machine, Machines
from labkit.programs import qemu
from labkit.simulator.executor import SimulatedExecutor
from labkit.steward import ensure
from labkit.wish.links import Impairment
from simulated_lab import FOLDER, HOST, KEY, SimulatedLab, simulated_lab

MOMENT = 5.0  # real seconds: far more than anything simulated takes, far less than it would really


@pytest.fixture
def lab() -> Iterator[SimulatedLab]:
    with simulated_lab() as lab:
        yield lab


@pytest.fixture
def one(lab: SimulatedLab) -> Machine:
    machine = boot(lab, 1, "r1", 1)
    machine.guest.wait_ready()
    return machine


def outcome() -> list[object]:
    """What a student does, and all that is said and measured."""
    with simulated_lab() as lab:
        net = Net(lab)
        net.links.set("b", out={(2, 2): Impairment(delay_ms=3, jitter_ms=2, loss=0.2)})
        said: list[object] = []
        with net.links.capture("a", "b") as seen:
            for line in ("ping -c 9 -i 0.3 10.0.2.2", "traceroute 10.0.2.2", "uptime", "date +%N"):
                result = net.run(line)
                said += [result.text, result.seconds]
        said += [seen.pcap, net.h1.console_log(), lab.executor.clock.seconds]
        said += [net.links.frame().to_csv(), lab.kinds()]
        return said


# time


def test_the_same_script_has_the_same_outcome() -> None:
    assert outcome() == outcome()


def test_seconds_of_simulated_time_take_a_moment(one: Machine) -> None:
    began = time.monotonic()
    result = one.guest.run("sleep 3000; echo done", timeout=4000)
    assert (result.text, round(result.seconds)) == ("done\n", 3000)
    with pytest.raises(GuestTimeout):
        one.guest.run("ping 127.0.0.1", timeout=600)
    assert time.monotonic() - began < MOMENT


def test_between_requests_time_stands_still(lab: SimulatedLab, one: Machine) -> None:
    one.guest.run("ping -i 1 127.0.0.1 > /tmp/log &")
    one.guest.run("true")
    before = lab.executor.clock.seconds
    threading.Event().wait(0.3)
    assert lab.executor.clock.seconds == before
    lab.executor.clock.advance(100)
    count = int(one.guest.run("grep -c ttl= /tmp/log").text)
    assert 99 <= count <= 103


def test_with_a_pace_simulated_seconds_take_real_ones() -> None:
    with simulated_lab(SimulatedExecutor(pace=0.2)) as lab:
        machine = boot(lab, 1, "r1", 0)
        machine.guest.wait_ready()
        began = time.monotonic()
        machine.guest.run("sleep 2")
        assert time.monotonic() - began >= 0.39


def test_a_delay_is_exact_and_a_capture_shows_it(lab: SimulatedLab) -> None:
    net = Net(lab)
    net.run("ping -c 1 10.0.1.254")
    net.links.set("a", out={(1, 1): Impairment(delay_ms=25)})
    with (
        net.links.capture("a") as sent,
        net.links.capture("a", where="delivered") as delivered,
    ):
        times = round_trips(net.run("ping -c 1 10.0.1.254").text)
    first = sent.packets.time[0].value, delivered.packets.time[0].value
    assert first[1] - first[0] == pytest.approx(25_000_000, abs=2)
    assert 25 < times[0] < 26


def test_what_is_typed_on_a_terminal_takes_its_real_time(one: Machine) -> None:
    shell = one.guest.open_shell()
    began = time.monotonic()
    shell.write(b"ping -c 2 -i 0.3 127.0.0.1; echo over\n", MOMENT)
    said = b""
    while b"\r\nover" not in said:
        said += shell.read(1 << 16, MOMENT)
    assert 0.29 < time.monotonic() - began < MOMENT
    assert b"r1:/root# ping -c 2 -i 0.3 127.0.0.1; echo over\r\n" in said
    shell.write(b"exit 3\n", MOMENT)
    while shell.read(1 << 16, MOMENT):
        pass
    assert shell.status == 3


def test_an_endless_command_on_a_terminal_is_interrupted(one: Machine) -> None:
    one.type(b"yes > /dev/null\n")
    one.guest.run("true")
    one.type(b"\x03echo on\n")
    until(lambda: b"\r\non\r\n" in one.console_log(), "the next command")


# what goes wrong at once


def test_a_machine_dies(lab: SimulatedLab, one: Machine) -> None:
    lab.executor.machine(HOST, "r1").die(after=5)
    with pytest.raises(GuestGone):
        one.guest.run("sleep 60")
    assert one.state().end == "QEMU was ended by signal 9"
    assert lab.kinds()[-1] == "machine-ended"


def test_a_guest_panics_and_starts_anew(lab: SimulatedLab, one: Machine) -> None:
    lab.executor.machine(HOST, "r1").panic("out of luck", after=5)
    with pytest.raises(GuestPanicked, match="out of luck"):
        one.guest.run("sleep 60")
    one.guest.wait_ready()
    assert (one.state().boots, one.state().state) == (2, "running")


def test_a_guest_that_hangs_is_told_from_a_slow_command(lab: SimulatedLab, one: Machine) -> None:
    machine = lab.executor.machine(HOST, "r1")
    machine.hang()
    with pytest.raises(GuestHung, match="answers nothing any more"):
        one.guest.run(["true"], timeout=None)
    machine.wake()
    assert one.guest.run("echo well").text == "well\n"


def test_a_guest_restarts_by_itself(lab: SimulatedLab, one: Machine) -> None:
    lab.executor.machine(HOST, "r1").reboot(after=5)
    with pytest.raises(GuestRebooted):
        one.guest.run("sleep 60")
    one.guest.wait_ready()


def test_one_may_react_to_what_a_command_says(lab: SimulatedLab, one: Machine) -> None:
    with pytest.raises(GuestGone):
        one.guest.run(
            "echo begun; sleep 60; echo ended",
            on_output=lambda *_: lab.executor.machine(HOST, "r1").die(),
        )


def test_a_cable_breaks_and_nobody_is_told(lab: SimulatedLab) -> None:
    net = Net(lab)
    machine = lab.executor.machine(HOST, "h1")
    machine.cut("eth1")
    assert transmitted(net.run("ping -c 2 -W 1 10.0.1.254").text) == (2, 0)
    assert next(link for link in net.links.states() if link.name == "a").up
    machine.mend("eth1")
    net.run("ping -c 1 -w 9 10.0.1.254")
    assert transmitted(net.run("ping -c 2 10.0.1.254").text) == (2, 2)
    with pytest.raises(InvalidArgument, match="interface"):
        machine.cut("eth9")


def test_a_machine_that_does_not_run_has_no_handle(lab: SimulatedLab) -> None:
    with pytest.raises(InvalidArgument, match="that runs on"):
        lab.executor.machine(HOST, "r1")


def test_a_killed_steward_leaves_its_machines_and_its_files(
    lab: SimulatedLab, one: Machine
) -> None:
    pid = one.state().pid
    lab.executor.kill_steward(HOST, KEY)
    files = lab.executor.worker(HOST).files
    assert files.is_file(f"/tmp/labkit-1000/{KEY}/steward.json")
    assert files.is_file(f"/tmp/labkit-1000/{KEY}/m1/machine.json")
    with pytest.raises(ConnectionLost):
        lab.machines.list()
    assert one.state().pid == pid
    one.guest.wait_ready()
    assert one.guest.run("echo well").text == "well\n"


# what goes wrong at the start


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("never-ready", GuestNotReady, "agent has not answered yet"),
        ("boot-loop", GuestNotReady, "rebooted 5 times without getting ready"),
        ("boot-panic", GuestNotReady, "rebooted 5 times|panic"),
        ("boot-dies", LabkitError, "signal 9"),
    ],
)
def test_a_guest_does_not_start(
    lab: SimulatedLab, fault: str, error: type[Exception], said: str
) -> None:
    lab.executor.fail(HOST, fault, on="r1")
    machine = boot(lab, 1, "r1", 0)
    other = boot(lab, 2, "r2", 0)
    began = time.monotonic()
    with pytest.raises(error, match=said):
        machine.guest.wait_ready(60)
    other.guest.wait_ready(60)
    assert time.monotonic() - began < MOMENT


def test_a_guest_is_slow_once(lab: SimulatedLab) -> None:
    lab.executor.fail(HOST, "slow-boot", times=1)
    machine = boot(lab, 1, "r1", 0)
    told: list[str] = []
    seconds = machine.guest.wait_ready(120, on_wait=lambda stage, _: told.append(stage))
    assert seconds > 40
    assert told[0] == "the kernel has not said a word yet"
    machine.reboot()
    assert machine.guest.wait_ready(120) < 5


def test_without_qemu_the_message_says_how_to_get_it(lab: SimulatedLab) -> None:
    lab.executor.fail(HOST, "missing", on="qemu-system-x86_64")
    with pytest.raises(ProgramMissing, match="apt install qemu-system-x86"):
        boot(lab, 1, "r1", 0)


def test_a_kernel_that_is_not_there_is_qemus_complaint(lab: SimulatedLab) -> None:
    kernel = qemu.DirectKernel("/nowhere/vmlinux", f"{FOLDER}/initrd.cpio", "")
    with pytest.raises(MachineNotStarted, match="could not load kernel '/nowhere/vmlinux'"):
        lab.machines.start(1, lab.options(kernel=kernel))
    lab.machines.get(1).forget()


def test_a_full_disk_is_told_and_nothing_is_left(lab: SimulatedLab) -> None:
    lab.executor.worker(HOST).files.capacity = 0
    with pytest.raises(MachineNotStarted, match="No space left on device"):
        boot(lab, 1, "r1", 0)
    lab.executor.worker(HOST).files.capacity = 2**30
    boot(lab, 1, "r1", 0).guest.wait_ready()


# what goes wrong on the way


def test_a_request_is_lost_before_or_after_it_takes_effect(lab: SimulatedLab) -> None:
    machine = boot(lab, 1, "r1", 0)
    machine.guest.wait_ready()
    lab.executor.fail(HOST, "lost-before", on="steward guest-run", times=1)
    with pytest.raises(ConnectionLost):
        machine.guest.run("touch /tmp/before")
    lab.executor.fail(HOST, "lost-after", on="steward guest-run", times=1)
    with pytest.raises(ConnectionLost):
        machine.guest.run("touch /tmp/after")
    assert machine.guest.run("ls /tmp").text == "after\n"


def test_every_request_is_a_command_that_can_be_cut(lab: SimulatedLab) -> None:
    lab.executor.cut(2)
    lab.machines.list()
    with pytest.raises(ConnectionLost):
        lab.machines.list()
    assert lab.machines.list() == ()
    lines = [entry.command for entry in lab.executor.transcript]
    assert lines.count("steward machine-list") == 3
    lost = [entry for entry in lab.executor.transcript if entry.error == "connection-lost"]
    assert [entry.command for entry in lost] == ["steward machine-list"]


def test_a_worker_out_of_reach_breaks_what_runs(lab: SimulatedLab, one: Machine) -> None:
    lab.executor.fail(HOST, "unreachable")
    with pytest.raises((ConnectionLost, WorkerUnreachable)):
        one.guest.run("true")
    with pytest.raises(WorkerUnreachable):
        one.state()
    lab.executor.heal()
    assert one.state().state == "running"


def test_a_connection_breaks_in_the_middle_of_an_upload(lab: SimulatedLab, one: Machine) -> None:
    lab.steward.close()
    lab.executor.fail(HOST, "cut-transfer", on="relay", times=1, after=100_000)
    lab.steward = ensure(lab.executor, HOST, KEY)
    lab.machines = Machines(lab.steward, lab.executor)
    guest = lab.machines.get(1).guest
    with pytest.raises(ConnectionLost):
        guest.put("/tmp/data", bytes(1 << 20))
    assert guest.run("ls /tmp").text == ""


# other machines and more of them


def test_a_gateway_leads_to_itself_and_no_further(lab: SimulatedLab) -> None:
    machine = boot(
        lab, 1, "r1", 1, "dhcp eth0", internet=qemu.Internet("10.60.7.23")
    )  # fmt: skip
    lab.steward.call("link-set", link="up", ports=[[1, 0], [1, 256]])
    machine.guest.wait_ready()
    assert "inet 10.60.7.23/24" in machine.guest.run("sleep 3; ip addr show eth0").text
    assert machine.guest.run("ip route").text.startswith("default via 10.60.7.1 dev eth0")
    near = machine.guest.run("ping -c 1 10.60.7.1").text
    assert "ttl=255" in near
    far = machine.guest.run("ping -c 1 8.8.8.8")
    assert "From 10.60.7.1 icmp_seq=1 Destination Net Unreachable" in far.text
    named = machine.guest.run("ping -c 1 example.org")
    assert named.error_text == "ping: example.org: Temporary failure in name resolution\n"


def test_a_disk_image_boots_to_a_login_and_has_no_agent(lab: SimulatedLab) -> None:
    lab.executor.put(HOST, "/tmp/disk.qcow2", b"disk")
    options = lab.options("d1", kernel=None, disks=(qemu.Disk("/tmp/disk.qcow2"),))
    machine = lab.machines.start(1, options)
    with pytest.raises(GuestNotReady, match="agent has not answered"):
        machine.guest.wait_ready(20)
    assert machine.console_log().endswith(b"d1 login: ")
    machine.type(b"student\nsecret\nhostname\n")
    until(lambda: b"hostname\r\nd1\r\n" in machine.console_log(), "the answer")
    assert b"secret" not in machine.console_log()
    machine.shut_down()
    assert machine.state().end == "the guest shut down"


def test_a_card_is_plugged_in_while_it_runs(lab: SimulatedLab, one: Machine) -> None:
    address = {"type": "unix", "path": "n1"}
    one.qmp("netdev_add", type="stream", id="n1", server=True, addr=address)
    one.qmp("device_add", driver="virtio-net-pci", id="nic1", netdev="n1", mac=mac(1, 1))
    other = boot(lab, 2, "r2", 1, "address eth0 10.0.0.2/24")
    other.guest.wait_ready()
    Links(lab.steward).set("a", [(1, 1), (2, 0)])
    text = f"nic eth1 {mac(1, 1)}\naddress eth1 10.0.0.1/24\n"
    assert one.guest.run(["labkit-setup"], input=text).ok
    assert transmitted(one.guest.run("ping -c 1 10.0.0.2").text) == (1, 1)
    one.qmp("device_del", id="nic1")
    assert "eth1" not in one.guest.run("ip -br link").text


def test_a_link_light_goes_out(one: Machine) -> None:
    one.qmp("set_link", name="nic0", up=False)
    assert "NO-CARRIER" in one.guest.run("ip link show eth0").text
    one.qmp("set_link", name="nic0", up=True)
    assert "state UP" in one.guest.run("ip link show eth0").text


def test_what_a_machine_is_about_is_kept(lab: SimulatedLab) -> None:
    options = lab.options()
    lab.steward.call(
        "machine-start",
        index=1,
        name=options.name,
        uuid=options.uuid,
        argv=list(qemu.command(options)),
        about={"slice": "x"},
    )
    lab.steward.call("machine-note", index=1, notes={"a": 1, "b": 2})
    lab.steward.call("machine-note", index=1, notes={"a": None})
    (shown,) = lab.steward.call("machine-list").facts["machines"]
    assert (shown["about"], shown["notes"]) == ({"slice": "x"}, {"b": 2})
    text = lab.executor.get(HOST, f"/tmp/labkit-1000/{KEY}/m1/machine.json")
    assert json.loads(text)["about"] == {"slice": "x"}


def test_slices_and_workers_are_apart() -> None:
    executor = SimulatedExecutor()
    keys = [(HOST, "00000001"), (HOST, "00000002"), ("10.0.10.2", "00000001")]
    stewards = [ensure(executor, host, key) for host, key in keys]
    for number, steward in enumerate(stewards):
        Links(steward).set(f"l{number}", [(1, 0), (2, 0)])
    names = [[link.name for link in Links(steward).states()] for steward in stewards]
    assert names == [["l0"], ["l1"], ["l2"]]
    executor.close()


def test_a_client_waits_no_longer_than_it_wants(lab: SimulatedLab, one: Machine) -> None:
    call = lab.steward.start("console-attach", index=1)
    with pytest.raises(CommandTimeout):
        call.result(0.2)
