"""Finding MAC addresses: ARP for IPv4, neighbour discovery for IPv6."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from labkit.simulator.net import wire
from labkit.simulator.net.interfaces import Assigned, Interface
from labkit.simulator.net.neighbours import Neighbour
from labkit.simulator.net.wire import Arp, Icmp, Packet

if TYPE_CHECKING:
    from labkit.simulator.net.stack import Stack

ALL_ROUTERS = IPv6Address("ff02::2")
ALL_NODES = IPv6Address("ff02::1")
NOBODY = IPv6Address("::")
DETECTION_SECONDS = 1.0
SOLICITATIONS, SOLICITATION_SECONDS = 3, 4.0
SOURCE_OPTION, TARGET_OPTION = b"\1\1", b"\2\1"
SOLICITED, OVERRIDE, ROUTER = 0x40, 0x20, 0x80


class Resolution:
    """Asks, answers, and tells the neighbour table."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def ask(self, neighbour: Neighbour, broadcast: bool) -> None:  # noqa: FBT001 - a callback
        interface, ip = neighbour.interface, neighbour.ip
        if isinstance(ip, IPv4Address):
            source = self._arp_source(interface, ip)
            to = wire.BROADCAST if broadcast else neighbour.mac
            request = Arp(wire.ARP_REQUEST, interface.mac, source, bytes(6), ip)
            self._send_arp(interface, to, request)
            return
        near = interface.near(ip)
        source6 = near.ip if near else interface.link_local.ip
        self._solicit(interface, source6, ip, b"" if broadcast else neighbour.mac)

    def _arp_source(self, interface: Interface, ip: IPv4Address) -> IPv4Address:
        near = interface.near(ip)
        own = near.ip if near else self._stack.source_for(ip, interface)
        return own if isinstance(own, IPv4Address) else IPv4Address(0)

    def _send_arp(self, interface: Interface, to: bytes, arp: Arp) -> None:
        frame = wire.ethernet(to, interface.mac, wire.ARP, arp.encode())
        self._stack.send_frame(interface, frame)

    def arp(self, interface: Interface, arp: Arp) -> None:
        """A request or reply has come."""
        learn = self._stack.neighbours.learn
        is_ours = self._stack.is_own(arp.target)
        if arp.operation == wire.ARP_REQUEST and is_ours and not interface.is_loopback:
            if int(arp.sender):
                learn(interface, arp.sender, arp.sender_mac, confirmed=False)
            reply = Arp(wire.ARP_REPLY, interface.mac, arp.target, arp.sender_mac, arp.sender)
            self._send_arp(interface, arp.sender_mac, reply)
        elif arp.operation == wire.ARP_REPLY:
            learn(interface, arp.sender, arp.sender_mac, confirmed=is_ours, is_new=False)
        elif int(arp.sender):
            learn(interface, arp.sender, arp.sender_mac, confirmed=False, is_new=False)

    # ---- IPv6

    def detect_duplicates(self, interface: Interface, address: Assigned) -> None:
        """Ask whether somebody else has it; until then it is tentative."""
        address.is_tentative = True
        ip = address.ip
        assert isinstance(ip, IPv6Address)
        self._solicit(interface, NOBODY, ip, b"")

        def done() -> None:
            address.is_tentative = False

        self._stack.times.call_later(DETECTION_SECONDS, done)

    def look_for_routers(self, interface: Interface, times: int = SOLICITATIONS) -> None:
        def ask() -> None:
            forwards = self._stack.settings.forwards(6)
            if interface.is_up and not forwards and interface in self._stack.interfaces:
                self._solicit_router(interface)
                if times > 1:
                    self.look_for_routers(interface, times - 1)

        first = DETECTION_SECONDS if times == SOLICITATIONS else SOLICITATION_SECONDS
        self._stack.times.call_later(first, ask)

    def _solicit_router(self, interface: Interface) -> None:
        body = SOURCE_OPTION + interface.mac
        message = Icmp(wire.SOLICIT_ROUTER6, 0, bytes(4), body)
        packet = message.packet(interface.link_local.ip, ALL_ROUTERS, 255)
        self._stack.send(packet, interface)

    def _solicit(
        self, interface: Interface, source: wire.Address, target: IPv6Address, mac: bytes
    ) -> None:
        option = b"" if source == NOBODY else SOURCE_OPTION + interface.mac
        message = Icmp(wire.SOLICIT6, 0, bytes(4), target.packed + option)
        if mac:
            packet = message.packet(source, target, 255)
            frame = wire.ethernet(mac, interface.mac, wire.IPV6, packet.encode())
            self._stack.send_frame(interface, frame)
            return
        group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + target.packed[13:])
        self._stack.send(message.packet(source, group, 255), interface)

    def neighbour_message(self, interface: Interface, packet: Packet, message: Icmp) -> None:
        """A solicitation or advertisement has come."""
        if len(message.body) < 16 or packet.ttl != 255:
            return
        target = IPv6Address(message.body[:16])
        mac = message.body[18:24] if message.body[16:18] in (SOURCE_OPTION, TARGET_OPTION) else b""
        learn = self._stack.neighbours.learn
        if message.type == wire.ADVERTISE6:
            solicited = bool(message.rest[0] & SOLICITED)
            if mac:
                learn(interface, target, mac, confirmed=solicited, is_new=False)
                known = self._stack.neighbours.find(interface, target)
                if known is not None:
                    known.is_router = bool(message.rest[0] & ROUTER)
            return
        if not interface.has(target):
            return
        if mac and packet.source != NOBODY:
            learn(interface, packet.source, mac, confirmed=False)
        self._stack.times.call_later(0, partial(self._advertise, interface, packet, target))

    def _advertise(self, interface: Interface, packet: Packet, target: IPv6Address) -> None:
        flags = OVERRIDE | (ROUTER if self._stack.settings.forwards(6) else 0)
        to: wire.Address = ALL_NODES
        if packet.source != NOBODY:
            flags, to = flags | SOLICITED, packet.source
        body = target.packed + TARGET_OPTION + interface.mac
        message = Icmp(wire.ADVERTISE6, 0, bytes((flags, 0, 0, 0)), body)
        self._stack.send(message.packet(target, to, 255), interface)
