"""What stands behind a machine's user networking: a gateway with DHCP, and no way further on."""

from __future__ import annotations

import struct
from functools import partial
from ipaddress import IPv4Address

from labkit.simulator.net import wire
from labkit.simulator.net.nic import Line, Nic
from labkit.simulator.net.wire import Arp, Datagram, Icmp, Packet
from labkit.simulator.world import World

GATEWAY, NAME_SERVER = IPv4Address("10.60.7.1"), IPv4Address("10.60.7.2")
MASK = bytes((255, 255, 255, 0))
MAC = bytes((0x52, 0x55, 10, 60, 7, 1))
NOBODY = IPv4Address("0.0.0.0")
EVERYBODY = IPv4Address("255.255.255.255")
ANSWER_SECONDS = 0.0004
TTL = 255
LEASE_SECONDS = 86400
COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACKNOWLEDGE = 1, 2, 3, 5
SERVER_PORT, CLIENT_PORT, NAME_PORT = 67, 68, 53
SERVER_FAILURE = 2


class Gateway:
    """Answers as QEMU's user networking does on a host that has no network itself."""

    def __init__(self, world: World, line: Line, address: str) -> None:
        self._world = world
        self._address = IPv4Address(address or "10.60.7.15")
        self._nic = Nic(line, wire.mac_text(MAC))
        self._nic.receive = self._receive

    def _receive(self, frame: bytes) -> None:
        kind, source, data = int.from_bytes(frame[12:14], "big"), frame[6:12], frame[14:]
        try:
            if kind == wire.ARP:
                self._arp(Arp.decode(data))
            elif kind == wire.IPV4:
                self._packet(source, Packet.decode(data))
        except (wire.Malformed, IndexError):
            return

    def _send(self, to: bytes, kind: int, data: bytes) -> None:
        frame = wire.ethernet(to, MAC, kind, data)
        self._world.call_later(ANSWER_SECONDS, partial(self._nic.send, frame))

    def _arp(self, arp: Arp) -> None:
        if arp.operation == wire.ARP_REQUEST and arp.target in (GATEWAY, NAME_SERVER):
            reply = Arp(wire.ARP_REPLY, MAC, arp.target, arp.sender_mac, arp.sender)
            self._send(arp.sender_mac, wire.ARP, reply.encode())

    def _packet(self, mac: bytes, packet: Packet) -> None:
        to, protocol = packet.destination, packet.protocol
        if protocol == wire.UDP:
            datagram = Datagram.decode(packet.payload)
            if datagram.destination_port == SERVER_PORT:
                self._lease(mac, datagram.data)
                return
            if to == NAME_SERVER and datagram.destination_port == NAME_PORT:
                self._do_not_know(mac, packet, datagram)
                return
        if to == GATEWAY and protocol == wire.ICMP:
            message = Icmp.decode(packet.payload)
            if message.type == wire.ECHO_REQUEST:
                reply = Icmp(wire.ECHO_REPLY, 0, message.rest, message.body)
                self._answer(mac, reply.packet(GATEWAY, packet.source, TTL))
        elif to not in (GATEWAY, NAME_SERVER, EVERYBODY) and to.packed[:3] != GATEWAY.packed[:3]:
            error = Icmp(wire.UNREACHABLE, wire.NET, bytes(4), packet.encode()[:548])
            self._answer(mac, error.packet(GATEWAY, packet.source, TTL))

    def _answer(self, mac: bytes, packet: Packet) -> None:
        self._send(mac, wire.IPV4, packet.encode())

    def _do_not_know(self, mac: bytes, packet: Packet, question: Datagram) -> None:
        """The name server's server does not answer it either."""
        flags = 0x8180 | SERVER_FAILURE
        data = question.data[:2] + struct.pack("!H", flags) + question.data[4:]
        answer = Datagram(NAME_PORT, question.source_port, data)
        self._answer(mac, answer.packet(packet.destination, packet.source))

    def _lease(self, mac: bytes, data: bytes) -> None:
        kind = dhcp_kind(data)
        if kind not in (DISCOVER, REQUEST):
            return
        answer = OFFER if kind == DISCOVER else ACKNOWLEDGE
        options = {
            53: bytes((answer,)),
            54: GATEWAY.packed,
            51: struct.pack("!I", LEASE_SECONDS),
            1: MASK,
            3: GATEWAY.packed,
            6: NAME_SERVER.packed,
        }
        text = dhcp(2, data[4:8], mac, options, self._address, GATEWAY)
        packet = Datagram(SERVER_PORT, CLIENT_PORT, text).packet(GATEWAY, EVERYBODY)
        self._send(wire.BROADCAST, wire.IPV4, packet.encode())


def dhcp(
    operation: int,
    number: bytes,
    mac: bytes,
    options: dict[int, bytes],
    given: IPv4Address = NOBODY,
    server: IPv4Address = NOBODY,
) -> bytes:
    """A message of DHCP."""
    head = struct.pack("!BBBB4sHH4s", operation, 1, 6, 0, number, 0, 0, bytes(4))
    head += given.packed + server.packed + bytes(4) + mac.ljust(16, b"\0") + bytes(192)
    told = b"".join(bytes((code, len(value))) + value for code, value in options.items())
    return head + COOKIE + told + b"\xff"


def dhcp_options(data: bytes) -> dict[int, bytes]:
    """The options of a message of DHCP."""
    found, at = {}, data.find(COOKIE) + 4
    while 4 <= at < len(data) - 1 and data[at] != 255:
        size = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def dhcp_kind(data: bytes) -> int:
    return dhcp_options(data).get(53, b"\0")[0]
