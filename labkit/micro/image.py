"""Images that are there: built in the user's data directory, or installed as a wheel."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs

from labkit import rules
from labkit.errors import PackageInvalid, UnknownImage
from labkit.micro import layers
from labkit.micro.fetch import exclusive
from labkit.micro.packages import Lock, Package, read_lock, write_lock
from labkit.near import did_you_mean

BUILDER = 2  # counts changes of the builder that change what it makes of the same inputs
MICRO = "micro"
LOCK_FILE = "micro.lock.json"
KERNEL_FILE, INITRD_FILE, RECORD_FILE = "vmlinux", "initrd.cpio", "image.json"
ENTRY_POINTS = "labkit.system_images"  # name of an image -> module whose folder has its files
_KERNEL_MEMORY = 46  # MiB


@dataclass(frozen=True, slots=True)
class MicroImage:
    """A built image: two files to start a machine with, and what they were made of."""

    name: str
    kernel: Path
    initrd: Path
    kernel_sha256: str
    initrd_sha256: str
    key: str
    packages: tuple[Package, ...] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.kernel.parent

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return self.kernel.stat().st_size + self.initrd.stat().st_size

    @property
    def memory_mib(self) -> int:
        """The least memory a machine boots it with, in steps of 16 MiB (measured, not derived).

        While it is unpacked it is there twice, and its file system may take half of the rest;
        below this the guest hangs without a word.
        """
        packed = -(-self.initrd.stat().st_size // 2**20)
        return -(-(3 * packed + _KERNEL_MEMORY) // 16) * 16


def images_folder(folder: Path | None = None) -> Path:
    """Where images are kept: `micro` in labkit's data directory, which LABKIT_DATA_DIR replaces."""
    data = os.environ.get("LABKIT_DATA_DIR")
    return folder or (Path(data) if data else platformdirs.user_data_path("labkit")) / "micro"


def find_micro(folder: Path | None = None, *, name: str = MICRO) -> MicroImage | None:
    """The image of this name, built by this version of labkit or installed; nothing is made."""
    home = images_folder(folder) / rules.name(name)
    return load(home, name, current_lock(home)) or installed_image(name)


def list_micro(folder: Path | None = None) -> tuple[MicroImage, ...]:
    """All images that `find_micro` finds, by name."""
    home = images_folder(folder)
    found = (find_micro(folder, name=name) for name in sorted(_names(home)))
    return tuple(image for image in found if image is not None)


def check_known(name: str, folder: Path | None = None) -> None:
    """Raise `UnknownImage` for an image that is not there and cannot be made by itself; nothing
    is made. "micro" can always be made, and so can what was built before."""
    home = images_folder(folder)
    if name == MICRO or own_lock(home / rules.name(name)) is not None:
        return
    if find_micro(folder, name=name) is None:
        raise unknown(name, "it was never built here, and no installed package has it", folder)


def _names(home: Path) -> set[str]:
    """The images that were built here or installed, for whatever version of labkit."""
    built = {path.parents[1].name for path in home.glob(f"*/*/{RECORD_FILE}")}
    return built | {point.name for point in _entry_points()}


def remove_micro(folder: Path | None = None, *, name: str) -> None:
    """Remove what was built under this name; machines that run it are not touched."""
    home = images_folder(folder) / rules.name(name)
    if not home.is_dir():
        raise unknown(name, "no image of this name was built here", folder)
    with exclusive(home / "lock"):
        shutil.rmtree(home)


def unknown(name: str, why: str, folder: Path | None = None) -> UnknownImage:
    """The error for a system image that is not there and cannot be made by itself."""
    build = f"Make it with: labkit image build {name} --add PACKAGE"
    others = sorted({MICRO, *_names(images_folder(folder))} - {name})
    return UnknownImage(
        f"there is no system image {name!r}",
        why=why,
        fix=did_you_mean(name, others, build),
        image=name,
    )


# locks and keys


def shipped_lock() -> Lock:
    """The lock file that comes with labkit."""
    text = resources.files(__package__).joinpath(LOCK_FILE).read_text(encoding="utf-8")
    return read_lock(text, LOCK_FILE)


def own_lock(home: Path) -> Lock | None:
    """The lock kept with an image that is not made of the shipped one."""
    own = home / LOCK_FILE
    return read_lock(own.read_text(encoding="utf-8"), str(own)) if own.exists() else None


def current_lock(home: Path) -> Lock:
    """What an image is, or would be, made of."""
    return own_lock(home) or shipped_lock()


def key_of(lock: Lock) -> str:
    """What tells images apart: the lock, labkit's files in the guest, and the builder."""
    digest = hashlib.sha256(f"{BUILDER}\n{write_lock(lock)}".encode())
    for path, content in sorted(layers.guest_files().items()):
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def load(home: Path, name: str, lock: Lock) -> MicroImage | None:
    """An image built earlier; it was put in place by one rename, so it is whole."""
    key = key_of(lock)
    return _read(home / key[:16], name, lock, key)


def _read(folder: Path, name: str, lock: Lock, key: str) -> MicroImage | None:
    try:
        document: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return MicroImage(
        name,
        folder / KERNEL_FILE,
        folder / INITRD_FILE,
        document["kernel_sha256"],
        document["initrd_sha256"],
        key,
        tuple(lock.packages.values()),
    )


# installed images


def installed_image(name: str = MICRO) -> MicroImage | None:
    """The image of an installed wheel, when it was made for this version of labkit."""
    for point in _entry_points(name):
        folder = _installed_folder(point)
        text = (folder / LOCK_FILE).read_text(encoding="utf-8")
        lock = read_lock(text, str(folder / LOCK_FILE))
        key = key_of(lock)
        if json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["key"] == key:
            return _read(folder, name, lock, key)
    return None


def has_installed(name: str = MICRO) -> bool:
    """Whether a wheel with an image of this name is installed, for whatever version."""
    return bool(_entry_points(name))


def _entry_points(name: str | None = None) -> list[importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return [point for point in points if name in (None, point.name)]


def _installed_folder(point: importlib.metadata.EntryPoint) -> Path:
    """The folder of the module that an entry point names; the module is not run."""
    spec = importlib.util.find_spec(point.value)
    if spec is None or not spec.submodule_search_locations:
        raise PackageInvalid(
            f"the installed system image {point.name} cannot be used",
            why=f"its module {point.value} is not there as a folder",
            fix="Install its wheel again with pip.",
            module=point.value,
        )
    return Path(next(iter(spec.submodule_search_locations)))
