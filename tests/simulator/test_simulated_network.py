"""The simulated network stack: its packets as others read them, and TCP on bad lines."""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.programs.frame_headers import dissect
from labkit.simulator.net import wire
from labkit.simulator.net.neighbours import Neighbour, Neighbours
from labkit.simulator.net.nic import Nic
from labkit.simulator.net.stack import Stack
from labkit.simulator.net.tcp_connection import Connection
from labkit.simulator.net.wire import Arp, Datagram, Icmp, Packet, Reassembly, Segment
from thorough import examples

FOUR = st.integers(1, 2**32 - 2).map(IPv4Address)
SIX = st.integers(1, 2**128 - 2).map(IPv6Address)
ENDS = st.one_of(st.tuples(FOUR, FOUR), st.tuples(SIX, SIX))
MAC = b"\x52\x54\0\0\0\1"


class Times:
    """Time that passes when a test lets it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._now + seconds, next(self._numbers), callback))

    def run(self, seconds: float) -> None:
        end = self._now + seconds
        while self._due and self._due[0][0] <= end:
            self._now, _, callback = heapq.heappop(self._due)
            callback()
        self._now = end


def slow_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total = (total + word & 0xFFFF) + (total + word >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=300) | st.sampled_from([b"", bytes(4), b"\xff" * 6, b"\xff\xff\0\0"]))
def test_the_checksum_is_that_of_the_internet(data: bytes) -> None:
    assert wire.checksum(data) == slow_checksum(data)


@given(ENDS, st.binary(max_size=64), st.integers(1, 255), st.integers(0, 65535))
def test_packets_survive_the_way_and_are_sound(
    ends: tuple[wire.Address, wire.Address], data: bytes, ttl: int, port: int
) -> None:
    for packet in (
        Datagram(port, 7, data).packet(*ends, ttl),
        Segment(port, 7, 1, 2, wire.ACK, 100, data).packet(*ends, ttl),
        Icmp.echo(wire.ECHO_REQUEST, port, 1, data).packet(*ends, ttl),
    ):
        encoded = packet.encode()
        again = Packet.decode(encoded)
        assert again == packet
        assert again.checked()
        assert wire.header_is_sound(encoded)
    assert Datagram.decode(Datagram(port, 7, data).packet(*ends).payload).data == data


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10**6))
def test_a_flipped_bit_is_noticed(data: bytes, place: int) -> None:
    packet = Datagram(1000, 2000, data).packet(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
    encoded = bytearray(packet.encode())
    bit = place % (8 * len(encoded))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        changed = Packet.decode(bytes(encoded))
    except wire.Malformed:
        return
    assert not (wire.header_is_sound(bytes(encoded)) and changed.checked()) or bit // 8 in (26, 27)


@given(st.binary(min_size=1, max_size=5000), st.permutations(range(4)))
def test_fragments_become_whole_in_any_order(data: bytes, order: list[int]) -> None:
    ends = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    packet = Datagram(1, 2, data).packet(*ends)
    pieces = wire.fragments(packet, 1500)
    assert all(piece.size <= 1500 for piece in pieces)
    whole = None
    reassembly = Reassembly()
    for place in [place for place in order if place < len(pieces)]:
        whole = reassembly.add(pieces[place])
    assert whole == packet.payload


def test_frames_read_as_they_were_meant() -> None:
    near, far = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    request = Arp(wire.ARP_REQUEST, MAC, near, bytes(6), far)
    frame = wire.ethernet(wire.BROADCAST, MAC, wire.ARP, request.encode())
    assert dissect(frame)["info"] == "Who has 10.0.0.2? Tell 10.0.0.1"
    ping = Icmp.echo(wire.ECHO_REQUEST, 7, 3, b"data").packet(near, far)
    row = dissect(wire.ethernet(MAC, MAC, wire.IPV4, ping.encode()))
    assert (row["protocol"], row["info"]) == ("ICMP", "Echo (ping) request id=7, seq=3, ttl=64")
    syn = Segment(40000, 80, 1, 0, wire.SYN, 100, b"", 1460).packet(near, far)
    row = dissect(wire.ethernet(MAC, MAC, wire.IPV4, syn.encode()))
    assert (row["tcp_flags"], row["destination_port"]) == ("SYN", 80)


# TCP


class Line:
    """Two ends of a connection on a line that loses, doubles and disorders."""

    def __init__(self, seed: int, loss: float) -> None:
        self.times = Times()
        self._random = Random(seed)
        self._loss = loss
        self.made: list[Connection] = []
        self._accepted = False
        self.client = self._end(0, (40000, 80))
        self.server = self._end(1, (80, 40000))

    def _end(self, side: int, ports: tuple[int, int]) -> Connection:
        addresses = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")

        def transmit(segment: Segment) -> None:
            copies = 2 if self._random.random() < self._loss / 2 else 1
            for _ in range(copies):
                if self._random.random() >= self._loss:
                    delay = 0.01 + 0.02 * self._random.random() * bool(self._loss)
                    self.times.call_later(delay, lambda: self._arrive(1 - side, segment))

        return Connection(
            ports,
            addresses,
            self.times,
            transmit,
            self.made.append,
            lambda: None,
            self._random.randrange(1 << 32),
        )

    def _arrive(self, side: int, segment: Segment) -> None:
        end = self.server if side else self.client
        if end.state != "CLOSED":
            end.receive(segment)
        elif side and segment.flags & wire.SYN and not self._accepted:
            self._accepted = True
            end.accept(segment)
        elif not segment.flags & wire.RST:  # as a host does that knows of no such connection
            reset = Segment(0, 0, segment.acknowledged, 0, wire.RST, 0)
            self.times.call_later(0.01, lambda: self._arrive(1 - side, reset))


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.2]), st.binary(max_size=9000).map(bytes)
)
def test_what_is_written_is_read_whatever_the_line_does(
    seed: int, loss: float, data: bytes
) -> None:
    line = Line(seed, loss)
    sent, back = data * 7, data[::-1]
    line.client.open()
    line.client.write(sent)
    line.client.finish()
    line.server.write(back)
    line.server.finish()
    line.times.run(2000)
    assert bytes(line.server.received) == sent
    assert bytes(line.client.received) == back
    assert line.server.has_ended
    assert line.client.has_ended
    assert (line.client.error, line.server.error) == ("", "")


def test_nobody_answers_and_the_connection_gives_up() -> None:
    line = Line(1, 1.0)
    line.client.open()
    line.times.run(1000)
    assert (line.client.state, line.client.error) == ("CLOSED", "Connection timed out")


# neighbours


class Asked:
    def __init__(self) -> None:
        self.times = Times()
        self.asked: list[bool] = []
        self.delivered: list[bytes] = []
        self.given_up: list[Packet] = []
        self.table = Neighbours(
            self.times,
            lambda _neighbour, broadcast: self.asked.append(broadcast),
            lambda _interface, mac, _packet: self.delivered.append(mac),
            self.given_up.append,
        )
        self.interface = Stack(self.times, Random(1)).interfaces[0]
        self.ip = IPv4Address("10.0.0.2")
        self.packet = Datagram(1, 2, b"x").packet(IPv4Address("10.0.0.1"), self.ip)

    def send(self) -> None:
        self.table.send(self.interface, self.ip, self.packet)

    def learn(self, *, confirmed: bool = True) -> None:
        self.table.learn(self.interface, self.ip, MAC, confirmed=confirmed)

    def state(self) -> str:
        found = [one for one in self.table.all() if isinstance(one, Neighbour)]
        return found[0].state if found else ""


def test_a_neighbour_is_asked_for_three_times_and_given_up() -> None:
    asked = Asked()
    asked.send()
    asked.send()
    assert (asked.asked, asked.state()) == ([True], "INCOMPLETE")
    asked.times.run(2.5)
    assert asked.asked == [True] * 3
    asked.times.run(1)
    assert (asked.state(), len(asked.given_up), asked.delivered) == ("FAILED", 2, [])
    asked.send()
    asked.learn()
    assert (asked.state(), asked.delivered) == ("REACHABLE", [MAC])


def test_a_neighbour_not_heard_of_for_long_is_used_and_asked_again() -> None:
    asked = Asked()
    asked.send()
    asked.learn()
    asked.times.run(31)
    assert asked.state() == "STALE"
    asked.send()
    assert (asked.state(), len(asked.delivered)) == ("DELAY", 2)
    asked.times.run(5.5)
    assert (asked.state(), asked.asked) == ("PROBE", [True, False])
    asked.learn()
    assert asked.state() == "REACHABLE"
    asked.times.run(60)
    asked.send()
    asked.times.run(20)
    assert asked.state() == "FAILED"


# the stack


class Wire:
    """A line that hands on what one NIC sends to the other."""

    def __init__(self) -> None:
        self.on_connect: Callable[[], None] = lambda: None
        self.on_data: Callable[[bytes], None] = lambda _data: None
        self.peer: Wire | None = None
        self.backlog = 0

    def send(self, data: bytes) -> None:
        assert self.peer is not None
        self.peer.on_data(data)


def joined() -> tuple[Times, Stack, Stack]:
    times = Times()
    stacks = []
    lines = Wire(), Wire()
    lines[0].peer, lines[1].peer = lines[1], lines[0]
    for number, line in enumerate(lines, 1):
        stack = Stack(times, Random(number))
        interface = stack.plug_in(Nic(line, f"52:54:00:00:00:0{number}"))
        for one in (stack.interfaces[0], interface):
            stack.set_up(one, up=True)
        stack.assign(interface, f"10.0.0.{number}/24")
        stacks.append(stack)
    times.run(2)
    return times, stacks[0], stacks[1]


@pytest.mark.parametrize("target", ["10.0.0.2", "fe80::5054:ff:fe00:2"])
def test_an_echo_is_answered(target: str) -> None:
    times, near, _far = joined()
    heard: list[Icmp] = []
    near.control.watchers.append(lambda _packet, message, _quoted: heard.append(message))
    ip = ip_address(target)
    interface = near.interfaces[1]
    source = interface.addresses[0].ip if ip.version == 4 else interface.link_local.ip
    kind = wire.ECHO_REQUEST if ip.version == 4 else wire.ECHO_REQUEST6
    assert near.send(Icmp.echo(kind, 7, 1, b"hello").packet(source, ip), interface)
    times.run(1)
    assert [(one.ident, one.body) for one in heard] == [(7, b"hello")]


def test_ports_nobody_listens_on_are_told_of() -> None:
    times, near, _far = joined()
    socket = near.udp.open()
    assert socket is not None
    socket.send(IPv4Address("10.0.0.2"), 9, b"x")
    connection = near.tcp.connect(IPv4Address("10.0.0.2"), 9)
    assert connection is not None
    times.run(1)
    assert (socket.error, connection.error) == ("Connection refused", "Connection refused")


def test_an_interface_that_goes_down_takes_its_routes_along() -> None:
    times, near, _far = joined()
    interface = near.interfaces[1]
    assert near.source_for(IPv4Address("10.0.0.2")) == IPv4Address("10.0.0.1")
    near.set_up(interface, up=False)
    assert near.source_for(IPv4Address("10.0.0.2")) is None
    assert [one.value.version for one in interface.addresses] == [4]
    near.set_up(interface, up=True)
    times.run(2)
    assert near.source_for(IPv4Address("10.0.0.2")) == IPv4Address("10.0.0.1")
    assert [one.value.version for one in interface.addresses] == [4, 6]
