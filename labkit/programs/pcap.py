"""Reads pcap bytes as they come, and what the headers of a frame say, as plain rows.

An own reader, and no library, as it must read on while a file or stream still grows, and as the
columns of `labkit.packets` need no more than the headers of a teaching lab.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.programs.frame_headers import dissect

HEADER_SIZE = 24
RECORD_SIZE = 16
ETHERNET = 1
MAX_CAPTURED = 1 << 20  # bytes of a packet; more means that it is not pcap
_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame that was seen: nanoseconds since 1970, its length on the wire, what was kept."""

    time_ns: int
    length: int
    data: bytes

    def row(self) -> dict[str, Any]:
        """The columns of `labkit.packets`, as far as its headers give them."""
        return {"time": self.time_ns, "length": self.length, **dissect(self.data)}


class Reader:
    """Takes pcap bytes in pieces of any size; a record that is cut off waits for its rest.

    Raises `ValueError` for what is not a pcap file of Ethernet frames.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._record: struct.Struct | None = None
        self._unit = 1

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole now."""
        self._waiting += data
        if self._record is None and not self._start():
            return []
        return list(self._packets())

    def _start(self) -> bool:
        if len(self._waiting) < HEADER_SIZE:
            return False
        magic = bytes(self._waiting[:4])
        if magic not in _MAGICS:
            raise ValueError(f"not a pcap file: it begins with {magic.hex()}")
        order, self._unit = _MAGICS[magic]
        (kind,) = struct.unpack_from(f"{order}I", self._waiting, 20)
        if kind != ETHERNET:
            raise ValueError(f"a pcap file of link type {kind}, not of Ethernet frames")
        self._record = struct.Struct(f"{order}IIII")
        del self._waiting[:HEADER_SIZE]
        return True

    def _packets(self) -> Iterator[Packet]:
        assert self._record is not None
        waiting, position = self._waiting, 0
        while position + RECORD_SIZE <= len(waiting):
            seconds, rest, kept, length = self._record.unpack_from(waiting, position)
            if kept > MAX_CAPTURED:
                raise ValueError(f"not a pcap file: a packet of {kept} bytes")
            end = position + RECORD_SIZE + kept
            if end > len(waiting):
                break
            stamp = seconds * 1_000_000_000 + rest * self._unit
            yield Packet(stamp, length, bytes(waiting[position + RECORD_SIZE : end]))
            position = end
        del waiting[:position]


def packets(data: bytes) -> list[Packet]:
    """The packets of a pcap file; one that is cut off at the end is left out."""
    return Reader().feed(data)
