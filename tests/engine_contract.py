"""What machines, guests and links promise, whether they are real or simulated.

A suite inherits `EngineContract` and gives it an `EngineLab`; h1 and h2 are joined by the router
r1, and all three hang on a switch as well.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from labkit.errors import (
    CommandFailed,
    GuestNotReady,
    GuestPanicked,
    GuestRebooted,
    GuestTimeout,
    MachineDied,
    MachineExists,
    MachineUnknown,
    TransferError,
)
from labkit.executor import Result
from labkit.links import Links
from labkit.machines import Machine, Machines
from labkit.packets import PACKETS_COLUMNS
from labkit.programs import qemu
from labkit.simulator.guest.programs.catalogue import GUEST_PROGRAMS
from labkit.steward import Steward
from labkit.wish.links import Impairment

READY = 90.0
SOON = 20.0
SETUP_FILE = "setup"


class EngineLab(Protocol):
    """A steward with machines, on a real host or a simulated one."""

    steward: Steward
    machines: Machines
    events: list[dict[str, Any]]

    def options(self, name: str = ..., **changes: Any) -> qemu.MachineOptions: ...

    def kill_steward(self) -> None: ...


def mac(machine: int, nic: int) -> str:
    return f"52:54:00:00:{machine:02x}:{nic:02x}"


def macs(machine: int, count: int) -> tuple[str, ...]:
    return tuple(mac(machine, nic) for nic in range(count))


def boot(lab: EngineLab, index: int, name: str, nics: int, *lines: str, **changes: Any) -> Machine:
    """Start a machine that is told who it is."""
    named = [f"nic eth{nic} {mac(index, nic)}" for nic in range(nics)]
    text = "\n".join([f"hostname {name}", *named, *lines, ""])
    options = lab.options(
        name,
        macs=macs(index, nics),
        firmware=(("opt/labkit/machine", SETUP_FILE),),
        **changes,
    )
    return lab.machines.start(index, options, files={SETUP_FILE: text})


class Net:
    """Three machines, two cables and a switch."""

    def __init__(self, lab: EngineLab) -> None:
        self.lab = lab
        self.links = Links(lab.steward)
        self.h1 = boot(
            lab, 1, "h1", 3,
            "address eth1 10.0.1.1/24", "address eth2 10.0.9.1/24",
            "route default via 10.0.1.254", "host 10.0.2.2 h2", "host 10.0.1.254 r1",
            screen=True,
        )  # fmt: skip
        self.r1 = boot(
            lab, 2, "r1", 4,
            "address eth1 10.0.1.254/24", "address eth2 10.0.2.254/24",
            "address eth3 10.0.9.2/24", "forwarding on",
        )  # fmt: skip
        self.h2 = boot(
            lab, 3, "h2", 3,
            "address eth1 10.0.2.2/24", "address eth2 10.0.9.3/24",
            "route default via 10.0.2.254",
        )  # fmt: skip
        self.links.set("a", [(1, 1), (2, 1)])
        self.links.set("b", [(2, 2), (3, 1)])
        self.links.set("s", [(1, 2), (2, 3), (3, 2)])
        for machine in (self.h1, self.r1, self.h2):
            machine.guest.wait_ready(READY)

    def run(self, command: str, timeout: float = 60.0) -> Result:
        return self.h1.guest.run(command, timeout=timeout)


def transmitted(text: str) -> tuple[int, int]:
    """How many packets a ping has sent and got, as it says."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    assert found, text
    return int(found[1]), int(found[2])


def round_trips(text: str) -> list[float]:
    """Milliseconds."""
    return [float(value) for value in re.findall(r"time=([\d.]+) ms", text)]


def until(holds: Any, what: str) -> None:
    """Wait for something that nobody tells."""
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, f"waited {SOON:g} s for {what}"
        time.sleep(0.01)


