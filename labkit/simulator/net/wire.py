"""Packets as bytes and back: Ethernet, ARP, IPv4, IPv6, ICMP, UDP and TCP, with checksums."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
BROADCAST = b"\xff" * 6
ETHERNET_HEADER = 14
ARP_REQUEST, ARP_REPLY = 1, 2
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 8, 11
UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6, ECHO_REQUEST6, ECHO_REPLY6 = 1, 2, 3, 128, 129
SOLICIT_ROUTER6, SOLICIT6, ADVERTISE6 = 133, 135, 136
NET, HOST, PROTOCOL, PORT, TOO_BIG = range(5)  # codes of UNREACHABLE
DONT_FRAGMENT, MORE_FRAGMENTS = 2, 1
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Malformed(Exception):
    """These bytes are no such packet."""


def checksum(data: bytes) -> int:
    """The internet checksum."""
    if len(data) % 2:
        data += b"\0"
    number = int.from_bytes(data, "big")
    # the sum of all 16-bit words with its carries is the number modulo 65535; of its two zeros
    # only no data at all has the positive one
    rest = number % 0xFFFF
    return 0xFFFF - (rest or 0xFFFF if number else 0)


def ethernet(destination: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return destination + source + struct.pack("!H", kind) + payload


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


@dataclass(frozen=True, slots=True)
class Arp:
    """A request or reply for an IPv4 address."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    target: IPv4Address

    def encode(self) -> bytes:
        head = struct.pack("!HHBBH", 1, IPV4, 6, 4, self.operation)
        return head + self.sender_mac + self.sender.packed + self.target_mac + self.target.packed

    @classmethod
    def decode(cls, data: bytes) -> Arp:
        if len(data) < 28 or data[:6] != b"\0\1\x08\0\6\4":
            raise Malformed
        return cls(
            int.from_bytes(data[6:8], "big"),
            data[8:14],
            IPv4Address(data[14:18]),
            data[18:24],
            IPv4Address(data[24:28]),
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet of either version; `offset` is in bytes."""

    source: Address
    destination: Address
    protocol: int
    payload: bytes
    ttl: int = 64
    ident: int = 0
    flags: int = 0
    offset: int = 0
    traffic_class: int = 0

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def kind(self) -> int:
        """Its type in an Ethernet header."""
        return IPV4 if self.version == 4 else IPV6

    @property
    def size(self) -> int:
        return len(self.payload) + (20 if self.version == 4 else 40)

    def encode(self) -> bytes:
        if self.version == 6:
            return (
                struct.pack(
                    "!IHBB",
                    6 << 28 | self.traffic_class << 20,
                    len(self.payload),
                    self.protocol,
                    self.ttl,
                )
                + self.source.packed
                + self.destination.packed
                + self.payload
            )
        place = self.flags << 13 | self.offset // 8
        head = struct.pack(
            "!BBHHHBBH",
            0x45,
            self.traffic_class,
            self.size,
            self.ident,
            place,
            self.ttl,
            self.protocol,
            0,
        )
        head += self.source.packed + self.destination.packed
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Packet:
        """A whole packet; also the cut-off one that an error quotes."""
        if data[:1] and data[0] >> 4 == 6 and len(data) >= 40:
            first, size, protocol, ttl = struct.unpack_from("!IHBB", data)
            source, destination = ip_address(data[8:24]), ip_address(data[24:40])
            return cls(
                source,
                destination,
                protocol,
                data[40 : 40 + size],
                ttl,
                traffic_class=first >> 20 & 255,
            )
        if len(data) < 20 or data[0] >> 4 != 4:
            raise Malformed
        _, service, size, ident, place, ttl, protocol = struct.unpack_from("!BBHHHBB", data)
        start = (data[0] & 15) * 4
        return cls(
            IPv4Address(data[12:16]),
            IPv4Address(data[16:20]),
            protocol,
            data[start:size],
            ttl,
            ident,
            place >> 13,
            (place & 0x1FFF) * 8,
            service,
        )

    def hop(self) -> Packet:
        """As it goes on behind a router."""
        return Packet(
            self.source,
            self.destination,
            self.protocol,
            self.payload,
            self.ttl - 1,
            self.ident,
            self.flags,
            self.offset,
            self.traffic_class,
        )

    def checked(self) -> bool:
        """Whether what it carries arrived as it was sent."""
        if self.offset or self.flags & MORE_FRAGMENTS:
            return True
        if self.protocol == ICMP:
            return checksum(self.payload) == 0
        if self.protocol == UDP and self.payload[6:8] == b"\0\0":
            return True
        if self.protocol in (TCP, UDP, ICMP6):
            return checksum(_pseudo(self) + self.payload) == 0
        return True


def header_is_sound(data: bytes) -> bool:
    """Whether an IPv4 header arrived as it was sent."""
    return data[0] >> 4 != 4 or checksum(data[: (data[0] & 15) * 4]) == 0


def _pseudo(packet: Packet) -> bytes:
    ends = packet.source.packed + packet.destination.packed
    if packet.version == 4:
        return ends + struct.pack("!HH", packet.protocol, len(packet.payload))
    return ends + struct.pack("!II", len(packet.payload), packet.protocol)


def summed(packet: Packet, at: int) -> Packet:
    """The packet with the checksum of its payload put in, which is zero there until now."""
    data = packet.payload
    covered = data if packet.protocol == ICMP else _pseudo(packet) + data
    value = checksum(covered)
    if packet.protocol == UDP and not value:
        value = 0xFFFF
    return replace(packet, payload=data[:at] + struct.pack("!H", value) + data[at + 2 :])


@dataclass(frozen=True, slots=True)
class Icmp:
    """A message of ICMP or ICMPv6: `rest` are the four bytes behind the checksum."""

    type: int
    code: int
    rest: bytes = b"\0\0\0\0"
    body: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Icmp:
        if len(data) < 8:
            raise Malformed
        return cls(data[0], data[1], data[4:8], data[8:])

    @classmethod
    def echo(cls, kind: int, ident: int, sequence: int, body: bytes) -> Icmp:
        return cls(kind, 0, struct.pack("!HH", ident, sequence & 0xFFFF), body)

    @property
    def ident(self) -> int:
        return int.from_bytes(self.rest[:2], "big")

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.rest[2:], "big")

    def packet(self, source: Address, destination: Address, ttl: int = 64) -> Packet:
        data = bytes((self.type, self.code, 0, 0)) + self.rest + self.body
        protocol = ICMP if source.version == 4 else ICMP6
        return summed(Packet(source, destination, protocol, data, ttl), 2)


@dataclass(frozen=True, slots=True)
class Datagram:
    """UDP."""

    source_port: int
    destination_port: int
    data: bytes

    @classmethod
    def decode(cls, data: bytes) -> Datagram:
        if len(data) < 8:
            raise Malformed
        source, destination, size = struct.unpack_from("!HHH", data)
        return cls(source, destination, data[8:size])

    def packet(self, source: Address, destination: Address, ttl: int = 64) -> Packet:
        size = 8 + len(self.data)
        data = struct.pack("!HHHH", self.source_port, self.destination_port, size, 0) + self.data
        return summed(Packet(source, destination, UDP, data, ttl), 6)


@dataclass(frozen=True, slots=True)
class Segment:
    """TCP; `mss` is told with SYN."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledged: int
    flags: int
    window: int
    data: bytes = b""
    mss: int = 0

    @classmethod
    def decode(cls, data: bytes) -> Segment:
        if len(data) < 20:
            raise Malformed
        source, destination, sequence, acknowledged, start, flags, window = struct.unpack_from(
            "!HHIIBBH", data
        )
        start = (start >> 4) * 4
        mss = int.from_bytes(data[22:24], "big") if data[20:22] == b"\2\4" and start >= 24 else 0
        return cls(source, destination, sequence, acknowledged, flags, window, data[start:], mss)

    @property
    def length(self) -> int:
        """How far it moves the sequence on."""
        return len(self.data) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def packet(self, source: Address, destination: Address, ttl: int = 64) -> Packet:
        options = struct.pack("!BBH", 2, 4, self.mss) if self.mss else b""
        head = struct.pack(
            "!HHIIBBHHH",
            self.source_port,
            self.destination_port,
            self.sequence & 0xFFFFFFFF,
            self.acknowledged & 0xFFFFFFFF,
            (20 + len(options)) // 4 << 4,
            self.flags,
            self.window,
            0,
            0,
        )
        packet = Packet(
            source,
            destination,
            TCP,
            head + options + self.data,
            ttl,
            flags=DONT_FRAGMENT if source.version == 4 else 0,
        )
        return summed(packet, 16)


@dataclass(slots=True)
class Reassembly:
    """The fragments of one IPv4 packet that have come so far."""

    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = -1

    def add(self, packet: Packet) -> bytes | None:
        """One more; the whole payload once it is there."""
        self.pieces[packet.offset] = packet.payload
        if not packet.flags & MORE_FRAGMENTS:
            self.size = packet.offset + len(packet.payload)
        whole = b""
        while len(whole) in self.pieces and len(whole) != self.size:
            whole += self.pieces[len(whole)]
        return whole if len(whole) == self.size else None


def fragments(packet: Packet, mtu: int) -> list[Packet]:
    """An IPv4 packet in pieces that fit."""
    room = (mtu - 20) // 8 * 8
    starts = range(0, len(packet.payload), room)
    return [
        replace(
            packet,
            payload=packet.payload[at : at + room],
            offset=packet.offset + at,
            flags=packet.flags | (MORE_FRAGMENTS if at + room < len(packet.payload) else 0),
        )
        for at in starts
    ]
