"""What may pass from a guest to user networking: the world, and nothing of the host."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from labkit.remote.steward.egress import HostAddresses, permits

HOST = frozenset({socket.inet_aton("192.0.2.2")})


def frame(to: str, protocol: int = 6, port: int = 80, fragment: int = 0, options: int = 0) -> bytes:
    ethernet = bytes(12) + b"\x08\x00"
    first = bytes((0x45 + options,)) + bytes(5)
    rest = fragment.to_bytes(2, "big") + b"\x40" + bytes((protocol,)) + bytes(2)
    addresses = bytes(4) + socket.inet_aton(to)
    ports = (40000).to_bytes(2, "big") + port.to_bytes(2, "big")
    return ethernet + first + rest + addresses + bytes(4 * options) + ports + bytes(20)


@pytest.mark.parametrize(
    "passed",
    [
        frame("203.0.113.9"),
        frame("203.0.113.9", fragment=0x2000),
        frame("10.60.7.2", 17, 53),
        frame("10.60.7.2", 6, 53),
        frame("10.60.7.2", 17, 53, options=3),
        frame("10.60.7.1", 1),
        frame("255.255.255.255", 17, 67),
        frame("10.60.7.2", 17, 67),
        bytes(12) + b"\x08\x06" + bytes(28),
    ],
)
def test_the_world_and_what_a_network_needs_pass(passed: bytes) -> None:
    assert permits(passed, HOST)


@pytest.mark.parametrize(
    "blocked",
    [
        frame("10.60.7.1"),
        frame("10.60.7.1", 17, 53),
        frame("10.60.7.55"),
        frame("10.60.7.255"),
        frame("10.60.7.2", 6, 8888),
        frame("10.60.7.2", 17, 69),
        frame("10.60.7.2", 17, 53, fragment=0x2000),
        frame("10.60.7.2", 17, 53, fragment=0x0010),
        frame("10.60.7.9", 17, 67),
        frame("127.0.0.1"),
        frame("127.1.2.3", 17, 67),
        frame("0.0.0.0"),
        frame("169.254.169.254"),
        frame("224.0.0.251", 17, 5353),
        frame("255.255.255.255", 17, 68),
        frame("192.0.2.2"),
        bytes(12) + b"\x86\xdd" + bytes(60),
        bytes(12) + b"\x81\x00\x00\x01\x08\x00" + frame("10.60.7.1")[14:],
        b"",
        bytes(20),
        frame("10.60.7.2", 17, 53, options=10)[:60],
    ],
)
def test_nothing_of_the_host_is_reached(blocked: bytes) -> None:
    assert not permits(blocked, HOST)


def test_the_hosts_own_addresses_are_known(tmp_path: Path) -> None:
    table = tmp_path / "fib_trie"
    table.write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\n"
        "     |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 192.0.2.255\n"
        "        /32 link BROADCAST\n"
    )
    addresses = HostAddresses(str(table))
    assert socket.inet_aton("192.0.2.2") in addresses
    assert socket.inet_aton("192.0.2.255") not in addresses
    assert socket.inet_aton("127.0.0.1") in HostAddresses()
