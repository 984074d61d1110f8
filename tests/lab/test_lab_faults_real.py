"""The known faults of the design labkit started from, looked for in labs of real machines."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import (
    DuplicateError,
    GuestGone,
    GuestPanicked,
    InvalidArgument,
    LabkitError,
    MachineDied,
    NoRoom,
    SetupFailed,
    SliceInUse,
)
from labkit.lab import LabSlice
from labkit.testing.cut import CutEngine, press_ctrl_c
from labkit.testing.processes import eventually, interrupt_when
from real_lab import (
    IN_REACH,
    RealLab,
    again,
    kill,
    pings,
    processes_in,
    real_lab,
    sockets_in,
    well,
)

pytestmark = IN_REACH


@pytest.fixture(scope="module")
def lab() -> Iterator[RealLab]:
    with real_lab() as lab:
        lab.pair().deploy()
        yield lab


@pytest.fixture
def net(lab: RealLab) -> LabSlice:
    """The module's slice, in order again whatever the last test did to it."""
    net = lab.slice("net")
    net.deploy()
    return net


def test_what_is_deployed_works_and_is_found_by_another_process(
    lab: RealLab, net: LabSlice
) -> None:
    well(net)
    shown = net.run("hostname")
    assert list(shown["stdout"]) == ["a\n", "b\n"]
    assert shown["error"].isna().all()

    def look(other: RealLab) -> None:
        found = other.slice("net")
        well(found)
        assert found["a"].machine.state().pid == lab.pid(net, "a")

    again(lab, look)


def test_fault_14_record_and_guest_agree_about_addresses(net: LabSlice) -> None:
    address = net.vms.set_index("name").loc["b", "internet"]
    assert address == net["b"].place.address
    assert f"inet {address}/24" in net["b"].run("ip -4 addr show eth0", check=True).text
    for vm in net:
        rows = net.interfaces[net.interfaces["vm"] == vm.name]
        for _, row in rows.iterrows():
            shown = vm.run(f"ip addr show {row['interface']}", check=True).text
            assert row["mac"] in shown
            for one in row["addresses"].split():
                assert f"inet {one}" in shown


def test_fault_26_a_machine_without_a_network_has_none(lab: RealLab, net: LabSlice) -> None:
    words = Path(f"/proc/{lab.pid(net, 'a')}/cmdline").read_bytes().split(b"\0")
    assert words[words.index(b"-nic") + 1] == b"none" or b"-nodefaults" in words
    assert not [word for word in words if word.startswith(b"user,")]
    assert not net["a"].run("ping -c1 -W1 10.60.7.1").ok
    assert net["a"].run("ip route show default").text == ""


def test_fault_27_all_sockets_are_private_and_no_port_listens(lab: RealLab, net: LabSlice) -> None:
    folders = [lab.slice_folder(net), *lab.slice_folder(net).glob("m*")]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    sockets = [path for path in lab.slice_folder(net).rglob("*") if path.is_socket()]
    assert {"control", "qmp", "serial"} <= {path.name for path in sockets}
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in sockets} == {0}
    inodes = set()
    for pid in processes_in(lab.folder):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        assert not [row for row in rows if row[3] == "0A" and row[9] in inodes]


def test_fault_23_a_machine_is_ended_by_its_uuid_and_no_namesake(
    lab: RealLab, net: LabSlice
) -> None:
    """Foreign processes with the same name, in the same folder, in the pidfile."""
    place = lab.machine_folder(net, "a")
    code = "import time; time.sleep(1000)"
    words = ["-name", "a", "-uuid", "00000000-0000-0000-0000-000000000000", "qemu-system-x86_64"]
    with subprocess.Popen([sys.executable, "-c", code, *words], cwd="/") as stranger:
        try:
            kill(lab.pid(net, "a"))
            kill(lab.steward_pid(net))
            (place / "pid").write_text(f"{stranger.pid}\n")
            assert list(net.refresh()["state"]) == ["off", "running"]
            net.deploy()
            well(net)
            net.reset("a")
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_fault_31_memory_too_small_is_refused_before_anything_is_done(
    lab: RealLab, net: LabSlice
) -> None:
    big = lab.slice("big")
    big.add_vm("a", memory_mb=1 << 20)
    big.add_vm("b", memory_mb=1 << 20)
    with pytest.raises(NoRoom, match=r"its 2 VMs need 2097280 MB of memory .* can give \d+ MB"):
        big.deploy()
    assert not lab.slice_folder(big).exists()
    big.delete()


