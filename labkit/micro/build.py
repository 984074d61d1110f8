"""Building the micro image: locked packages in, kernel and initramfs out, kept by their inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import labkit
from labkit import rules
from labkit.errors import MirrorMissing, MirrorUnreachable, SystemImageDamaged
from labkit.events import ImageBuildStage, ImageBuilt, Listener, ignore
from labkit.micro import cpio, layers
from labkit.micro.fetch import exclusive, full_disk_is_said
from labkit.micro.image import (
    INITRD_FILE,
    KERNEL_FILE,
    LOCK_FILE,
    MICRO,
    RECORD_FILE,
    MicroImage,
    check_known,
    current_lock,
    find_micro,
    has_installed,
    images_folder,
    key_of,
    load,
    own_lock,
    shipped_lock,
)
from labkit.micro.packages import Lock, write_lock
from labkit.micro.shelf import Shelf
from labkit.micro.whole import check_whole

_PART = "part-"


def ensure(
    name: str = MICRO, folder: Path | None = None, *, on_event: Listener = ignore
) -> MicroImage:
    """The image of this name: as it is there, built or installed; else built now.

    Several processes may ask at once: one builds, the others wait for it. Only images that were
    made before are made again, so any name but "micro" that was never built is `UnknownImage`.
    Raises `SystemImageDamaged` when its files have changed since.
    """
    image = find_micro(folder, name=name)
    if image is not None:
        check_whole(image, folder)
        return image
    check_known(name, folder)
    with _installing_is_said(name):
        return build_micro(folder, name=name, on_event=on_event)


def build_micro(
    folder: Path | None = None,
    *,
    name: str = MICRO,
    add: Iterable[str] | None = None,
    mirror: str | None = None,
    refresh: bool = False,
    cache: Path | None = None,
    on_event: Listener = ignore,
) -> MicroImage:
    """The micro image, from an earlier build of the same inputs or built now.

    `folder` holds images (default: labkit's folder in the user's data directory), `cache` the
    downloads. `add` names packages whose files the image has besides (default: those it has);
    their maintainer scripts are not run. `mirror` is "URL" or "URL SUITE…". `refresh` takes the
    newest versions the mirror has; their lock is kept with the image and used from then on.
    """
    began = time.monotonic()
    rules.name(name)
    wanted = None if add is None else tuple(sorted({_package_name(package) for package in add}))
    if wanted and name == MICRO:
        rules.invalid("name", name, "a name of your own for an image with packages added")
    home = images_folder(folder) / name
    shelf = Shelf(cache, mirror, on_event)

    def waiting() -> None:
        on_event(ImageBuildStage("localhost", name, "wait"))

    with full_disk_is_said(home), exclusive(home / "lock", waiting):
        lock = _wanted_lock(home, shelf, wanted, refresh=refresh)
        image = _undamaged(load(home, name, lock), folder)
        cached = image is not None
        if image is None:
            image = _build(home, name, lock, shelf, on_event)
        _keep_lock(home, lock)
    on_event(ImageBuilt("localhost", name, image.size, time.monotonic() - began, cached))
    return image


def _wanted_lock(
    home: Path, shelf: Shelf, wanted: tuple[str, ...] | None, *, refresh: bool
) -> Lock:
    """What the image is made of: as it was, unless other or newer packages are wanted."""
    lock = current_lock(home)
    added = lock.add if wanted is None else wanted
    if not refresh and lock.add == added:
        return lock
    return shelf.with_added(shelf.newest() if refresh else shipped_lock(), added)


def refresh_lock(
    path: Path, *, mirror: str | None = None, cache: Path | None = None, on_event: Listener = ignore
) -> Lock:
    """Write the lock file that comes with labkit anew, with the newest versions of the mirror."""
    lock = Shelf(cache, mirror, on_event).newest()
    path.write_text(write_lock(lock), encoding="utf-8")
    return lock


@contextlib.contextmanager
def _installing_is_said(name: str) -> Iterator[None]:
    """Where there is no mirror, an installed image needs none: say so."""
    try:
        yield
    except (MirrorMissing, MirrorUnreachable) as error:
        wheel = f"labkit-{name}-image of labkit {labkit.__version__}"
        has = "; the one that is installed is of another version" if has_installed(name) else ""
        fix = f"{error.fix} Without a mirror, install the wheel {wheel}{has}."
        raise type(error)(error.what, why=error.why, fix=fix, **error.context) from error


def _package_name(value: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
        rules.invalid("package", value, "the name of a Debian package")
    return value


def _keep_lock(home: Path, lock: Lock) -> None:
    """Keep with an image what it is made of, unless that is what comes with labkit."""
    own = home / LOCK_FILE
    if lock == shipped_lock():
        own.unlink(missing_ok=True)
    elif lock != own_lock(home):
        part = home / f"{_PART}{LOCK_FILE}"
        part.write_text(write_lock(lock), encoding="utf-8")
        part.replace(own)


def _undamaged(image: MicroImage | None, folder: Path | None) -> MicroImage | None:
    """What can be kept of an earlier build; what is damaged is cleared away, for a new one."""
    if image is None:
        return None
    try:
        check_whole(image, folder)
    except SystemImageDamaged:
        shutil.rmtree(image.folder)
        return None
    return image


def _build(home: Path, name: str, lock: Lock, shelf: Shelf, on_event: Listener) -> MicroImage:
    for left in home.glob(f"{_PART}*/"):  # of a build that was killed: we hold the lock
        shutil.rmtree(left)
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
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=home))
    try:
        (part / KERNEL_FILE).write_bytes(contents.kernel)
        (part / INITRD_FILE).write_bytes(initrd)
        (part / RECORD_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")
        part.chmod(0o755)
        part.rename(home / key_of(lock)[:16])
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    image = load(home, name, lock)
    assert image is not None  # it was just put there
    return image
