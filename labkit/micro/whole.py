"""Whether an image is still what was built: its files are compared with their sums before use."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from labkit.errors import SystemImageDamaged
from labkit.micro.image import MicroImage, images_folder

STAMPS = ".compared"  # a folder among the images: how files were when they were last compared
_READ = 1 << 20


def check_whole(image: MicroImage, folder: Path | None = None) -> None:
    """Raise `SystemImageDamaged` where a file has not the sum it was built with.

    Files that have not been touched since they were last compared, as their size, times and inode
    tell, are not read again: that would cost every start of a lab a quarter of a second.
    """
    home = images_folder(folder)
    stamp = home / STAMPS / f"{image.key[:16]}.json"
    now = _marks(image)
    if _stamped(stamp) == now:
        return
    for path, wanted in ((image.kernel, image.kernel_sha256), (image.initrd, image.initrd_sha256)):
        found = _sum(path)
        if found != wanted:
            raise SystemImageDamaged(
                f"the system image {image.name} is damaged",
                why=f"{path} is not what was built: its sha256 is {found}, not {wanted}",
                fix=f"Build it again: labkit image build {image.name}"
                if path.is_relative_to(home)
                else "Install its wheel again: pip install --force-reinstall, with its name.",
                image=image.name,
                path=str(path),
            )
    with suppress(OSError):  # then it is compared again next time, which is only slower
        _stamp(stamp, now)


def _marks(image: MicroImage) -> dict[str, list[int | str]]:
    """What changes when somebody writes to the files, and what they were compared with."""
    marks: dict[str, list[int | str]] = {}
    for path, wanted in ((image.kernel, image.kernel_sha256), (image.initrd, image.initrd_sha256)):
        try:
            seen = path.stat()
        except FileNotFoundError:
            seen = None
        facts = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino) if seen else ()
        marks[str(path)] = [wanted, *facts]
    return marks


def _stamped(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # never compared, or its stamp was half written: it is compared now


def _stamp(stamp: Path, marks: dict[str, list[int | str]]) -> None:
    stamp.parent.mkdir(parents=True, exist_ok=True)
    part = stamp.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(marks), encoding="utf-8")
    part.replace(stamp)


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ):
                digest.update(piece)
    except FileNotFoundError:
        return "that of no file, as it is gone"
    return digest.hexdigest()