def test_fault_32_links_that_cannot_be_are_refused(lab: RealLab, net: LabSlice) -> None:
    before = net.wish
    with pytest.raises(InvalidArgument, match="no VM 'nobody'"):
        net.link("nobody:eth1", "a:eth1")
    with pytest.raises(DuplicateError, match="in link 'a-b' already"):
        net.link("a:eth1", "b:eth1", name="again")
    with pytest.raises(DuplicateError, match="join a to itself"):
        net.link("a:eth0", "a:eth1")
    assert net.wish == before


def test_fault_11_25_a_machine_shut_down_from_inside_is_seen_and_mended(net: LabSlice) -> None:
    with pytest.raises(GuestGone, match=r"its effect is unknown|has ended|guest shut down"):
        net["b"].run("poweroff -f; sleep 60")
    net.refresh()
    assert net["b"].state == "off"
    plan = net.plan()
    assert set(plan[plan["kind"] == "start machine"]["reason"]) == {"it has ended"}
    with pytest.raises(MachineDied):
        net["b"].run("true")
    shown = net.run("true").set_index("vm")
    assert shown.loc["a", "returncode"] == 0
    assert "the guest shut down" in str(shown.loc["b", "error"])
    net.deploy()
    well(net)


def test_a_panic_is_told_and_mended(net: LabSlice) -> None:
    with pytest.raises(GuestPanicked, match="sysrq"):
        net["a"].run("echo c > /proc/sysrq-trigger; sleep 60")
    net.deploy()
    well(net)


def test_machines_killed_are_mended(lab: RealLab, net: LabSlice) -> None:
    for name in ("a", "b"):
        kill(lab.pid(net, name))
    assert eventually(lambda: list(net.refresh()["state"]) == ["off", "off"])
    net.deploy()
    well(net)


def test_a_steward_killed_is_started_again_and_machines_live_on(
    lab: RealLab, net: LabSlice
) -> None:
    pids = [lab.pid(net, name) for name in ("a", "b")]
    kill(lab.steward_pid(net))
    assert list(net.refresh()["state"]) == ["running", "running"]
    net.deploy()
    well(net)
    assert [lab.pid(net, name) for name in ("a", "b")] == pids


def test_steward_and_machines_killed_are_mended(lab: RealLab, net: LabSlice) -> None:
    pids = [lab.steward_pid(net), lab.pid(net, "a"), lab.pid(net, "b")]
    for pid in pids:
        kill(pid)
    net.deploy()
    well(net)


def test_a_paused_machine_goes_on(net: LabSlice) -> None:
    net["a"].pause()
    assert net["a"].state == "paused"
    assert list(net.plan()["kind"]) == ["resume machine"]
    net.deploy()
    well(net)


