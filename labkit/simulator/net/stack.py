"""The network stack of a simulated guest: frames in, frames out, and what is done in between."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_interface
from random import Random

from labkit.simulator.net import wire
from labkit.simulator.net.control import Control
from labkit.simulator.net.interfaces import Assigned, Interface
from labkit.simulator.net.neighbours import Neighbours
from labkit.simulator.net.nic import Nic
from labkit.simulator.net.resolution import Resolution
from labkit.simulator.net.routes import Network, Route, Routes
from labkit.simulator.net.settings import NetworkSettings
from labkit.simulator.net.tcp import Tcp
from labkit.simulator.net.udp import Udp
from labkit.simulator.net.wire import Address, Packet, Reassembly
from labkit.simulator.waiting import Times

WORK_SECONDS, WORK_VARIES = 0.00015, 0.0001  # what a guest takes for a frame
LOOPBACK_SECONDS = 0.00003
ALL4 = IPv4Address("255.255.255.255")


class Stack:
    """Interfaces, routes, neighbours and what speaks through them."""

    def __init__(self, times: Times, random: Random) -> None:
        self.times = times
        self.random = random
        self.settings = NetworkSettings()
        self.interfaces: list[Interface] = [Interface(1, "lo")]
        self.routes = Routes()
        self.resolution = Resolution(self)
        self.neighbours = Neighbours(
            times, self.resolution.ask, self._to_mac, self._neighbour_is_silent
        )
        self.control = Control(self)
        self.udp = Udp(self)
        self.tcp = Tcp(self)
        self._own: set[Address] | None = None  # None: to be found anew
        self._all: set[Address] = set()
        self._free = 0.0  # when the frames before this one are done
        self._ident = random.randrange(1 << 16)
        self._reassembly: dict[tuple[Address, Address, int, int], Reassembly] = {}

    # ---- interfaces

    def plug_in(self, nic: Nic) -> Interface:
        """A new interface for a NIC, with the next name that is free."""
        taken = {one.name for one in self.interfaces}
        number = next(i for i in range(len(taken) + 1) if f"eth{i}" not in taken)
        interface = Interface(self.interfaces[-1].index + 1, f"eth{number}", nic)
        nic.receive = partial(self._arrive, interface)
        nic.carrier_changed = partial(self._carrier, interface)
        self.interfaces.append(interface)
        return interface

    def unplug(self, nic: Nic) -> None:
        for interface in [one for one in self.interfaces if one.nic is nic]:
            self.set_up(interface, up=False)
            self.interfaces.remove(interface)
        nic.leave()

    def interface(self, name: str) -> Interface | None:
        return next((one for one in self.interfaces if one.name == name), None)

    def set_up(self, interface: Interface, *, up: bool) -> None:
        """As ``ip link set``: routes over it go, connected ones come back with it."""
        if up == interface.is_up:
            return
        interface.is_up, self._own = up, None
        if not up:
            self.routes.forget(interface)
            self.neighbours.forget(interface)
            interface.addresses = interface.of(4)
        elif interface.is_loopback:
            self._start_loopback(interface)
        else:
            for one in interface.of(4):
                self._connect(interface, one.value.network, one.ip, secondary=one.is_secondary)
            self.assign(interface, str(interface.link_local))
            self.resolution.look_for_routers(interface)

    def _start_loopback(self, interface: Interface) -> None:
        for text in ("127.0.0.1/8", "::1/128"):
            if not interface.has(ip_interface(text).ip):
                interface.assign(text)

    def _carrier(self, interface: Interface) -> None:
        if interface.is_up and not interface.has_carrier:
            self.neighbours.forget(interface)

    def assign(
        self, interface: Interface, text: str, *, broadcast: str = "", label: str = ""
    ) -> None:
        """Add an address and the route to its network."""
        one = interface.assign(text, broadcast=broadcast)
        one.label = label
        self._own = None
        if interface.is_up and not interface.is_loopback:
            secondary = one.is_secondary
            self._connect(interface, one.value.network, one.ip, secondary=secondary)
            if one.value.version == 6:
                self.resolution.detect_duplicates(interface, one)

    def _connect(
        self, interface: Interface, network: Network, ip: Address, *, secondary: bool
    ) -> None:
        if secondary or network.prefixlen == network.max_prefixlen:
            return
        metric = 256 if network.version == 6 else 0
        source = ip if network.version == 4 else None
        self.routes.add(Route(network, interface, None, metric, "kernel", source))

    def unassign(self, interface: Interface, gone: Assigned) -> None:
        """Take an address away, and its route when it was the last one there."""
        interface.addresses.remove(gone)
        self._own = None
        rest = [one for one in interface.addresses if one.value.network == gone.value.network]
        if rest and not gone.is_secondary:
            # as Linux does by default: those beside it go with it
            for one in rest:
                interface.addresses.remove(one)
            rest = []
        if not rest:
            for route in list(self.routes):
                is_its = route.interface is interface and (
                    (route.protocol == "kernel" and route.network == gone.value.network)
                    or (route.gateway is not None and route.gateway in gone.value.network)
                )
                if is_its or (route.source == gone.ip and not interface.has(gone.ip)):
                    self.routes.remove(route)

    def is_own(self, ip: Address) -> bool:
        """Whether packets to it come to us; all of 127.0.0.0/8 does."""
        if ip.is_loopback and ip.version == 4:
            return self.interfaces[0].is_up
        if self._own is None:
            up = [one for one in self.interfaces if one.is_up]
            self._own = {entry.ip for one in up for entry in one.addresses}
            self._all = {
                entry.value.network.broadcast_address
                for one in up
                if not one.is_loopback
                for entry in one.of(4)
                if entry.value.network.prefixlen < 31
            }
        return ip in self._own

    def owner(self, ip: Address) -> Interface | None:
        return next((one for one in self.interfaces if one.is_up and one.has(ip)), None)

    # ---- in

    def _arrive(self, interface: Interface, frame: bytes) -> None:
        """A frame from the NIC: it takes its turn."""
        if not interface.is_up:
            return
        work = WORK_SECONDS + WORK_VARIES * self.random.random()
        self._free = max(self._free, self.times.now()) + work
        self.times.call_later(self._free - self.times.now(), partial(self._input, interface, frame))

    def _input(self, interface: Interface, frame: bytes) -> None:
        if not interface.is_up or len(frame) < wire.ETHERNET_HEADER:
            return
        counters = interface.counters
        counters.rx_packets += 1
        counters.rx_bytes += len(frame)
        for tap in list(interface.taps):
            tap(frame)
        to, kind = frame[:6], int.from_bytes(frame[12:14], "big")
        if to[0] & 1:
            counters.multicast += to != wire.BROADCAST
        elif to != interface.mac and not interface.is_loopback:
            return
        data = frame[wire.ETHERNET_HEADER :]
        try:
            if kind == wire.ARP:
                self.resolution.arp(interface, wire.Arp.decode(data))
            elif kind in (wire.IPV4, wire.IPV6) and wire.header_is_sound(data):
                self._packet(interface, Packet.decode(data))
        except (wire.Malformed, IndexError):
            return

    def _packet(self, interface: Interface, packet: Packet) -> None:
        to = packet.destination
        if self.is_own(to) or self.is_for_all(to):
            whole = self._whole(packet)
            if whole is not None and whole.checked():
                self._deliver(interface, whole)
        elif self.settings.forwards(packet.version):
            self._forward(interface, packet)

    def is_for_all(self, ip: Address) -> bool:
        """Whether it is a broadcast or multicast address we listen to."""
        if ip == ALL4 or ip.is_multicast:
            return True
        return not self.is_own(ip) and ip in self._all

    def _whole(self, packet: Packet) -> Packet | None:
        if not packet.offset and not packet.flags & wire.MORE_FRAGMENTS:
            return packet
        key = (packet.source, packet.destination, packet.protocol, packet.ident)
        payload = self._reassembly.setdefault(key, Reassembly()).add(packet)
        if payload is None:
            return None
        del self._reassembly[key]
        return replace(packet, payload=payload, offset=0, flags=0)

    def _deliver(self, interface: Interface, packet: Packet) -> None:
        if packet.protocol in (wire.ICMP, wire.ICMP6):
            self.control.receive(interface, packet)
        elif packet.protocol == wire.UDP:
            self.udp.receive(interface, packet)
        elif packet.protocol == wire.TCP:
            self.tcp.receive(packet)
        elif not self.is_for_all(packet.destination):
            self.control.complain(packet, wire.UNREACHABLE, wire.PROTOCOL)

    def _forward(self, interface: Interface, packet: Packet) -> None:
        route = self.routes.lookup(packet.destination)
        if route is None:
            self.control.complain(packet, wire.UNREACHABLE, wire.NET, interface)
        elif route.kind != "unicast":
            if route.kind != "blackhole":
                self.control.complain(packet, wire.UNREACHABLE, wire.HOST, interface)
        elif packet.ttl <= 1:
            self.control.complain(packet, wire.TIME_EXCEEDED, 0, interface)
        else:
            self._route(route, packet.hop())

    # ---- out

    def source_for(self, ip: Address, interface: Interface | None = None) -> Address | None:
        """The address we speak from to another one; None without a way there."""
        if self.is_own(ip):
            return ip
        route = self.routes.lookup(ip, interface)
        if route is None or route.interface is None:
            return None
        if route.source is not None:
            return route.source
        near = route.interface.near(route.gateway or ip)
        if near is not None:
            return near.ip
        own = route.interface.of(ip.version)
        if not own:
            own = [
                entry
                for one in self.interfaces
                for entry in one.of(ip.version)
                if entry.scope == "global"
            ]
        return own[0].ip if own else None

    def next_ident(self) -> int:
        self._ident = (self._ident + 1) & 0xFFFF
        return self._ident

    def send(self, packet: Packet, interface: Interface | None = None) -> bool:
        """Send one of our own; False when there is no way there."""
        if packet.version == 4 and not packet.ident:
            packet = replace(packet, ident=self.next_ident())
        to = packet.destination
        if self.is_own(to):
            self._loop(packet)
            return True
        if interface is not None and (to.is_multicast or to == ALL4 or _is_link_local(to)):
            self._transmit(interface, to, packet)
            return True
        route = self.routes.lookup(to, interface)
        if route is None or route.kind != "unicast":
            return False
        self._route(route, packet)
        return True

    def _loop(self, packet: Packet) -> None:
        lo = self.interfaces[0]
        frame = wire.ethernet(bytes(6), bytes(6), packet.kind, packet.encode())
        if lo.is_up:
            lo.counters.tx_packets += 1
            lo.counters.tx_bytes += len(frame)
            self.times.call_later(LOOPBACK_SECONDS, partial(self._input, lo, frame))

    def _route(self, route: Route, packet: Packet) -> None:
        assert route.interface is not None
        self._transmit(route.interface, route.gateway or packet.destination, packet)

    def _transmit(self, interface: Interface, hop: Address, packet: Packet) -> None:
        if packet.size > interface.mtu:
            if packet.version == 6 or packet.flags & wire.DONT_FRAGMENT:
                self.control.too_big(packet, interface.mtu)
                return
            for piece in wire.fragments(packet, interface.mtu):
                self._transmit(interface, hop, piece)
            return
        group = _group_mac(interface, hop)
        if group:
            self._to_mac(interface, group, packet)
        else:
            self.neighbours.send(interface, hop, packet)

    def _to_mac(self, interface: Interface, mac: bytes, packet: Packet) -> None:
        self.send_frame(interface, wire.ethernet(mac, interface.mac, packet.kind, packet.encode()))

    def send_frame(self, interface: Interface, frame: bytes) -> None:
        if not interface.is_up or interface.nic is None:
            return
        interface.counters.tx_packets += 1
        interface.counters.tx_bytes += len(frame)
        for tap in list(interface.taps):
            tap(frame)
        interface.nic.send(frame)

    def _neighbour_is_silent(self, packet: Packet) -> None:
        self.control.complain(packet, wire.UNREACHABLE, wire.HOST)


def _is_link_local(ip: Address) -> bool:
    return isinstance(ip, IPv6Address) and ip.is_link_local


def _group_mac(interface: Interface, ip: Address) -> bytes:
    """The MAC address of a broadcast or multicast address, or nothing."""
    if isinstance(ip, IPv6Address):
        return b"\x33\x33" + ip.packed[12:] if ip.is_multicast else b""
    if ip.is_multicast:
        low = bytes((ip.packed[1] & 127,)) + ip.packed[2:]
        return b"\x01\x00\x5e" + low
    near = interface.near(ip)
    is_all = ip == ALL4 or (near is not None and ip == near.value.network.broadcast_address)
    return wire.BROADCAST if is_all else b""
