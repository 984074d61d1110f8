"""Base images on the manager: checked before anything is sent, and hashed once."""

from __future__ import annotations

import hashlib
import posixpath
import threading
from collections.abc import Hashable
from dataclasses import dataclass

from labkit.errors import BaseImageInvalid, BaseImageMissing
from labkit.executor import ManagerFiles
from labkit.images.library import ImageLibrary
from labkit.model import FLAVORS
from labkit.programs.qcow2 import NotUsable, check_base

CHUNK = 1 << 20
UNUSABLE = "Get the image again, or give the path of a whole qcow2 image that stands alone."


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A usable base image on the manager; `size` is the file's, `virtual_size` the disk's."""

    path: str
    size: int
    virtual_size: int
    sha256: str

    @property
    def file(self) -> str:
        return posixpath.basename(self.path)


class BaseImages:
    """Finds base images among the manager's files, and remembers those it has read."""

    def __init__(self, files: ManagerFiles, library: ImageLibrary) -> None:
        self.files = files
        self.library = library
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Hashable, BaseImage]] = {}

    def find(self, path: str) -> BaseImage | None:
        """The image at `path`, or None when there is no file.

        Raises `BaseImageInvalid` when the file is no whole qcow2 image that stands alone.
        """
        with self._lock:  # one reads, the others then find it known
            try:
                identity = self.files.identity(path)
                known = self._known.get(path)
                if identity is None or (known is not None and known[0] == identity):
                    return known[1] if identity is not None and known is not None else None
                image = self._read(path, identity[0])
                changed = self.files.identity(path) != identity
            except NotUsable as error:
                raise _unusable(path, str(error)) from error
            except OSError as error:
                raise _unusable(path, error.strerror or str(error)) from error
            if changed:
                raise _unusable(path, "it changed while it was being read")
            self._known[path] = (identity, image)
            return image

    def missing(self, path: str, host: str, base_dir: str) -> BaseImageMissing:
        """The error for an image that is neither here nor on the worker: it says how to get it."""
        file = posixpath.basename(path)
        return BaseImageMissing(
            f"there is no base image {file}",
            why=f"it is neither at {path} on this machine nor in {base_dir} on {host}",
            fix=self._how_to_get(path, file),
            path=path,
            host=host,
        )

    def _how_to_get(self, path: str, file: str) -> str:
        for name, known in self.library.catalogue.items():
            if known.file != file:
                continue
            use = f'labkit.DeploymentAPI(executor, labkit.image_path("{name}"))'
            if name in {image.name for image in self.library.list()}:
                return f"The image library has it; use it with {use}"
            return f"Download it with: labkit image pull {name}; then use it with {use}"
        flavors = [flavor.name for flavor in FLAVORS.values() if flavor.image == path]
        of = f" (the image of the flavor {flavors[0]})" if flavors else ""
        return f"Put the file{of} at {path}, or pass the path of another image."

    def _read(self, path: str, size: int) -> BaseImage:
        with self.files.open(path) as file:
            header = check_base(file, size)
            sha256 = self.library.recorded_sha256(path)
            if sha256 is None:
                digest = hashlib.sha256()
                file.seek(0)
                while piece := file.read(CHUNK):
                    digest.update(piece)
                sha256 = digest.hexdigest()
        return BaseImage(path, size, header.size, sha256)


def _unusable(path: str, reason: str) -> BaseImageInvalid:
    return BaseImageInvalid(f"the base image {path} cannot be used", why=reason, fix=UNUSABLE)
