"""What a guest may send to user networking: to the world, never to the host it runs on.

QEMU's user networking (slirp) opens a socket of the host for whatever a guest sends. It reaches
services on the host's loopback by the gateway's address and, with a route of the guest's own, by
127.0.0.1; and services on all of the host's addresses by these. Its ``restrict=on`` blocks the
world too. So the gateway is a port of the switch like any other, and this is its filter.
"""

from __future__ import annotations

import socket
import struct
import time

from .port import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .loop import Loop

GATEWAY_NIC = 256  # beside a machine's NICs 0 to 255: the port of its user networking
GATEWAY_SOCKET = "g0"
NETWORK = bytes((10, 60, 7))  # 10.60.7.0/24
GATEWAY, NAME_SERVER = NETWORK + b"\1", NETWORK + b"\2"
BROADCAST = b"\xff\xff\xff\xff"
IPV4, ARP = b"\x08\x00", b"\x08\x06"
ICMP, TCP, UDP = 1, 6, 17
DHCP, DNS = 67, 53
ADDRESSES_LAST = 10.0  # seconds between two looks at the host's addresses
FIB = "/proc/net/fib_trie"


class HostAddresses:
    """The host's own IPv4 addresses, looked up anew from time to time."""

    def __init__(self, path: str = FIB) -> None:
        self._path = path
        self._looked = -ADDRESSES_LAST
        self._known: frozenset[bytes] = frozenset()

    def __contains__(self, address: object) -> bool:
        now = time.monotonic()
        if now - self._looked >= ADDRESSES_LAST:
            self._looked, self._known = now, self._look()
        return address in self._known

    def _look(self) -> frozenset[bytes]:
        found, last = set(), ""
        with open(self._path) as file:
            for line in file:
                words = line.split()
                if words[-2:] == ["host", "LOCAL"]:
                    found.add(socket.inet_aton(last))
                elif words:
                    last = words[-1]
        return frozenset(found)


def permits(frame: bytes | memoryview, host: HostAddresses | frozenset[bytes]) -> bool:
    """Whether a guest's Ethernet frame may reach the gateway."""
    kind = bytes(frame[12:14])
    if kind == ARP:
        return True
    if kind != IPV4 or len(frame) < 34 or frame[14] >> 4 != 4:
        return False  # no IPv6, no tags: nothing whose destination was not looked at
    protocol, to = frame[23], bytes(frame[30:34])
    # A later fragment has no port to look at.
    whole = not (frame[20] & 0x3F or frame[21])
    if to[:3] != NETWORK and to != BROADCAST:
        # This network, loopback, link-local (where clouds keep their secrets), multicast.
        return not (to[0] in (0, 127) or to[0] >= 224 or to[:2] == b"\xa9\xfe" or to in host)
    if protocol == ICMP:
        return to == GATEWAY and whole
    start = 14 + 4 * (frame[14] & 15)
    if not whole or protocol not in (TCP, UDP) or len(frame) < start + 4:
        return False
    port = struct.unpack_from("!H", frame, start + 2)[0]
    if protocol == UDP and port == DHCP:
        return to in (BROADCAST, GATEWAY, NAME_SERVER)
    return to == NAME_SERVER and bool(port == DNS)


class GatewayPort(Port):
    """The end of a link that leads out; what may not pass is dropped and counted."""

    def __init__(self, loop: Loop, index: int, path: str, host: HostAddresses | frozenset[bytes]):
        super().__init__(loop, index, GATEWAY_NIC, path)
        self._host = host

    def send(self, start: int, end: int, frames: int) -> None:
        whole = bytes(self._loop.scratch_view[start:end])
        split, at = [], 0
        while at < len(whole):
            after = at + 4 + int.from_bytes(whole[at : at + 4], "big")
            split.append(whole[at:after])
            at = after
        self.send_frames(split)

    def send_frames(self, frames: Sequence[bytes]) -> None:
        passed = [frame for frame in frames if permits(memoryview(frame)[4:], self._host)]
        self.dropped["blocked"] = self.dropped.get("blocked", 0) + len(frames) - len(passed)
        if passed:
            super().send_frames(passed)
