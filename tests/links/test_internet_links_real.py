"""The internet toggle as its guests see it: the recorded address, the way out, and off is off."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from labkit.guest import Guest
from labkit.links import Links
from labkit.packets import pcap_frame
from labkit.programs import qemu
from labkit.remote.steward.egress import GATEWAY_NIC
from machines_lab import HAS_QEMU, READY, MachinesLab, machines_lab

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]
MACS = {1: "52:54:00:00:01:00", 2: "52:54:00:00:02:00"}
RECORDED = "10.60.7.142"
ON, OFF = 1, 2  # the machine with internet, the one without
DHCP = "udhcpc -i eth0 -n -q -t 3 -T 1 -s /usr/lib/labkit/dhcp"


class Counter:
    """Services of the host, TCP and UDP on one port of every address, that note who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.streams = socket.create_server(("", 0))
        self.port: int = self.streams.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("", self.port))
        self.threads = [
            threading.Thread(target=self._count, args=(self.streams.accept,)),
            threading.Thread(target=self._count, args=(lambda: self.datagrams.recvfrom(100),)),
        ]
        for thread in self.threads:
            thread.start()

    def _count(self, visit: object) -> None:
        assert callable(visit)
        while True:
            found, _ = visit()
            if found == b"end":
                return
            if isinstance(found, socket.socket):
                with found:
                    if found.recv(3) == b"end":
                        return
            self.visits += 1

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"end")
        self.datagrams.sendto(b"end", ("127.0.0.1", self.port))
        for thread in self.threads:
            thread.join()
        self.streams.close()
        self.datagrams.close()


@pytest.fixture
def services() -> Iterator[Counter]:
    counter = Counter()
    yield counter
    counter.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def links(lab: MachinesLab) -> Links:
    """One machine whose eth0 leads out, as it asks by DHCP; one whose eth0 leads nowhere."""
    lab.steward.call("link-set", link="out", ports=[[ON, 0], [ON, GATEWAY_NIC]])
    for index, internet in ((ON, qemu.Internet(RECORDED)), (OFF, None)):
        setup = f"hostname r{index}\nnic eth0 {MACS[index]}\n"
        options = lab.options(
            f"r{index}",
            macs=(MACS[index],),
            internet=internet,
            firmware=(("opt/labkit/machine", "setup"),),
        )
        lab.machines.start(index, options, files={"setup": setup})
    for index in (ON, OFF):
        lab.machines.get(index).guest.wait_ready(READY)
    return Links(lab.steward)


def host_addresses() -> list[str]:
    shown = subprocess.run(("hostname", "-I"), capture_output=True, text=True, check=True)
    return [address for address in shown.stdout.split() if ":" not in address]


def guest(lab: MachinesLab, index: int) -> Guest:
    return lab.machines.get(index).guest


def answers(one: Guest, address: str = "10.60.7.1") -> bool:
    return one.run(["ping", "-c1", "-W2", address]).ok


def test_fault_14_dhcp_gives_the_recorded_address_and_the_way_out(
    lab: MachinesLab, links: Links
) -> None:
    one = guest(lab, ON)
    with links.capture("out") as seen:
        one.run(DHCP, check=True)
        assert answers(one)
        assert seen.assert_seen("dhcp", within="20s")
    assert f"inet {RECORDED}/24" in one.run("ip -4 -o address show dev eth0").text
    assert one.run("ip -4 route show default").text.startswith("default via 10.60.7.1 dev eth0")
    assert one.run("cat /etc/resolv.conf").text == "nameserver 10.60.7.2\n"
    said = seen.packets.set_index("info")
    assert said["source"][f"DHCP Offer {RECORDED}"] == "10.60.7.1"
    assert f"DHCP ACK {RECORDED}" in said.index
    assert pcap_frame(seen.pcap)["info"].tolist() == seen.packets["info"].tolist()


def test_no_service_of_the_host_is_reached_in_any_way(
    lab: MachinesLab, links: Links, services: Counter
) -> None:
    one = guest(lab, ON)
    one.run(DHCP, check=True)
    # Its own 127.0.0.1 is sent out as well: a guest is root and may do that.
    one.run(
        "ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local;"
        "ip addr flush dev lo; ip route add 127.0.0.0/8 via 10.60.7.1;"
        "sysctl -w net.ipv4.conf.eth0.route_localnet=1"
    )
    own = host_addresses()
    ways = ["10.60.7.1", "10.60.7.2", "127.0.0.1", "127.0.0.53", "10.60.7.255", "0.0.0.0", *own]
    with links.capture("out") as seen:
        for way in ways:
            one.run(f"echo x | nc -w1 {way} {services.port}")
            one.run(f"traceroute -n -U -p {services.port} -q1 -w1 -f64 -m64 {way}")
    assert services.visits == 0
    tried = seen.packets[seen.packets["destination_port"] == services.port]
    for protocol in ("TCP", "UDP"):  # they have left the guest
        found = set(tried["destination"][tried["protocol"] == protocol])
        assert found >= {"10.60.7.1", "127.0.0.1", *own}
    with socket.create_connection(("127.0.0.1", services.port)):  # they do count
        pass
    assert links.states()[0].name == "out"
    ports = lab.steward.call("link-list").facts["links"][0]["ports"]
    assert ports[1]["dropped"]["blocked"] > 0


def test_off_is_off(lab: MachinesLab, links: Links) -> None:
    one = guest(lab, OFF)
    assert not one.run(DHCP).ok
    assert one.run("ip -4 route").text == ""
    assert "inet " not in one.run("ip -4 -o address show dev eth0").text
    one.run("ip address add 10.60.7.143/24 dev eth0; ip route add default via 10.60.7.1")
    assert not answers(one)
    assert not answers(one, RECORDED)
    one.run("ip address flush dev eth0")


def test_it_is_switched_while_it_runs(lab: MachinesLab, links: Links) -> None:
    one = guest(lab, ON)
    one.run(DHCP, check=True)
    assert answers(one)
    links.set("out", up=False)
    assert not answers(one)
    assert not one.run(DHCP).ok
    links.set("out", up=True)
    one.run(DHCP, check=True)
    assert answers(one)
    links.delete("out")
    assert not answers(one)
    lab.steward.call("link-set", link="out", ports=[[ON, 0], [ON, GATEWAY_NIC]])
    assert answers(one)
