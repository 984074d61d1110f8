"""LZ4 in the "legacy" frame that kernels are packed in, unpacked in plain Python.

A kernel is unpacked once per build, in a few seconds: not worth a compiled dependency.
"""

from __future__ import annotations

MAGIC = b"\x02\x21\x4c\x18"
_SMALLEST_MATCH = 4


def unpack_frame(data: bytes) -> bytes:
    """Unpack a legacy frame; what follows its last block (a kernel's size) is left out."""
    if not data.startswith(MAGIC):
        raise ValueError("it is not a legacy LZ4 frame")
    out = bytearray()
    at = len(MAGIC)
    while len(data) - at > 4:
        size = int.from_bytes(data[at : at + 4], "little")
        block = data[at + 4 : at + 4 + size]
        if len(block) < size:
            raise ValueError("it ends in the middle of a block")
        out += unpack_block(block)
        at += 4 + size
    return bytes(out)


def unpack_block(block: bytes) -> bytes:
    """Unpack one block: runs of literal bytes, each followed by a copy of earlier output."""
    try:
        return _unpack_block(block)
    except IndexError:
        raise ValueError("it ends in the middle of a run") from None


def _unpack_block(block: bytes) -> bytes:
    out = bytearray()
    at, end = 0, len(block)
    while at < end:
        token = block[at]
        at += 1
        length = token >> 4
        if length == 15:
            length, at = _longer(block, at, length)
        out += block[at : at + length]
        at += length
        if at >= end:
            break
        distance = block[at] | block[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            length, at = _longer(block, at, length)
        length += _SMALLEST_MATCH
        start = len(out) - distance
        if distance == 0 or start < 0:
            raise ValueError("it refers to bytes before its start")
        if distance >= length:
            out += out[start : start + length]
        else:  # the copy overlaps what it writes: a repeated pattern
            pattern = out[start:]
            out += (pattern * (length // distance + 1))[:length]
    if at > end:
        raise ValueError("it ends in the middle of a run")
    return bytes(out)


def _longer(block: bytes, at: int, length: int) -> tuple[int, int]:
    while True:
        more = block[at]
        at += 1
        length += more
        if more != 255:
            return length, at
