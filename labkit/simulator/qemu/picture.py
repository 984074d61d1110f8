"""A picture of a simulated machine's screen: small, valid, and different for each machine."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 320, 200


def png(name: str) -> bytes:
    """A PNG in one colour that is made of the machine's name."""
    colour = zlib.crc32(name.encode()).to_bytes(4, "big")[:3]
    row = b"\0" + colour * WIDTH
    header = struct.pack("!IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    pixels = zlib.compress(row * HEIGHT)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", check)
