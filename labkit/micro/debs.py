"""Debian package files: an ar archive with a compressed tar of the files in it, read in memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import posixpath
import re
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator

from labkit.errors import PackageInvalid
from labkit.micro.tree import Node, Tree

_MAGIC = b"!<arch>\n"
_HEADER = 60
_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


def files(deb: bytes, name: str) -> Tree:
    """What a package installs; hard links become copies, devices and owners are left out."""
    with _part(deb, name, "data.tar") as tar:
        return _tree(tar)


def control(deb: bytes, name: str) -> dict[str, str]:
    """The fields of a package's control file."""
    with _part(deb, name, "control.tar") as tar:
        text = _tree(tar)["/control"].data.decode()
    return dict(re.findall(r"^([A-Za-z-]+): (.*)$", text, re.M))


@contextlib.contextmanager
def _part(deb: bytes, name: str, part: str) -> Iterator[tarfile.TarFile]:
    """One of the two archives in a package; what is wrong with it is said in our words."""
    try:
        member, packed = _member(deb, part)
        suffix = member.removeprefix(part)
        if suffix not in _UNPACK:
            raise _invalid(name, f"its files are packed as {suffix.lstrip('.')}")
        with tarfile.open(fileobj=io.BytesIO(_UNPACK[suffix](packed))) as tar:
            yield tar
    except (ValueError, EOFError, OSError, KeyError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, PackageInvalid):
            raise
        raise _invalid(name, f"it cannot be read: {error}") from error
    except tarfile.TarError as error:
        raise _invalid(name, f"its tar archive is broken: {error}") from error


def members(archive: bytes) -> dict[str, bytes]:
    """The members of an ar archive by name."""
    if not archive.startswith(_MAGIC):
        raise ValueError("it is not an ar archive")
    found: dict[str, bytes] = {}
    at = len(_MAGIC)
    while at < len(archive):
        header = archive[at : at + _HEADER]
        if len(header) < _HEADER or header[58:] != b"`\n":
            raise ValueError(f"the member at byte {at} has no header")
        size = int(header[48:58])
        body = archive[at + _HEADER : at + _HEADER + size]
        if size < 0 or len(body) < size:
            raise ValueError("it ends in the middle of a member")
        found[header[:16].decode("ascii").rstrip().rstrip("/")] = body
        at += _HEADER + size + size % 2
    return found


def _member(deb: bytes, part: str) -> tuple[str, bytes]:
    for member, body in members(deb).items():
        if member.startswith(part):
            return member, body
    raise ValueError(f"it has no {part}")


def _tree(tar: tarfile.TarFile) -> Tree:
    tree: Tree = {}
    for member in tar:
        path = _absolute(member.name)
        permissions = member.mode & 0o7777
        if member.isdir():
            tree[path] = Node(stat.S_IFDIR | permissions)
        elif member.issym():
            tree[path] = Node(stat.S_IFLNK | 0o777, member.linkname.encode())
        elif member.islnk():
            tree[path] = tree[_absolute(member.linkname)]
        elif member.isfile():
            content = tar.extractfile(member)
            assert content is not None  # regular files have content
            tree[path] = Node(stat.S_IFREG | permissions, content.read())
    tree.pop("/", None)
    return tree


def _absolute(name: str) -> str:
    return posixpath.normpath("/" + name)


def _invalid(name: str, why: str) -> PackageInvalid:
    return PackageInvalid(
        f"cannot unpack the package {name}",
        why=why,
        fix="Build again with refresh, or take another mirror.",
        package=name,
    )
