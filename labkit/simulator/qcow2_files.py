"""QCOW2 files as bytes, laid out as qemu-img makes them."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping

from labkit.programs.qcow2 import read_header

MAGIC = 0x514649FB
CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
ENTRIES = CLUSTER // 8  # of an L2 table: one maps 512 MiB
COPIED = 1 << 63  # "this cluster is used once", on every L1 and L2 entry
HEADER = struct.Struct(">IIQIIQIIQQIIQQQQII8x")
BACKING_FORMAT, FEATURE_NAMES = 0xE2792ACA, 0x6803F857
MAX_CLUSTERS = CLUSTER // 2  # what one refcount block counts; more is never simulated

# (0 incompatible, 1 compatible, 2 autoclear; bit; name): what qemu-img writes into each file.
FEATURES = (
    (0, 0, b"dirty bit"),
    (0, 1, b"corrupt bit"),
    (0, 2, b"external data file"),
    (0, 3, b"compression type"),
    (0, 4, b"extended L2 entries"),
    (1, 0, b"lazy refcounts"),
    (2, 0, b"bitmaps"),
    (2, 1, b"raw external data"),
)


@functools.lru_cache(maxsize=256)
def make(size: int, backing: str | None = None, backing_format: str | None = "qcow2") -> bytes:
    """An empty image of `size` bytes, byte for byte what ``qemu-img create -f qcow2`` makes.

    Cached: the hundred overlays of a class are one object in memory.
    """
    return make_with_data(size, {}, backing, backing_format)


def make_with_data(
    size: int,
    clusters: Mapping[int, bytes],
    backing: str | None = None,
    backing_format: str | None = "qcow2",
) -> bytes:
    """An image that holds data: the content of 64 KiB clusters by their number."""
    l1_entries = -(-size // (CLUSTER * ENTRIES))
    l1_clusters = max(1, -(-l1_entries * 8 // CLUSTER))
    tables = sorted({number // ENTRIES for number in clusters})
    first_table = 3 + l1_clusters
    first_data = first_table + len(tables)
    used = first_data + len(clusters)
    if used > MAX_CLUSTERS:
        raise ValueError(f"a simulated image has at most {MAX_CLUSTERS} clusters, not {used}")
    l1 = bytearray(l1_entries * 8)
    l2 = {table: bytearray(CLUSTER) for table in tables}
    for place, table in enumerate(tables, start=first_table):
        struct.pack_into(">Q", l1, table * 8, COPIED | place * CLUSTER)
    for place, number in enumerate(sorted(clusters), start=first_data):
        entry = COPIED | place * CLUSTER
        struct.pack_into(">Q", l2[number // ENTRIES], number % ENTRIES * 8, entry)
    parts = [
        _header(size, l1_entries, backing, backing_format).ljust(CLUSTER, b"\0"),
        struct.pack(">Q", 2 * CLUSTER).ljust(CLUSTER, b"\0"),
        struct.pack(f">{used}H", *[1] * used).ljust(CLUSTER, b"\0"),
        bytes(l1),
    ]
    if clusters:
        parts[-1] = parts[-1].ljust(l1_clusters * CLUSTER, b"\0")
        parts += [bytes(l2[table]) for table in tables]
        parts += [clusters[number].ljust(CLUSTER, b"\0") for number in sorted(clusters)]
    return b"".join(parts)


def _header(size: int, l1_entries: int, backing: str | None, backing_format: str | None) -> bytes:
    extensions = b""
    if backing is not None and backing_format is not None:
        extensions += _extension(BACKING_FORMAT, backing_format.encode())
    names = b"".join(struct.pack("BB46s", kind, bit, name) for kind, bit, name in FEATURES)
    extensions += _extension(FEATURE_NAMES, names) + bytes(8)
    file = b"" if backing is None else backing.encode()
    fields = HEADER.pack(
        MAGIC,
        3,
        HEADER.size + len(extensions) if file else 0,
        len(file),
        CLUSTER_BITS,
        size,
        0,  # not encrypted
        l1_entries,
        3 * CLUSTER,
        1 * CLUSTER,
        1,  # cluster of refcount table
        0,  # snapshots
        0,
        0,  # incompatible features
        0,
        0,
        4,  # refcounts of 16 bits
        HEADER.size,
    )
    return fields + extensions + file


def _extension(kind: int, data: bytes) -> bytes:
    padding = bytes(-len(data) % 8)
    return struct.pack(">II", kind, len(data)) + data + padding


def end(data: bytes) -> int:
    """How long a file must be to hold every cluster its tables point to."""
    header = read_header(io.BytesIO(data))
    tables = header.refcount_offset + header.refcount_clusters * CLUSTER
    needed = max(tables, header.l1_offset + header.l1_entries * 8)
    if len(data) < needed:
        return needed
    level1 = data[header.l1_offset : header.l1_offset + header.l1_entries * 8]
    for (entry,) in struct.iter_unpack(">Q", level1):
        table = entry & ~COPIED
        level2 = data[table : table + CLUSTER] if table else b""
        needed = max(needed, table + CLUSTER if table else 0)
        for (place,) in struct.iter_unpack(">Q", level2[: len(level2) & ~7]):
            needed = max(needed, (place & ~COPIED) + CLUSTER if place else 0)
    return needed
