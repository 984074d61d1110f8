"""A real guest's life: boot, names by MAC, reboot, panic, hang, power off, and the image itself."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from labkit.micro import MicroImage, build_micro
from micro_guest import WITHIN, Lane, Machine, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

SETUP = """\
# what the machine is
hostname r1
nic eth0 52:54:00:00:05:01
nic eth1 52:54:00:00:05:00
nic eth2 52:54:00:00:05:02
nic eth3 52:54:00:00:05:77
address eth0 10.0.1.1/24
address eth1 10.0.2.1/24
address eth1 fd00::1/64
route 10.9.0.0/16 via 10.0.1.2
route default via 10.0.2.254
forwarding on
host 10.0.1.2 h2 h2.lab
nameserver 10.0.2.53
dance quickly
"""


def nics(*macs: str) -> list[str]:
    argv: list[str] = []
    for number, mac in enumerate(macs):
        argv += ["-netdev", f"hubport,id=n{number},hubid={number}"]
        argv += ["-device", f"virtio-net-pci,id=d{number},netdev=n{number},mac={mac},romfile="]
    return argv


def address_of(lane: Lane, name: str) -> str:
    return lane.run(["cat", f"/sys/class/net/{name}/address"]).out.decode().strip()


def check_setup(lane: Lane) -> None:
    for name, last in (("eth0", "01"), ("eth1", "00"), ("eth2", "02")):
        assert address_of(lane, name) == f"52:54:00:00:05:{last}"
        assert "UP" in lane.run(["ip", "link", "show", name]).out.decode().split(">")[0]
    addresses = lane.run("ip -br addr show eth1").out.decode().split()
    assert {"10.0.2.1/24", "fd00::1/64"} <= set(addresses)
    routes = lane.run("ip route").out.decode()
    assert "10.9.0.0/16 via 10.0.1.2 dev eth0" in routes
    assert "default via 10.0.2.254 dev eth1" in routes
    assert lane.run("hostname; cat /proc/sys/net/ipv4/ip_forward").out == b"r1\n1\n"
    assert "10.0.1.2\th2 h2.lab" in lane.run("cat /etc/hosts").out.decode()
    assert lane.run("cat /etc/resolv.conf").out == b"nameserver 10.0.2.53\n"


def test_a_machine_is_what_its_setup_says_also_after_a_reboot(image: MicroImage) -> None:
    macs = [f"52:54:00:00:05:0{n}" for n in range(3)]
    with Machine(image, setup=SETUP, extra=nics(*macs)) as machine:
        check_setup(machine.lane())
        assert "labkit: interface eth3 (52:54:00:00:05:77) is missing" in machine.said()
        assert "labkit: not understood in the setup: dance quickly" in machine.said()
        lane, before = machine.lane(), machine.lane().hello
        lane.start("halt", how="reboot")
        with pytest.raises(ConnectionResetError):
            lane.run("sleep 99")
        hello = lane.events[-1][2]
        assert hello["boot"] != before["boot"]
        lane.greet()
        check_setup(lane)


def test_a_running_machine_is_changed(image: MicroImage) -> None:
    setup = "hostname old\nnic eth0 52:54:00:00:05:00\naddress eth0 10.0.1.1/24\n"
    macs = ("52:54:00:00:05:00", "52:54:00:00:05:01")
    with Machine(image, setup=setup, extra=nics(*macs)) as machine:
        lane = machine.lane()
        token = lane.start("run", arg=["labkit-setup"], stdin=1)
        swapped = (
            f"hostname new\nnic eth0 {macs[1]}\nnic eth1 {macs[0]}\naddress eth0 10.0.2.2/24\n"
        )
        lane.feed(token, swapped.encode())
        lane.send("eof", token)
        assert lane.answer(token).status == "0"
        assert [address_of(lane, name) for name in ("eth1", "eth0")] == list(macs)
        shown = lane.run("hostname; ip -br -4 addr").out.decode()
        assert "new" in shown
        assert "10.0.2.2/24" in shown
        assert "10.0.1.1" not in shown
        token = lane.start("run", arg=["labkit-setup"], stdin=1)
        lane.feed(token, b"nic eth0 52:54:00:00:05:01\naddress eth0 no-address\n")
        lane.send("eof", token)
        assert lane.answer(token).status == "1"


def test_requests_of_a_boot_that_is_over_are_not_carried_out(image: MicroImage) -> None:
    with Machine(image) as machine:
        lane = machine.lane()
        lane.run("echo 1 >/proc/sys/kernel/sysrq")
        machine.qmp("stop")
        token = lane.start("run", shell="touch /run/late")
        machine.qmp("system_reset")
        machine.qmp("cont")
        with contextlib.suppress(ConnectionResetError):
            assert lane.answer(token).fields["code"] == "stale"
        lane.greet()
        assert lane.run("ls /run/late").status == "1"


def test_a_panic_starts_the_machine_anew(image: MicroImage) -> None:
    with Machine(image) as machine:
        lane = machine.lane()
        before = lane.hello["boot"]
        with pytest.raises(ConnectionResetError):
            lane.run("echo c >/proc/sysrq-trigger; sleep 99")
        assert lane.greet()["boot"] != before
        assert lane.run("echo back").out == b"back\n"


def test_a_reset_in_the_middle_of_a_flood_is_seen(image: MicroImage) -> None:
    with Machine(image) as machine:
        lane = machine.lane()
        token = lane.start("run", shell="cat /dev/zero")
        for _ in range(20):
            lane.next(token)
        machine.qmp("system_reset")
        # whatever was cut off, a new hello heals it, and no output is taken for another's
        before = lane.hello["boot"]
        assert lane.greet()["boot"] != before
        assert lane.run("echo well").out == b"well\n"


def test_a_paused_machine_does_not_answer_and_goes_on(image: MicroImage) -> None:
    with Machine(image) as machine:
        lane = machine.lane()
        machine.qmp("stop")
        token = lane.start("run", shell="echo late")
        with pytest.raises(TimeoutError):
            lane.answer(token, 0.5)
        machine.qmp("cont")
        assert lane.run("echo mine").out == b"mine\n"
        assert lane.answer(token).out == b"late\n"


def test_power_off_ends_qemu_and_the_channel(image: MicroImage) -> None:
    with Machine(image) as machine:
        lane = machine.lane()
        lane.run("sleep 999 >/dev/null 2>&1 &")
        assert machine.lane(1).call("halt", how="poweroff").last == "done"
        assert machine.process.wait(WITHIN) == 0
        with pytest.raises((EOFError, ConnectionError)):
            lane.run("true")


def test_the_console_has_a_shell_that_comes_again(image: MicroImage) -> None:
    with Machine(image) as machine:
        wait_for(machine, "labkit: ready in ")
        wait_for(machine, "micro:/root# ")
        lane = machine.lane()
        first = lane.run(["pidof", "sh"]).out
        lane.run(["killall", "-9", "sh"])
        again = lane.run(["ash", "-c", "until pidof sh; do sleep 0.1; done"]).out
        assert again not in (b"", first)


def test_late_and_absent_hosts_cost_nothing_and_are_served(image: MicroImage) -> None:
    with Machine(image) as machine:
        wait_for(machine, "labkit: ready in ")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(machine.folder / "l1"))
            assert machine.lane().run("echo a").out == b"a\n"
        assert machine.lane(1).run("echo b").out == b"b\n"


@pytest.mark.slow
def test_a_users_own_image_has_the_packages_added(tmp_path: Path) -> None:
    image = build_micro(tmp_path, name="web", add=["nftables", "jq"])
    with Machine(image) as machine:
        lane = machine.lane()
        assert lane.run("echo '{\"a\": [1, 2]}' | jq .a[1]").out == b"2\n"
        answer = lane.run("nft add table inet t && nft list tables")
        assert answer.out == b"table inet t\n", answer
