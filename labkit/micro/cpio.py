"""The newc cpio archive the kernel unpacks as its first file system, the same bytes every time."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from labkit.micro.tree import Tree

TRAILER = "TRAILER!!!"
_MAGIC = b"070701"
_BLOCK = 512


def archive(tree: Tree) -> bytes:
    """Pack `tree`: names sorted, owner root, time 0, numbered by place."""
    parts: list[bytes] = []
    for number, (path, node) in enumerate(sorted(tree.items()), start=1):
        parts.extend(_entry(path.lstrip("/"), number, node.mode, node.data))
    parts.extend(_entry(TRAILER, 0, 0, b""))
    size = sum(map(len, parts))
    parts.append(bytes(-size % _BLOCK))
    return b"".join(parts)


def _entry(name: str, number: int, mode: int, data: bytes) -> Iterator[bytes]:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, checksum
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    yield header + encoded
    yield bytes(-(len(header) + len(encoded)) % 4)
    yield data
    yield bytes(-len(data) % 4)
