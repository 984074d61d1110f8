"""The filters of ``tcpdump`` that labs use: protocols, hosts, nets and ports, with and, or, not."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from labkit.simulator.net import wire
from labkit.simulator.net.wire import Packet

Test = Callable[[bytes], bool]
TOKEN = re.compile(r"\s*(\(|\)|!|&&|\|\||[^\s()!&|]+)")
PROTOCOLS = {"icmp": wire.ICMP, "tcp": wire.TCP, "udp": wire.UDP, "icmp6": wire.ICMP6}
KINDS = {"arp": wire.ARP, "ip": wire.IPV4, "ip6": wire.IPV6}


class FilterError(Exception):
    """It is no filter, or none of those that are simulated."""


def compiled(text: str) -> Test:
    """A filter as a function of a frame."""
    tokens = TOKEN.findall(text)
    if not tokens:
        return lambda _frame: True
    reader = _Reader(tokens)
    test = reader.either()
    if reader.rest:
        raise FilterError("syntax error in filter expression: syntax error")
    return test


def packet_of(frame: bytes) -> Packet | None:
    try:
        if int.from_bytes(frame[12:14], "big") in (wire.IPV4, wire.IPV6):
            return Packet.decode(frame[14:])
    except wire.Malformed:
        pass
    return None


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens

    def either(self) -> Test:
        tests = [self._both()]
        while self.rest[:1] in (["or"], ["||"]):
            self.rest.pop(0)
            tests.append(self._both())
        return lambda frame: any(test(frame) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self.rest[:1] in (["and"], ["&&"]):
            self.rest.pop(0)
            tests.append(self._one())
        return lambda frame: all(test(frame) for test in tests)

    def _word(self) -> str:
        if not self.rest:
            raise FilterError("syntax error in filter expression: syntax error")
        return self.rest.pop(0)

    def _one(self) -> Test:
        word = self._word()
        if word in ("not", "!"):
            test = self._one()
            return lambda frame: not test(frame)
        if word == "(":
            test = self.either()
            if self._word() != ")":
                raise FilterError("syntax error in filter expression: syntax error")
            return test
        if word in KINDS:
            kind = KINDS[word].to_bytes(2, "big")
            return lambda frame: frame[12:14] == kind
        if word in PROTOCOLS:
            return self._protocol(word)
        if word in ("broadcast", "multicast"):
            return lambda frame: bool(frame[0] & 1)
        if word == "ether":
            return self._ether()
        direction = word if word in ("src", "dst") else ""
        return self._address(self._word() if direction else word, direction)

    def _protocol(self, word: str) -> Test:
        number = PROTOCOLS[word]

        def test(frame: bytes) -> bool:
            packet = packet_of(frame)
            return packet is not None and packet.protocol == number

        if self.rest[:1] and self.rest[0] in ("port", "src", "dst"):
            other = self._one()
            return lambda frame: test(frame) and other(frame)
        return test

    def _ether(self) -> Test:
        word = self._word()
        direction = word if word in ("src", "dst") else ""
        if not direction and word != "host":
            raise FilterError(f"'ether {word}' is not simulated")
        text = self._word()
        mac = wire.mac_bytes(self._word() if text == "host" else text)
        sides = {"src": [slice(6, 12)], "dst": [slice(0, 6)]}.get(
            direction, [slice(0, 6), slice(6, 12)]
        )
        return lambda frame: any(frame[side] == mac for side in sides)

    def _address(self, word: str, direction: str) -> Test:
        if word == "port":
            return _port(self._word(), direction)
        if word == "net":
            return _net(self._word(), direction)
        text = self._word() if word == "host" else word
        try:
            ip = ip_address(text)
        except ValueError:
            raise FilterError(f"syntax error in filter expression at '{text}'") from None
        return _net(str(ip), direction)


def _port(text: str, direction: str) -> Test:
    if not text.isdigit():
        raise FilterError(f"unknown port '{text}'")
    port = int(text)

    def test(frame: bytes) -> bool:
        packet = packet_of(frame)
        if packet is None or packet.protocol not in (wire.TCP, wire.UDP) or packet.offset:
            return False
        source = int.from_bytes(packet.payload[:2], "big")
        destination = int.from_bytes(packet.payload[2:4], "big")
        return port in {"src": (source,), "dst": (destination,)}.get(
            direction, (source, destination)
        )

    return test


def _net(text: str, direction: str) -> Test:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise FilterError(f"syntax error in filter expression at '{text}'") from None

    def test(frame: bytes) -> bool:
        ends: list[wire.Address] = []
        packet = packet_of(frame)
        if packet is not None:
            ends = [packet.source, packet.destination]
        elif frame[12:14] == wire.ARP.to_bytes(2, "big"):
            try:
                arp = wire.Arp.decode(frame[14:])
            except wire.Malformed:
                return False
            ends = [arp.sender, arp.target]
        if direction:
            ends = ends[:1] if direction == "src" else ends[1:]
        return any(ip.version == network.version and ip in network for ip in ends)

    return test
