"""``udhcpc``: asks for an address, and sets what it is given."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv4Network

from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net.gateway import ACKNOWLEDGE, DISCOVER, OFFER, REQUEST, dhcp, dhcp_options
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Datagram, Packet
from labkit.simulator.waiting import Signal

SERVER_PORT, CLIENT_PORT = 67, 68
EVERYBODY, NOBODY = IPv4Address("255.255.255.255"), IPv4Address("0.0.0.0")
KIND, MASK, ROUTER, SERVERS, ASKED, LEASE, SERVER = 53, 1, 3, 6, 50, 51, 54
PAUSE_SECONDS = 20.0


def udhcpc(process: Process) -> int | Steps[int]:
    try:
        options, _ = read(list(process.argv[1:]), "bnqfRSaB", "itTAsprVxh")
        tries = int(number(options.get("t", "3")))
        wait = number(options.get("T", "3"))
    except BadUsage as error:
        return process.fail(str(error))
    name = options.get("i", "eth0")
    system = system_of(process)
    interface = system.net.interface(name)
    if interface is None:
        return process.fail(f"SIOCGIFINDEX: No such device: {name}")
    return Client(process, system, interface).run(tries, wait, forever="b" in options)


class Client:
    """One run, on one interface."""

    def __init__(self, process: Process, system: System, interface: Interface) -> None:
        self._process, self._system, self._interface = process, system, interface
        self._number = system.random.randbytes(4)
        self._arrived = Signal()
        self._inbox: deque[tuple[IPv4Address, dict[int, bytes]]] = deque()

    def run(self, tries: int, wait: float, *, forever: bool) -> Steps[int]:
        hooks = self._system.net.udp.hooks
        hooks[CLIENT_PORT] = self._take
        try:
            self._tell("started, v1.35.0")
            while True:
                for _ in range(tries):
                    if (yield from self._ask(wait)):
                        return 0
                if not forever:
                    self._tell("no lease, failing")
                    return 1
                yield Wait(PAUSE_SECONDS)
        finally:
            hooks.pop(CLIENT_PORT, None)

    def _tell(self, line: str) -> None:
        self._process.stderr.write(f"udhcpc: {line}\n".encode())

    def _take(self, _interface: Interface, _packet: Packet, datagram: Datagram) -> None:
        data = datagram.data
        if data[4:8] == self._number:
            self._inbox.append((IPv4Address(data[16:20]), dhcp_options(data)))
            self._arrived.fire()

    def _ask(self, wait: float) -> Steps[bool]:
        self._tell("broadcasting discover")
        self._send({KIND: bytes((DISCOVER,))})
        offer = yield from self._answer(OFFER, wait)
        if offer is None:
            return False
        ip, options = offer
        server = IPv4Address(options.get(SERVER, bytes(4)))
        self._tell(f"broadcasting select for {ip}, server {server}")
        self._send({KIND: bytes((REQUEST,)), ASKED: ip.packed, SERVER: server.packed})
        lease = yield from self._answer(ACKNOWLEDGE, wait)
        if lease is None:
            return False
        seconds = int.from_bytes(lease[1].get(LEASE, bytes(4)), "big")
        self._tell(f"lease of {ip} obtained from {server}, lease time {seconds}")
        self._set(*lease)
        return True

    def _send(self, options: dict[int, bytes]) -> None:
        data = dhcp(1, self._number, self._interface.mac, options)
        packet = Datagram(CLIENT_PORT, SERVER_PORT, data).packet(NOBODY, EVERYBODY)
        self._system.net.send(packet, self._interface)

    def _answer(self, kind: int, wait: float) -> Steps[tuple[IPv4Address, dict[int, bytes]] | None]:
        deadline = self._system.guest.now() + wait
        while True:
            while self._inbox:
                found = self._inbox.popleft()
                if found[1].get(KIND) == bytes((kind,)):
                    return found
            left = deadline - self._system.guest.now()
            if left <= 0:
                return None
            yield Wait(left, signal=self._arrived)

    def _set(self, ip: IPv4Address, options: dict[int, bytes]) -> None:
        name = self._interface.name
        mask = IPv4Address(options.get(MASK, bytes((255, 255, 255, 0))))
        length = IPv4Network(f"0.0.0.0/{mask}").prefixlen
        self._system.ip(["address", "flush", "dev", name])
        self._system.ip(["address", "add", f"{ip}/{length}", "dev", name])
        if ROUTER in options:
            router = str(IPv4Address(options[ROUTER][:4]))
            self._system.ip(["route", "replace", "default", "via", router, "dev", name])
        given = options.get(SERVERS, b"")
        servers = [str(IPv4Address(given[at : at + 4])) for at in range(0, len(given), 4)]
        text = "".join(f"nameserver {one}\n" for one in servers)
        self._system.files.write("/etc/resolv.conf", text.encode())
