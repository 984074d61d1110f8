"""A small ISO 9660 file system as bytes: one folder of files with their own names (Rock Ridge).

Written here because the bytes must be the same each time: the libraries there are put the time of
day into every record.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

SECTOR = 2048
_LEAST = 128 << 10  # bytes; busybox, looking for a label, finds none on a disk below 68 KiB
_FIRST = 16  # sectors before the volume descriptors belong to whoever boots from it
_LITTLE_TABLE, _BIG_TABLE, _ROOT = _FIRST + 2, _FIRST + 3, _FIRST + 4
_TIME = bytes((80, 1, 1, 0, 0, 0, 0))  # 1980-01-01, always
_NO_TIME = b"0" * 16 + b"\0"
_FOLDER, _FILE = 0o040555, 0o100444
_EXTENSION = b"RRIP_1991A"


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """A volume called `label` with `files` by their names, which are at most 60 ASCII characters.

    The order of `files` does not matter.
    """
    listed = sorted(files.items())
    places, sector = [], _ROOT + 1
    for _, content in listed:
        places.append(sector)
        sector += _sectors(content)
    root = _folder(listed, places)
    tables = [_path_table(order) for order in "<>"]
    parts = [
        bytes(_FIRST * SECTOR),
        _padded(_volume(label, sector, len(tables[0]))),
        _padded(b"\xffCD001\x01"),
        *map(_padded, tables),
        _padded(root),
        *(_padded(content) for _, content in listed),
    ]
    return b"".join(parts).ljust(_LEAST, b"\0")


def _sectors(content: bytes) -> int:
    return -(-len(content) // SECTOR)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % SECTOR)


def _both(number: int, code: str = "I") -> bytes:
    """A number as ISO 9660 wants it: little-endian, then again big-endian."""
    return struct.pack(f"<{code}", number) + struct.pack(f">{code}", number)


def _volume(label: str, sectors: int, table_size: int) -> bytes:
    tables = struct.pack("<II", _LITTLE_TABLE, 0) + struct.pack(">II", _BIG_TABLE, 0)
    fields = (
        b"\x01CD001\x01\0" + b" " * 32 + label.encode("ascii").ljust(32) + bytes(8),
        _both(sectors) + bytes(32),
        _both(1, "H") + _both(1, "H") + _both(SECTOR, "H"),  # volumes, this one's number, block
        _both(table_size) + tables,
        _record(b"\0", _ROOT, SECTOR, is_folder=True),
        b" " * (4 * 128 + 3 * 37),  # who made it, and names of files that tell more
        _NO_TIME * 4 + b"\x01\0",
    )
    return b"".join(fields)


def _path_table(order: str) -> bytes:
    return struct.pack(f"{order}BBIH", 1, 0, _ROOT, 1) + b"\0\0"


def _folder(listed: list[tuple[str, bytes]], places: list[int]) -> bytes:
    records = [
        _record(b"\0", _ROOT, SECTOR, _first_extensions(), is_folder=True),
        _record(b"\1", _ROOT, SECTOR, _mode(_FOLDER, 2), is_folder=True),
    ]
    for number, ((name, content), place) in enumerate(zip(listed, places, strict=True)):
        plain = f"FILE{number:04}.;1".encode()  # its name is told by Rock Ridge
        records.append(_record(plain, place, len(content), _mode(_FILE, 1) + _name(name)))
    folder = b"".join(records)
    if len(folder) > SECTOR:
        raise ValueError(f"{len(listed)} files do not fit into one folder")
    return folder


def _record(
    name: bytes, sector: int, size: int, extensions: bytes = b"", *, is_folder: bool = False
) -> bytes:
    fields = b"".join(
        (
            b"\0" + _both(sector) + _both(size) + _TIME,
            bytes((2 if is_folder else 0, 0, 0)) + _both(1, "H"),
            bytes((len(name),)) + name + bytes((len(name) + 1) % 2) + extensions,
        )
    )
    fields += bytes((len(fields) + 1) % 2)
    return bytes((len(fields) + 1,)) + fields


# Rock Ridge: what POSIX knows of a file, in entries of a signature, a length and a version


def _entry(signature: bytes, content: bytes) -> bytes:
    return signature + bytes((len(content) + 4, 1)) + content


def _first_extensions() -> bytes:
    """Of the folder itself: that there are extensions, and which."""
    which = bytes((len(_EXTENSION), 0, 0, 1)) + _EXTENSION
    return _entry(b"SP", b"\xbe\xef\0") + _mode(_FOLDER, 2) + _entry(b"ER", which)


def _mode(mode: int, links: int) -> bytes:
    return _entry(b"PX", b"".join(map(_both, (mode, links, 0, 0))))


def _name(name: str) -> bytes:
    return _entry(b"NM", b"\0" + name.encode("ascii"))
