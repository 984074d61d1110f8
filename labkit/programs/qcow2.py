"""Reads qcow2 images and says why one cannot be a base.

Fields and limits are those of QEMU's docs/interop/qcow2.txt. It also runs on workers, as part of
a program of labkit.remote: hence plain Python 3.8.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import BinaryIO, Callable, NamedTuple, Sequence  # noqa: UP035 - for Python 3.8

MAGIC = b"QFI\xfb"
LAYOUT = struct.Struct(">4sIQIIQIIQQIIQ")
FEATURES = struct.Struct(">QQQII")  # the rest of version 3, behind LAYOUT
EXTENSION = struct.Struct(">II")
BACKING_FORMAT = 0xE2792ACA

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
KNOWN_FEATURES = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2

ADDRESS = 0x00FF_FFFF_FFFF_FE00  # of a table or cluster, in an entry of a table
COMPRESSED = 1 << 62
MAX_L1_BYTES = 32 << 20  # QEMU refuses more
MAX_REFCOUNT_TABLE_BYTES = 8 << 20
MAX_NAME_BYTES = 1023

FORMATS = (  # offset, bytes there, what that is
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"\xfd7zXZ", "an xz archive; unpack it first"),
    (0, b"(\xb5/\xfd", "a zstd archive; unpack it first"),
    (0, b"BZh", "a bzip2 archive; unpack it first"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"KDMV", "a VMDK image; convert it with qemu-img"),
    (0, b"conectix", "a VHD image; convert it with qemu-img"),
    (0, b"vhdxfile", "a VHDX image; convert it with qemu-img"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image; convert it with qemu-img"),
    (0x8001, b"CD001", "a CD image (ISO 9660)"),
    (510, b"\x55\xaa", "a raw disk image; convert it with qemu-img"),
    (0x438, b"\x53\xef", "a raw ext file system; convert it with qemu-img"),
)


class NotUsable(ValueError):
    """The file cannot be a base image; the text says why."""


class Header(NamedTuple):
    """What the start of an image says about it; `size` is that of the disk inside, in bytes."""

    version: int
    size: int
    cluster_bits: int
    backing_file: str | None
    backing_format: str | None
    encrypted: bool
    features: int
    l1_offset: int
    l1_entries: int
    refcount_offset: int
    refcount_clusters: int


def read_header(file: BinaryIO) -> Header:
    """The header of the image; `NotUsable` when it is none."""
    start = _read(file, 0, 0x8010)
    if start[:4] != MAGIC:
        raise NotUsable(f"it is not a qcow2 image but {what_it_seems(start)}")
    if len(start) < LAYOUT.size:
        raise NotUsable("it is truncated within its header")
    (_, version, backing_at, backing_length, cluster_bits, size, encryption, l1_entries, l1_offset,
     refcount_offset, refcount_clusters, _, _) = LAYOUT.unpack_from(start)  # fmt: skip
    if version not in (2, 3):
        raise NotUsable(f"its qcow2 version is {version}, not 2 or 3")
    features, length = 0, LAYOUT.size
    if version == 3:
        if len(start) < LAYOUT.size + FEATURES.size:
            raise NotUsable("it is truncated within its header")
        features, _, _, _, length = FEATURES.unpack_from(start, LAYOUT.size)
    if not 9 <= cluster_bits <= 21 or backing_length > MAX_NAME_BYTES or length % 8:
        raise NotUsable("its header is damaged")
    if l1_entries * 8 > MAX_L1_BYTES or (
        refcount_clusters << cluster_bits > MAX_REFCOUNT_TABLE_BYTES
    ):
        raise NotUsable("its header is damaged")
    backing_file = None
    if backing_at:
        name = _read(file, backing_at, backing_length) if backing_at < 1 << 62 else b""
        backing_file = name.decode(errors="replace")
    return Header(
        version,
        size,
        cluster_bits,
        backing_file,
        _backing_format(start, length, backing_at) if backing_file else None,
        bool(encryption),
        features,
        l1_offset,
        l1_entries,
        refcount_offset,
        refcount_clusters,
    )


def check_base(file: BinaryIO, length: int) -> Header:
    """The header of an image that stands alone and is all there; `length` is the file's.

    An image that leads to another file is refused because whoever made it would choose which
    file of the worker a VM can read. `NotUsable` says what is wrong.
    """
    header = read_header(file)
    if header.backing_file is not None:
        raise NotUsable(f"its header names a backing file, {header.backing_file!r}")
    if header.features & EXTERNAL_DATA:
        raise NotUsable("its header says that its data is in another file")
    if header.encrypted:
        raise NotUsable("it is encrypted")
    if header.features & CORRUPT:
        raise NotUsable("QEMU has marked it as corrupt; try qemu-img check -r all")
    if header.features & ~KNOWN_FEATURES:
        raise NotUsable("it uses a feature of qcow2 that labkit does not know")
    covered = header.l1_entries << (2 * header.cluster_bits - 3)  # by plain L2 entries at most
    if header.size > covered or not header.refcount_clusters:
        raise NotUsable("its header is damaged")
    _check_clusters(file, header, length)
    return header


def what_it_seems(start: bytes) -> str:
    """What a file that begins so may be, in words."""
    if not start:
        return "an empty file"
    text = start[:512].lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page, perhaps of a failed download"
    for offset, mark, meaning in FORMATS:
        if start[offset : offset + len(mark)] == mark:
            return meaning
    if start.count(0) == len(start):
        return "zeros, perhaps a raw disk or an unfinished download"
    return "something else, perhaps a raw disk; see what `file` says"


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    """These bytes of the file, fewer at its end."""
    file.seek(offset)
    return file.read(length)


def _backing_format(start: bytes, at: int, end: int) -> str | None:
    """The format of the backing file, from the extensions between the header and its name."""
    while at + EXTENSION.size <= min(end, len(start)):
        kind, length = EXTENSION.unpack_from(start, at)
        if kind == 0:
            return None
        at += EXTENSION.size
        if kind == BACKING_FORMAT:
            return start[at : at + length].decode(errors="replace")
        at += length + -length % 8
    return None


def _check_clusters(file: BinaryIO, header: Header, length: int) -> None:
    """Every table the header leads to, and the start of every cluster, must be in the file.

    The last cluster may end beyond the file: QEMU reads the missing bytes as zeros and leaves
    such files itself.
    """
    refcounts = header.refcount_clusters << header.cluster_bits
    ends = [entry + 1 for entry in _table(file, header.refcount_offset, refcounts, length) if entry]
    level1 = _table(file, header.l1_offset, header.l1_entries * 8, length)
    cluster_end = _cluster_end(header.cluster_bits)
    step = 2 if header.features & EXTENDED_L2 else 1  # every second entry is a bitmap
    for offset in {entry & ADDRESS for entry in level1} - {0}:
        entries = set(_table(file, offset, 1 << header.cluster_bits, length)[::step])
        ends.append(max(map(cluster_end, entries)))
    if ends and max(ends) > length:
        raise _truncated(length, max(ends))


def _table(file: BinaryIO, offset: int, size: int, length: int) -> Sequence[int]:
    """A table of big-endian 64-bit numbers."""
    if offset + size > length:
        raise _truncated(length, offset + size)
    data = _read(file, offset, size)
    if len(data) != size:
        raise _truncated(offset + len(data), offset + size)
    entries = array("Q", data)
    if sys.byteorder == "little":
        entries.byteswap()
    return entries


def _cluster_end(cluster_bits: int) -> Callable[[int], int]:
    """How long the file must at least be for an entry of an L2 table, as a function of it."""
    shift = 62 - (cluster_bits - 8)
    packed, sectors = (1 << shift) - 1, (1 << (cluster_bits - 8)) - 1

    def end(entry: int) -> int:
        if entry & COMPRESSED:  # the last of its sectors may be cut short
            return (entry & packed & ~511) + (entry >> shift & sectors) * 512 + 1
        address = entry & ADDRESS
        return address + 1 if address else 0

    return end


def _truncated(length: int, needed: int) -> NotUsable:
    return NotUsable(
        f"it is truncated: the file has {length} bytes, its tables lead to byte {needed}"
    )