def test_a_flooded_console_stays_small_and_answers(lab: RealLab, net: LabSlice) -> None:
    net["a"].run("timeout 4 sh -c 'cat /dev/zero | tr \"\\0\" x > /dev/console'", timeout=60)
    assert len(net["a"].console_log(1 << 20)) <= 1 << 20
    assert net["a"].run("echo well", check=True).text == "well\n"
    files = [path for path in lab.slice_folder(net).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4 << 20
    memory = Path(f"/proc/{lab.steward_pid(net)}/status").read_text()
    kib = int(memory.partition("VmRSS:")[2].split()[0])
    assert kib < 64 << 10


def test_ctrl_c_ends_a_command_on_many_machines_soon(net: LabSlice) -> None:
    begun = net["a"].guest

    def runs() -> bool:
        return begun.run("ps | grep -q 'slee[p] 7777'").ok

    thread = interrupt_when(runs)
    with pytest.raises(KeyboardInterrupt):
        net.run("sleep 7777", timeout=None)
    thread.join()
    assert not runs()


def test_ctrl_c_ends_a_command_of_the_wish_soon_and_says_how_to_go_on(
    lab: RealLab, net: LabSlice
) -> None:
    wish = net.wish
    net.change_vm("a", commands=["sleep 7778"])
    other = net["a"].guest
    thread = interrupt_when(lambda: other.run("ps | grep -q 'slee[p] 7778'").ok)
    with pytest.raises(KeyboardInterrupt) as told:
        net.deploy()
    thread.join()
    assert "deploy() goes on from here, delete() ends it" in told.value.__notes__[0]
    assert not other.run("ps | grep 'slee[p] 7778'").ok
    net.set_wish(wish)
    net.deploy()
    well(net)


def test_a_command_of_the_wish_that_fails_is_told_and_can_be_mended(net: LabSlice) -> None:
    wish = net.wish
    net.change_vm("a", commands=["echo so it is >&2; exit 3"])
    with pytest.raises(SetupFailed, match=r"a did not take the command .*status 3.*so it is"):
        net.deploy()
    assert dict(net.states) == {"a": "running", "b": "running"}
    net.set_wish(wish)
    net.deploy()
    well(net)


def test_two_processes_do_not_work_on_one_slice(lab: RealLab, net: LabSlice) -> None:
    told: list[str] = []

    def meanwhile() -> None:
        with RealLab(lab.folder) as other:
            theirs = other.slice("net")
            with pytest.raises(SliceInUse, match="being worked on") as refused:
                theirs.deploy()
            told.append(str(refused.value))
            assert not theirs.plan().empty

    kill(lab.pid(net, "a"))
    engine = CutEngine(lab.engine, 0, after=False, cut=meanwhile)
    LabSlice(engine, lab.store, "net").deploy()
    assert len(told) == 1
    net.deploy()
    well(net)


def test_ctrl_c_while_machines_start_leaves_what_deploy_goes_on_from(
    lab: RealLab, net: LabSlice
) -> None:
    for name in ("a", "b"):
        kill(lab.pid(net, name))
    engine = CutEngine(lab.engine, 3, after=False, cut=press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        LabSlice(engine, lab.store, "net").deploy()
    assert not engine.is_busy
    net.deploy()
    well(net)


def test_leftovers_in_the_run_folder_are_removed(lab: RealLab, net: LabSlice) -> None:
    place = lab.slice_folder(net)
    (place / "m77").mkdir()
    (place / "m77" / "half").write_text("")
    (place / "core.123").write_text("")
    kill(lab.steward_pid(net))
    assert set(net.plan()["kind"]) >= {"start steward"}
    again(lab, lambda other: other.slice("net").deploy())
    net.deploy()
    assert not (place / "m77").exists()
    assert not (place / "core.123").exists()
    well(net)


def test_fault_23_a_slice_deleted_leaves_nothing_and_its_neighbour_alone(
    lab: RealLab, net: LabSlice
) -> None:
    pids = [lab.pid(net, name) for name in ("a", "b")]
    other = lab.pair("other")
    other.deploy()
    well(other)
    assert {vm.vnc_port for vm in net.record.allocation.vms}.isdisjoint(
        vm.vnc_port for vm in other.record.allocation.vms
    )
    folder = lab.slice_folder(other)
    kill(lab.pid(other, "a"))
    other.delete()
    assert (processes_in(folder), sockets_in(folder), folder.exists()) == ([], [], False)
    assert [lab.pid(net, name) for name in ("a", "b")] == pids
    well(net)


def test_errors_are_of_labkit(net: LabSlice) -> None:
    with pytest.raises(LabkitError):
        net["a"].machine.qmp("nonsense")
    assert pings(net)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
