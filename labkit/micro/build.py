"""Building the micro image: locked packages in, kernel and initramfs out, kept by their inputs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs

from labkit import rules
from labkit.events import ImageBuildStage, ImageBuilt, Listener, ignore
from labkit.micro import cpio, debs, layers
from labkit.micro.fetch import PackageCache, exclusive, fetch, full_disk_is_said
from labkit.micro.index import read_index
from labkit.micro.packages import Index, Lock, Package, read_lock, write_lock
from labkit.micro.sources import Mirror, mirrors
from labkit.micro.tree import Tree

BUILDER = 1  # counts changes of the builder that change what it makes of the same inputs
LOCK_FILE = "micro.lock.json"
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


def build_micro(
    folder: Path | None = None,
    *,
    name: str = "micro",
    add: Iterable[str] = (),
    mirror: str | None = None,
    refresh: bool = False,
    cache: Path | None = None,
    on_event: Listener = ignore,
) -> MicroImage:
    """The micro image, from an earlier build of the same inputs or built now.

    `folder` holds images (default: labkit's folder in the user's data directory), `cache` the
    downloads. `add` names packages whose files the image has besides; their maintainer scripts
    are not run. `mirror` is "URL" or "URL SUITE…". `refresh` takes the newest versions the mirror
    has; their lock is kept with the image and used from then on.
    """
    began = time.monotonic()
    rules.name(name)
    wanted = tuple(sorted({_package_name(package) for package in add}))
    home = _home(folder, name)
    shelf = _Packages(cache, mirror, on_event)
    with full_disk_is_said(home), exclusive(home / "lock"):
        lock = _current_lock(home)
        if refresh or lock.add != wanted:
            base = shelf.newest() if refresh else shipped_lock()
            lock = shelf.with_added(base, wanted)
        image = _load(home, name, lock)
        cached = image is not None
        if image is None:
            image = _build(home, name, lock, shelf, on_event)
    on_event(ImageBuilt("localhost", name, image.size, time.monotonic() - began, cached))
    return image


def find_micro(folder: Path | None = None, *, name: str = "micro") -> MicroImage | None:
    """The image of this name if this version of labkit has built it; nothing is downloaded."""
    home = _home(folder, rules.name(name))
    return _load(home, name, _current_lock(home))


def shipped_lock() -> Lock:
    """The lock file that comes with labkit."""
    text = resources.files(__package__).joinpath(LOCK_FILE).read_text(encoding="utf-8")
    return read_lock(text, LOCK_FILE)


def refresh_lock(
    path: Path, *, mirror: str | None = None, cache: Path | None = None, on_event: Listener = ignore
) -> Lock:
    """Write the lock file that comes with labkit anew, with the newest versions of the mirror."""
    lock = _Packages(cache, mirror, on_event).newest()
    path.write_text(write_lock(lock), encoding="utf-8")
    return lock


class _Packages:
    """The packages of one build: index, lock and files."""

    def __init__(self, cache: Path | None, mirror: str | None, on_event: Listener) -> None:
        self._mirror = mirror
        self._on_event = on_event
        folder = cache or platformdirs.user_cache_path("labkit") / "packages"
        self._cache = PackageCache(folder, self._mirrors, on_event)

    def _mirrors(self) -> list[Mirror]:
        return mirrors(self._mirror)

    def unpack(self, package: Package) -> Tree:
        """The files of a package."""
        return debs.files(self._cache.get(package), package.name)

    def newest(self) -> Lock:
        """The newest versions of what the image is made of, without what gives nothing to it."""
        packages = self._index().closure(layers.ROOTS)
        contents = layers.assemble(packages, lambda name: self.unpack(packages[name]))
        return Lock({name: packages[name] for name in packages if name in contents.used})

    def with_added(self, base: Lock, add: tuple[str, ...]) -> Lock:
        """A lock with these packages, and what they need, besides those of another."""
        if not add:
            return base
        packages = self._index().closure(
            [name for name in add if name not in base.packages], known=base.packages
        )
        whole = sorted({*add, *packages})
        return Lock({**packages, **base.packages}, add, tuple(whole))

    def _index(self) -> Index:
        self._on_event(ImageBuildStage("localhost", "packages", "index"))
        return read_index(self._mirrors(), fetch)


def _home(folder: Path | None, name: str) -> Path:
    return (folder or platformdirs.user_data_path("labkit") / "micro") / name


def _package_name(value: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
        rules.invalid("add", value, "names of Debian packages")
    return value


def _current_lock(home: Path) -> Lock:
    own = home / LOCK_FILE
    return read_lock(own.read_text(encoding="utf-8"), str(own)) if own.exists() else shipped_lock()


def _key(lock: Lock) -> str:
    """What tells images apart: the lock, labkit's files in the guest, and the builder."""
    digest = hashlib.sha256(f"{BUILDER}\n{write_lock(lock)}".encode())
    for path, content in sorted(layers.guest_files().items()):
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _load(home: Path, name: str, lock: Lock) -> MicroImage | None:
    """An image built earlier; it was put in place by one rename, so it is whole."""
    key = _key(lock)
    folder = home / key[:16]
    try:
        document: dict[str, Any] = json.loads((folder / "image.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return MicroImage(
        name,
        folder / "vmlinux",
        folder / "initrd.cpio",
        document["kernel_sha256"],
        document["initrd_sha256"],
        key,
        tuple(lock.packages.values()),
    )


def _build(home: Path, name: str, lock: Lock, shelf: _Packages, on_event: Listener) -> MicroImage:
    on_event(ImageBuildStage("localhost", name, "unpack"))
    contents = layers.assemble(
        lock.packages, lambda package: shelf.unpack(lock.packages[package]), lock.whole
    )
    on_event(ImageBuildStage("localhost", name, "pack"))
    initrd = cpio.archive(contents.tree)
    document = {
        "add": lock.add,
        "kernel_sha256": hashlib.sha256(contents.kernel).hexdigest(),
        "initrd_sha256": hashlib.sha256(initrd).hexdigest(),
        "packages": [f"{package.name} {package.version}" for package in lock.packages.values()],
    }
    part = Path(tempfile.mkdtemp(prefix="part-", dir=home))
    try:
        (part / "vmlinux").write_bytes(contents.kernel)
        (part / "initrd.cpio").write_bytes(initrd)
        (part / "image.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        part.chmod(0o755)
        part.rename(home / _key(lock)[:16])
        if lock != shipped_lock():
            (home / LOCK_FILE).write_text(write_lock(lock), encoding="utf-8")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    image = _load(home, name, lock)
    assert image is not None  # it was just put there
    return image