class CommandContract:
    """Running commands and moving files."""

    def test_status_and_streams_are_apart(self, net: Net) -> None:
        result = net.run("echo out; echo err >&2; exit 3")
        assert (result.returncode, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
        with pytest.raises(CommandFailed, match="failed on h1: status 3, err"):
            result.check()
        with pytest.raises(CommandFailed) as caught:
            net.h1.guest.run("false", check=True)
        assert (caught.value.what, caught.value.why) == ("'false' failed on h1", "status 1")
        assert caught.value.context["result"].returncode == 1

    def test_arguments_reach_the_program_unchanged(self, net: Net) -> None:
        words = ["a b'c\"d$HOME;`x`\\n\ttab\nnew é €", "", "--", "*"]
        result = net.h1.guest.run(["printf", "%s|", *words], check=True)
        assert result.text == "|".join(words) + "|"

    def test_unknown_programs_and_signals_are_as_in_a_shell(self, net: Net) -> None:
        missing = net.h1.guest.run(["nosuch"])
        assert (missing.returncode, missing.stderr) == (
            127,
            b"nosuch: No such file or directory\n",
        )
        unknown = net.run("nosuch")
        assert unknown.returncode == 127
        assert unknown.error_text == "E: /bin/sh: nosuch: inaccessible or not found\n"
        assert net.run("kill -9 $$").returncode == 137

    def test_what_the_simulator_has_the_micro_image_has(self, net: Net) -> None:
        lines = [f"command -v {name} > /dev/null || echo {name}" for name in GUEST_PROGRAMS]
        assert net.run("; ".join(lines)).text.split() == []

    def test_complaints_are_those_of_the_micro_images_programs(self, net: Net) -> None:
        for line, said in (
            ("cd /nosuch", "E: /bin/sh: cd: /nosuch: No such file or directory\n"),
            ("cat < /nosuch", "W: /bin/sh: /nosuch: open: No such file or directory\n"),
            ("cat /nosuch", "cat: can't open '/nosuch': No such file or directory\n"),
            ("rm /nosuch", "rm: can't remove '/nosuch': No such file or directory\n"),
            ("ip link set eth9 up", 'Cannot find device "eth9"\n'),
            ("ping nosuch", "ping: nosuch: Temporary failure in name resolution\n"),
        ):
            assert net.run(line).error_text == said

    def test_where_and_with_what_a_command_runs(self, net: Net) -> None:
        result = net.h1.guest.run('pwd; echo "$X"', cwd="/tmp", env={"X": "a b"})
        assert result.text == "/tmp\na b\n"
        assert net.run("pwd").text == "/root\n"

    def test_input_is_read_to_its_end(self, net: Net) -> None:
        data = bytes(range(256)) * 4096
        assert net.h1.guest.run("cat", input=data).stdout == data
        assert net.h1.guest.run(["wc", "-l"], input="one\ntwo\n").text.split() == ["2"]

    def test_the_shell_has_loops_jobs_and_pipes(self, net: Net) -> None:
        script = (
            "for i in 1 2 3; do echo $i; done | while read n; do echo $((n * 2)); done;"
            "(sleep 0.1; echo late) & wait; if [ -d /tmp ]; then echo there; fi; echo `hostname`"
        )
        assert net.run(script).text == "2\n4\n6\nlate\nthere\nh1\n"
        assert net.run("ping -i 0.2 10.0.1.254 | head -2 | wc -l").text.strip() == "2"

    def test_output_is_told_as_it_comes(self, net: Net) -> None:
        told: list[tuple[str, str]] = []
        net.h1.guest.run(
            "echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c",
            on_output=lambda stream, text: told.append((stream, text)),
        )
        assert told == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n")]

    def test_after_its_time_a_command_is_ended_with_its_children(self, net: Net) -> None:
        with pytest.raises(GuestTimeout, match="ended with its children"):
            net.run("sleep 77 & sleep 77", timeout=0.5)
        assert net.run("ps | grep 'slee[p] 77'").stdout == b""
        with pytest.raises(GuestTimeout):
            net.run("ping 10.0.1.254", timeout=3)

    def test_many_commands_at_once_each_get_their_own_answer(self, net: Net) -> None:
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda n: net.h1.guest.run(["echo", str(n)]).text, range(40))
        assert list(answers) == [f"{number}\n" for number in range(40)]

    def test_files_survive_the_way(self, net: Net) -> None:
        data = bytes(range(256)) * 5000
        net.h1.guest.put("/tmp/data", data, mode=0o600)
        assert net.h1.guest.get("/tmp/data") == data
        assert net.run("ls -l /tmp/data").text.startswith("-rw-------")
        net.h1.guest.put("/tmp/data", b"")
        assert net.h1.guest.get("/tmp/data") == b""

    def test_folders_survive_the_way(self, net: Net, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "sub").mkdir(parents=True)
        (source / "sub" / "data.bin").write_bytes(bytes(1000))
        (source / "run.sh").write_text("#!/bin/sh\necho ran $1\n")
        (source / "run.sh").chmod(0o755)
        net.h1.guest.upload(source, "/tmp/folder")
        assert net.h1.guest.run(["/tmp/folder/run.sh", "well"], check=True).text == "ran well\n"
        net.h1.guest.download("/tmp/folder", tmp_path / "back")
        assert (tmp_path / "back" / "sub" / "data.bin").read_bytes() == bytes(1000)
        assert (tmp_path / "back" / "run.sh").stat().st_mode & 0o777 == 0o755
        assert net.run("ls /run/labkit/transfer-*").stdout == b""

    def test_files_that_cannot_be_written_or_read_say_why(self, net: Net) -> None:
        with pytest.raises(TransferError, match="cannot write /no/file in h1: No such file"):
            net.h1.guest.put("/no/file", b"x")
        with pytest.raises(TransferError, match="cannot read /no/file in h1: No such file"):
            net.h1.guest.get("/no/file")


