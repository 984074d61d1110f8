"""ELF files: the libraries a program needs, and the kernel inside of its self-unpacking wrapper."""

from __future__ import annotations

import gzip
import lzma
import posixpath
import struct

from labkit.micro import lz4

_MAGIC = b"\x7fELF"
_64_BIT = 2
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5
_SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, address, -, size, -, -


def is_elf(data: bytes) -> bool:
    """Whether this is a 64-bit program or library."""
    return data.startswith(_MAGIC) and len(data) >= 64 and data[4] == _64_BIT


def needed(data: bytes) -> list[str]:
    """The file names of the loader and the libraries that a program or library asks for."""
    if not is_elf(data):
        return []
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    names: list[str] = []
    (table,) = struct.unpack_from("<Q", data, 32)
    (count,) = struct.unpack_from("<H", data, 56)
    for index in range(count):
        kind, _, offset, address, _, size, _, _ = _SEGMENT.unpack_from(data, table + 56 * index)
        if kind == _LOAD:
            loads.append((address, offset, size))
        elif kind == _DYNAMIC:
            dynamic = (offset, size)
        elif kind == _INTERPRETER:
            names.append(posixpath.basename(data[offset : offset + size].rstrip(b"\0").decode()))
    if dynamic is not None:
        names.extend(_libraries(data, loads, dynamic))
    return names


def _libraries(
    data: bytes, loads: list[tuple[int, int, int]], dynamic: tuple[int, int]
) -> list[str]:
    offset, size = dynamic
    tags = list(struct.iter_unpack("<qQ", data[offset : offset + size - size % 16]))
    address = next((value for tag, value in tags if tag == _STRINGS), None)
    if address is None:
        return []
    strings = next(
        address - start + place for start, place, size in loads if start <= address < start + size
    )
    return [
        data[strings + value : data.index(b"\0", strings + value)].decode()
        for tag, value in tags
        if tag == _NEEDED
    ]


def kernel(wrapper: bytes) -> bytes:
    """The kernel itself out of a bzImage: QEMU starts it without unpacking it in the guest."""
    if wrapper[0x202:0x206] != b"HdrS":
        raise ValueError("it is not a Linux kernel")
    sectors = wrapper[0x1F1] or 4
    offset, length = struct.unpack_from("<II", wrapper, 0x248)
    start = (sectors + 1) * 512 + offset
    packed = wrapper[start : start + length]
    if packed.startswith(lz4.MAGIC):
        unpacked = lz4.unpack_frame(packed)
    elif packed.startswith(b"\xfd7zXZ\0"):
        unpacked = lzma.LZMADecompressor().decompress(packed)
    elif packed.startswith(b"\x1f\x8b"):
        unpacked = gzip.decompress(packed[:-4])  # the last 4 bytes are its size
    else:
        raise ValueError("it is packed in a way other than lz4, xz or gzip")
    if not is_elf(unpacked):
        raise ValueError("what it unpacks to is not an ELF file")
    return unpacked
