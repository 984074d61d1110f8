"""Unpacking archives that come from a guest: nothing of them may lie outside of the target."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from labkit.errors import TransferError


def unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack into the folder `target`; raises `TransferError` before anything would leave it.

    Python has a filter for that since 3.11.4 (PEP 706); Debian 12 comes with an older one.
    """
    if hasattr(tarfile, "data_filter"):
        try:
            archive.extractall(target, filter="data")
        except tarfile.FilterError as error:
            raise _refused(str(error)) from error
    else:
        archive.extractall(target, members=list(checked(archive)))


def checked(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, as long as each is a file, folder or link that stays inside."""
    links: set[str] = set()
    for member in archive:
        name = posixpath.normpath(member.name)
        inside = _is_inside(name) and not any(_is_below(name, link) for link in links)
        if member.issym():
            inside = inside and _is_inside(posixpath.join(posixpath.dirname(name), member.linkname))
            links.add(name)
        elif member.islnk():
            inside = inside and _is_inside(member.linkname)
        elif not (member.isreg() or member.isdir()):
            raise _refused(f"{member.name} is a device or a pipe")
        if not inside:
            raise _refused(f"{member.name} would lie outside of the target")
        member.mode &= 0o755
        yield member


def _is_inside(path: str) -> bool:
    plain = posixpath.normpath(path)
    return not plain.startswith("/") and plain != ".." and not plain.startswith("../")


def _is_below(name: str, link: str) -> bool:
    return name.startswith(f"{link}/")


def _refused(why: str) -> TransferError:
    return TransferError(
        "cannot unpack what came",
        why=why,
        fix="Download its files one by one, or pack them in the guest and download that.",
    )
