"""The image library: base images in the user's data directory, each checked and with its sha256."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import platformdirs

from labkit import rules
from labkit.errors import (
    BaseImageInvalid,
    BaseImageMissing,
    DiskFull,
    DuplicateError,
    ImageError,
    TransferError,
    UnknownImage,
)
from labkit.images.catalogue import CATALOGUE, KnownImage
from labkit.images.download import Progress, check_url, download, published_sha256, sha256_of
from labkit.programs.qcow2 import NotUsable, check_base

DATA_VARIABLE = "LABKIT_DATA_DIR"
RECORD = "image.json"
LOCK = ".lock"
NEW, OLD, DOWNLOADS = ".new", ".old", ".downloads"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LibraryImage:
    """An image of the library. Sizes are in bytes, `added` is a time in ISO form (UTC)."""

    name: str
    file: str
    path: str
    size: int
    virtual_size: int
    sha256: str
    added: str
    source: str


class ImageLibrary:
    """Base images by name, each in a folder of its own with its record.

    An image appears whole or not at all, and its file never changes afterwards. The folder is
    ``images`` in labkit's data directory, which `LABKIT_DATA_DIR` replaces. Safe to use from many
    processes.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        catalogue: Mapping[str, KnownImage] = CATALOGUE,
    ) -> None:
        self.folder = Path(folder).expanduser() if folder else _data_folder() / "images"
        self.catalogue = catalogue

    def __repr__(self) -> str:
        return f"<ImageLibrary {self.folder}>"

    def list(self) -> tuple[LibraryImage, ...]:
        """The images there are, by name."""
        names = sorted(record.parent.name for record in self.folder.glob(f"*/{RECORD}"))
        images = (self._find(name) for name in names)
        return tuple(image for image in images if image is not None)

    def info(self, name: str) -> LibraryImage:
        """What is known of an image. Raises `UnknownImage` when it is not in the library."""
        image = self._find(rules.name(name))
        if image is None:
            raise self._unknown(name)
        return image

    def path(self, name: str) -> str:
        """The path of an image's file, for `base_image_path`.

        Raises `BaseImageMissing` for one that can be pulled and `UnknownImage` for others.
        """
        image = self._find(rules.name(name))
        if image is not None:
            return image.path
        if name not in self.catalogue:
            raise self._unknown(name)
        raise BaseImageMissing(
            f"the image {name} is not in the library",
            why=f"{self.folder} does not hold it yet",
            fix=f"Download it: labkit image pull {name}. Without a network, copy "
            f"{self.catalogue[name].file} here and add it: labkit image add {name} FILE",
        )

    def add(self, name: str, path: str | Path, *, source: str = "") -> LibraryImage:
        """Copy the qcow2 image at `path` into the library as `name`, after checking it.

        Adding the same content again changes nothing; other content is a `DuplicateError`.
        """
        rules.name(name)
        rules.image_file(str(path), "path")
        with _explained(f"cannot add {path} to the image library", self.folder):
            return self._add(name, Path(path).expanduser(), Path(path).name, source or str(path))

    def remove(self, name: str) -> None:
        """Remove an image from the library; disks on workers are not touched."""
        if not (self.folder / rules.name(name)).is_dir():  # its record may be damaged
            raise self._unknown(name)
        with _explained(f"cannot remove the image {name}", self.folder), self._locked():
            old = self.folder / OLD
            (self.folder / name).rename(old)
            shutil.rmtree(old)

    def pull(
        self,
        name: str,
        *,
        url: str | None = None,
        on_progress: Progress = lambda done, total: None,
    ) -> LibraryImage:
        """Download an image of the catalogue, verify it and add it; one that is here stays.

        `url` is another place that has the same file. A download that was cut goes on.
        """
        rules.name(name)
        known = self.catalogue.get(name)
        if known is None:
            raise self._unknown(name)
        have = self._find(name)
        if have is not None:
            return have
        place = check_url(url or known.url)
        with _explained(f"cannot keep the download of {name}", self.folder):
            part = self.folder / DOWNLOADS / known.file
            part.parent.mkdir(parents=True, exist_ok=True)
            wanted = known.sha256 or published_sha256(known.checksums or "", known.file)
            download(place, part, on_progress)
            got = sha256_of(part)
            if got != wanted:
                part.unlink()
                raise TransferError(
                    f"the download of {name} from {place} is not the right file",
                    why=f"its sha256 is {got[:16]}…, it must be {wanted[:16]}…; it was deleted",
                    fix="Ask again; if it stays so, the publisher has changed the file.",
                )
            image = self._add(name, part, known.file, place)
            part.unlink()
            with contextlib.suppress(OSError):  # another download is under way
                part.parent.rmdir()
            return image

    def recorded_sha256(self, path: str) -> str | None:
        """The sha256 of a file of this library, when it is still the file that was added."""
        record = self._find(Path(path).parent.name)
        if record is None or record.path != path:
            return None
        try:
            status = Path(path).stat()
            known = json.loads((Path(path).parent / RECORD).read_text())
        except (OSError, ValueError):
            return None
        same = (status.st_size, status.st_mtime_ns) == (record.size, known.get("mtime_ns"))
        return record.sha256 if same else None

    # how

    def _find(self, name: str) -> LibraryImage | None:
        folder = self.folder / name
        try:
            record = json.loads((folder / RECORD).read_text())
            del record["mtime_ns"]
            image = LibraryImage(name=name, path=str(folder / record["file"]), **record)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ImageError(
                f"the record of the image {name} cannot be read",
                why=f"{folder / RECORD}: {error}",
                fix=f"Remove {folder} and add the image again.",
            ) from error
        return image

    def _add(self, name: str, path: Path, file: str, source: str) -> LibraryImage:
        with path.open("rb") as original, self._locked():
            virtual_size = check_base(original, os.fstat(original.fileno()).st_size).size
            folder = self.folder / NEW
            folder.mkdir()
            try:
                sha256 = _copy(original, folder / file)
                have = self._find(name)
                if have is not None:
                    return self._same(have, sha256)
                status = (folder / file).stat()
                added = datetime.now(UTC).isoformat(timespec="seconds")
                image = LibraryImage(
                    name,
                    file,
                    str(self.folder / name / file),
                    status.st_size,
                    virtual_size,
                    sha256,
                    added,
                    source,
                )
                record = {**asdict(image), "mtime_ns": status.st_mtime_ns}
                del record["name"], record["path"]
                (folder / RECORD).write_text(json.dumps(record, indent=1))
                folder.rename(self.folder / name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # gone when it got its name
        return image

    def _same(self, have: LibraryImage, sha256: str) -> LibraryImage:
        if have.sha256 == sha256:
            return have
        raise DuplicateError(
            f"there is another image {have.name} in the library",
            why=f"its sha256 is {have.sha256[:16]}…, the new one's {sha256[:16]}…",
            fix=f"Choose another name, or remove it first: labkit image rm {have.name}",
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Change the library alone; what a crash left is removed first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in (NEW, OLD):
                shutil.rmtree(self.folder / left, ignore_errors=True)
            yield

    def _unknown(self, name: str) -> UnknownImage:
        have = ", ".join(image.name for image in self.list()) or "none"
        can = ", ".join(self.catalogue)
        known = name in self.catalogue
        pull = f"labkit image pull {name}"
        return UnknownImage(
            f"there is no image {name!r} in the library",
            why="it is not downloaded yet" if known else f"the library has {have}",
            fix=f"Download it with: {pull}"
            if known
            else f"Download one of {can} with labkit image pull NAME, or add a file of yours: "
            "labkit image add NAME FILE",
            image=name,
        )


def image_path(name: str) -> str:
    """The path of a library image, for `base_image_path`; see `ImageLibrary.path`."""
    return ImageLibrary().path(name)


def _data_folder() -> Path:
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("labkit"))


def _copy(original: BinaryIO, path: Path) -> str:
    """A read-only copy with holes where the original has zeros; its sha256."""
    digest = hashlib.sha256()
    zeros = bytes(CHUNK)
    original.seek(0)
    with path.open("xb") as copy:
        while piece := original.read(CHUNK):
            digest.update(piece)
            if piece == zeros[: len(piece)]:
                copy.seek(len(piece), os.SEEK_CUR)
            else:
                copy.write(piece)
        copy.truncate()
        copy.flush()
        os.fsync(copy.fileno())
    path.chmod(0o444)
    return digest.hexdigest()


@contextlib.contextmanager
def _explained(what: str, folder: Path) -> Iterator[None]:
    """Errors of files and formats, as labkit's."""
    try:
        yield
    except NotUsable as error:
        raise BaseImageInvalid(what, why=str(error), fix="Use a whole qcow2 image.") from error
    except (ImageError, TransferError):
        raise
    except FileNotFoundError as error:
        fix = "Check the path."
        raise BaseImageMissing(what, why=f"there is no {error.filename}", fix=fix) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = f"Make room in {folder}, or set {DATA_VARIABLE} to a folder with room."
            raise DiskFull(what, why=f"{folder} is full", fix=fix) from error
        raise ImageError(what, why=str(error), fix="Check that the files may be used.") from error
