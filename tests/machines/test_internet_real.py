"""User networking of a real machine: the world's way out, closed towards the host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from labkit.guest import Guest
from labkit.programs import qemu
from labkit.remote.steward.egress import GATEWAY_NIC
from machines_lab import HAS_QEMU, READY, MachinesLab, machines_lab

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]
MAC = "52:54:00:00:07:00"
SETUP = f"hostname r1\nnic eth0 {MAC}\naddress eth0 10.60.7.137/24\nroute default via 10.60.7.1\n"


class Page(BaseHTTPRequestHandler):
    """A service on the host's loopback, such as a notebook server."""

    timeout = 5

    def do_GET(self) -> None:
        self.server.asked = True  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    with ThreadingHTTPServer(("", 0), Page) as server:
        server.asked = False  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


def ping(guest: Guest, seconds: int) -> bool:
    """Whether the gateway answers within that time."""
    return guest.run(f"ping -c1 -W{seconds} 10.60.7.1 >/dev/null").ok


def test_fault_14_the_recorded_address_works_and_no_service_of_the_host_is_reached(
    lab: MachinesLab, service: HTTPServer
) -> None:
    ports = [[1, 0], [1, GATEWAY_NIC]]
    lab.steward.call("link-set", link="internet-1", ports=ports, up=True)
    options = lab.options(
        macs=(MAC,),
        internet=qemu.Internet("10.60.7.137"),
        firmware=(("opt/labkit/machine", "setup"),),
    )
    machine = lab.machines.start(1, options, files={"setup": SETUP})
    guest = machine.guest
    guest.wait_ready(READY)
    assert ping(guest, 30)
    lease = guest.run("udhcpc -i eth0 -n -q -t 3 -s /bin/true 2>&1")
    assert b"10.60.7.137" in lease.stdout
    port = service.server_address[1]
    # A route of the guest's own sends its 127.0.0.1 to the gateway.
    route = "ip addr flush dev lo; ip route del local 127.0.0.0/8 table local;"
    route += "ip route del local 127.0.0.1 table local; ip route add 127.0.0.0/8 via 10.60.7.1"
    guest.run(route)
    for address in ("10.60.7.1", "10.60.7.2", "127.0.0.1"):
        guest.run(f"timeout 2 wget -qO- http://{address}:{port}/")
    assert not service.asked  # type: ignore[attr-defined]
    shown = lab.steward.call("link-list").facts["links"][0]
    assert shown["ports"][1]["dropped"]["blocked"] > 0
    lab.steward.call("link-set", link="internet-1", up=False)
    assert not ping(guest, 2)
    lab.steward.call("link-delete", link="internet-1")