class MachineContract:
    """Machines from their start to their end. These leave h1, r1 and h2 as they were."""

    def test_machines_are_listed_with_what_they_are(self, net: Net) -> None:
        states = {state.name: state for state in net.lab.machines.list()}
        assert {"h1", "r1", "h2"} <= set(states)
        h1 = states["h1"]
        assert (h1.index, h1.state, h1.ready, h1.end) == (1, "running", True, None)
        assert h1.pid

    def test_a_second_start_is_refused_and_harms_nothing(self, net: Net) -> None:
        with pytest.raises(MachineExists, match=r"h1 runs there as process [0-9]+"):
            boot(net.lab, 1, "other", 0)
        assert net.run("hostname").text == "h1\n"

    def test_a_machine_lives_and_ends(self, net: Net) -> None:
        machine = boot(net.lab, 7, "m7", 0)
        with pytest.raises(GuestNotReady, match="cannot wait for m7: after 0 s"):
            machine.guest.wait_ready(0.05)
        machine.guest.wait_ready(READY)
        machine.shut_down()
        assert (machine.state().state, machine.state().end) == ("off", "the guest shut down")
        with pytest.raises(MachineDied):
            machine.guest.run(["true"])
        again = boot(net.lab, 7, "m7", 0)
        again.power_off()
        assert again.state().end == "powered off"
        again.forget()
        with pytest.raises(MachineUnknown):
            again.state()
        kinds = [event["kind"] for event in net.lab.events if event.get("index") == 7]
        assert kinds[0] == "machine-started"
        assert kinds.count("machine-ended") == 2

    def test_pause_and_resume(self, net: Net) -> None:
        net.h2.pause()
        assert net.h2.state().state == "paused"
        assert transmitted(net.run("ping -c 1 -W 1 10.0.2.2").text) == (1, 0)
        net.h2.resume()
        assert net.h2.state().state == "running"
        assert net.h2.guest.run(["true"]).ok
        assert transmitted(net.run("ping -c 1 -W 5 10.0.2.2").text) == (1, 1)

    def test_a_reboot_is_an_error_for_what_ran(self, net: Net) -> None:
        guest, boots = net.h2.guest, net.h2.state().boots
        with pytest.raises(GuestRebooted, match="its effect is unknown"):
            guest.run("touch /tmp/before; reboot -f; sleep 60")
        guest.wait_ready(READY)
        assert net.h2.state().boots == boots + 1
        assert guest.run("ls /tmp/before").returncode != 0
        net.h2.reboot()
        guest.wait_ready(READY)
        assert transmitted(net.run("ping -c 1 -W 5 10.0.2.2").text) == (1, 1)

    def test_a_panic_is_told_with_the_consoles_words(self, net: Net) -> None:
        with pytest.raises(GuestPanicked, match="sysrq"):
            net.h2.guest.run("echo c > /proc/sysrq-trigger; sleep 60")
        net.h2.guest.wait_ready(READY)
        assert net.h2.guest.run(["true"]).ok

    def test_a_picture_of_the_screen(self, net: Net) -> None:
        assert net.h1.screenshot().startswith(b"\x89PNG")

    def test_the_console_says_and_hears(self, net: Net) -> None:
        assert b"labkit: ready in " in net.h1.console_log()
        net.h1.type(b"echo typed-$((6*7)) > /tmp/typed\n")
        wait = "until [ -s /tmp/typed ]; do sleep 0.1; done; cat /tmp/typed"
        assert net.run(wait).text == "typed-42\n"
        until(lambda: b"echo typed-$((6*7))" in net.h1.console_log(), "the echo")

    def test_the_steward_may_be_killed_and_takes_up_its_machines_again(self, net: Net) -> None:
        net.run("touch /tmp/kept")
        before, links = net.h1.state(), net.links.states()
        net.lab.kill_steward()
        net.lab.machines.list()  # starts another one
        net.h1.guest.wait_ready(READY)
        after = net.h1.state()
        assert (after.pid, after.uuid, after.boots) == (before.pid, before.uuid, before.boots)
        assert net.run("test -e /tmp/kept").ok
        assert b"labkit: ready" in net.h1.console_log()
        assert [link.name for link in net.links.states()] == [link.name for link in links]
        until(lambda: net.links.attach() == 0, "the ports to be connected again")
        assert transmitted(net.run("ping -c 1 -W 5 10.0.2.2").text) == (1, 1)


class LinkContract:
    """What passes between machines."""

    def test_interfaces_have_their_names_by_mac(self, net: Net) -> None:
        for name, nic in (("eth0", 0), ("eth1", 1), ("eth2", 2)):
            text = net.run(f"cat /sys/class/net/{name}/address").text
            assert text == f"{mac(1, nic)}\n"
        assert net.run("ip -br -4 addr show eth1").text.split()[2:] == ["10.0.1.1/24"]

    def test_a_ping_through_the_router(self, net: Net) -> None:
        result = net.run("ping -c 3 -i 0.2 h2")
        lines = result.text.splitlines()
        assert lines[0] == "PING h2 (10.0.2.2) 56(84) bytes of data."
        assert re.fullmatch(
            r"64 bytes from h2 \(10\.0\.2\.2\): icmp_seq=1 ttl=63 time=[\d.]+ ms", lines[1]
        )
        assert "3 packets transmitted, 3 received, 0% packet loss, time " in result.text
        assert "rtt min/avg/max/mdev = " in lines[-1]

    def test_hops_are_seen(self, net: Net) -> None:
        net.run("ping -c 1 -W 5 10.0.2.2")
        near = net.run("ping -c 1 -t 1 -W 5 10.0.2.2")
        assert near.returncode == 1
        assert "From 10.0.1.254 icmp_seq=1 Time to live exceeded" in near.text
        text = net.run("traceroute -n -q 1 -w 5 10.0.2.2").text.splitlines()
        assert text[0] == "traceroute to 10.0.2.2 (10.0.2.2), 30 hops max, 60 byte packets"
        assert re.match(r" 1  10\.0\.1\.254  [\d.]+ ms", text[1])
        assert re.match(r" *\d+  10\.0\.2\.2  [\d.]+ ms", text[-1])

    def test_what_cannot_be_reached_is_told_as_the_network_tells_it(self, net: Net) -> None:
        no_route = net.run("ping -c 1 -W 2 10.99.0.1")
        assert "From 10.0.1.254 icmp_seq=1 Destination Net Unreachable" in no_route.text
        silent = net.run("ping -c 1 -w 6 10.0.9.77")
        assert "Destination Host Unreachable" in silent.text
        away = net.r1.guest.run("ping -c 1 10.99.0.1")
        assert (away.returncode, away.error_text) == (2, "ping: connect: Network is unreachable\n")

    def test_a_link_goes_down_and_up(self, net: Net) -> None:
        net.links.set("b", up=False)
        try:
            assert transmitted(net.run("ping -c 2 -i 0.2 -W 1 10.0.2.2").text) == (2, 0)
        finally:
            net.links.set("b", up=True)
        assert transmitted(net.run("ping -c 2 -i 0.2 -W 5 10.0.2.2").text)[1] > 0

    def test_a_delay_is_seen_in_the_round_trip(self, net: Net) -> None:
        net.run("ping -c 1 -W 5 10.0.1.254")
        slow = {(1, 1): Impairment(delay_ms=100)}
        net.links.set("a", out=slow)
        try:
            times = round_trips(net.run("ping -c 3 -i 0.2 -W 5 10.0.1.254").text)
        finally:
            net.links.set("a", out={})
        assert len(times) == 3
        assert all(100 <= value < 400 for value in times)
        assert min(round_trips(net.run("ping -c 3 -i 0.2 10.0.1.254").text)) < 100

    def test_a_loss_is_seen_and_counted(self, net: Net) -> None:
        net.run("ping -c 1 -W 5 10.0.1.254")
        net.links.set("a", out={(1, 1): Impairment(loss=0.5)}, seed=7)
        try:
            sent, received = transmitted(net.run("ping -c 40 -i 0.02 -W 1 10.0.1.254").text)
            state = next(link for link in net.links.states() if link.name == "a")
        finally:
            net.links.set("a", out={})
        assert sent == 40
        assert 5 < received < 35
        lost = next(port for port in state.ports if port.port == (1, 1))
        assert lost.impaired_out["loss"] >= 40 - received

    def test_a_rate_is_kept(self, net: Net) -> None:
        net.links.set("a", out={(1, 1): Impairment(rate_bit=80_000)})
        try:
            times = round_trips(net.run("ping -c 2 -i 1 -s 958 10.0.1.254").text)
        finally:
            net.links.set("a", out={})
        assert all(value >= 99 for value in times)  # 1000 bytes at 10 000 bytes a second

    def test_a_switch_joins_three(self, net: Net) -> None:
        for target in ("10.0.9.2", "10.0.9.3"):
            text = net.run(f"ping -c 2 -i 0.2 -W 5 {target}").text
            assert transmitted(text)[1] > 0
            assert "ttl=64" in text
        with net.links.capture("s") as seen:
            net.run("ping -c 1 -W 5 10.0.9.3")
        state = next(link for link in net.links.states() if link.name == "s")
        assert {tuple(port.port) for port in state.ports} == {(1, 2), (2, 3), (3, 2)}
        assert len(seen) >= 2

    def test_a_capture_sees_arp_and_icmp(self, net: Net) -> None:
        with net.links.capture("a") as seen:
            net.run("ip neigh flush all; ping -c 1 -W 5 10.0.2.2")
            seen.assert_seen("arp", within="5s", info="Who has 10.0.1.254? Tell 10.0.1.1")
            row = seen.assert_seen("icmp", within="5s")
        assert (row["source"], row["destination"]) == ("10.0.1.1", "10.0.2.2")
        packets = seen.packets
        assert list(packets.columns) == list(PACKETS_COLUMNS)
        kinds = list(packets[packets.protocol.isin(["ARP", "ICMP"])].protocol)
        assert kinds[:2] == ["ARP", "ARP"]
        assert kinds.count("ICMP") == 2
        assert packets.time.is_monotonic_increasing

    def test_a_capture_sees_a_conversation(self, net: Net) -> None:
        listening = "nc -l -p 5000 > /tmp/got; echo ended >> /tmp/got"
        net.h2.guest.run(f"({listening}) > /dev/null 2>&1 &")
        until(lambda: "5000" in net.h2.guest.run("netstat -tln").text, "the listener")
        with net.links.capture("b") as seen:
            assert net.run("echo hello | nc 10.0.2.2 5000").ok
            seen.assert_seen("tcp", within="5s", destination_port=5000)
        until(lambda: net.h2.guest.run("cat /tmp/got").text == "hello\nended\n", "the text")
        table = seen.packets
        table = table[table.protocol == "TCP"]
        flags = list(table.tcp_flags)
        assert flags[:3] == ["SYN", "SYN ACK", "ACK"]
        assert sum("FIN" in one for one in flags) >= 2
        ports = set(table.source_port) | set(table.destination_port)
        assert 5000 in ports

    def test_a_connection_nobody_waits_for_is_refused(self, net: Net) -> None:
        result = net.run("echo x | nc 10.0.2.2 5001")
        assert result.returncode == 1
        said = "nc: can't connect to remote host (10.0.2.2): Connection refused\n"
        assert result.error_text == said

    def test_a_page_is_served(self, net: Net) -> None:
        net.h2.guest.run("mkdir -p /tmp/www; echo hello > /tmp/www/index.html")
        net.h2.guest.run("httpd -p 8080 -h /tmp/www", check=True)
        assert net.run("wget -q -O - http://10.0.2.2:8080/", timeout=30).text == "hello\n"
        missing = net.run("wget -q -O - http://10.0.2.2:8080/nosuch", timeout=30)
        assert missing.returncode == 1
        assert "404 Not Found" in missing.error_text

    def test_a_capture_is_a_file_for_wireshark(self, net: Net, tmp_path: Path) -> None:
        with net.links.capture("a") as seen:
            net.run("ping -c 1 -W 5 10.0.1.254")
            seen.assert_seen("icmp", within="5s")
        seen.save(tmp_path / "a.pcap")
        assert (tmp_path / "a.pcap").read_bytes()[:4] == b"\x4d\x3c\xb2\xa1"

    def test_settings_change_while_it_runs(self, net: Net) -> None:
        change = "ip addr add 10.0.5.1/24 dev eth2 && ip -4 -br addr show eth2"
        assert net.run(change).text.split()[2:] == ["10.0.9.1/24", "10.0.5.1/24"]
        assert "10.0.5.0/24 dev eth2" in net.run("ip route").text
        net.run("ip addr del 10.0.5.1/24 dev eth2")
        assert "10.0.5.0/24" not in net.run("ip route").text
        again = net.run("ip route add 10.6.0.0/16 via 10.99.0.1")
        assert (again.returncode, again.error_text) == (2, "Error: Nexthop has invalid gateway.\n")
        net.r1.guest.run("sysctl -w net.ipv4.ip_forward=0")
        assert transmitted(net.run("ping -c 1 -W 1 10.0.2.2").text) == (1, 0)
        net.r1.guest.run("echo 1 > /proc/sys/net/ipv4/ip_forward")
        assert transmitted(net.run("ping -c 1 -W 5 10.0.2.2").text) == (1, 1)

    def test_a_guest_is_set_up_anew(self, net: Net) -> None:
        text = f"hostname x1\nnic eth2 {mac(1, 2)}\naddress eth2 10.0.9.1/24\nhost 10.0.9.3 far\n"
        assert net.h1.guest.run(["labkit-setup"], input=text).ok
        try:
            assert net.run("hostname").text == "x1\n"
            assert transmitted(net.run("ping -c 1 -W 5 far").text) == (1, 1)
        finally:
            back = "hostname h1\nhost 10.0.2.2 h2\nhost 10.0.1.254 r1\n"
            assert net.h1.guest.run(["labkit-setup"], input=back).ok


class EngineContract(CommandContract, MachineContract, LinkContract):
    """All of it."""
