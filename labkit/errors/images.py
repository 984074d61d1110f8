"""Errors of disk images and system images, and of building them."""

from __future__ import annotations

from labkit.errors.lab import LabError


class ImageError(LabError):
    """A disk image is not what it must be, or cannot be made."""

    code = "image"


class BaseImageMissing(ImageError, FileNotFoundError):
    """The base image is neither on the worker nor on this machine."""

    code = "base-image-missing"


class BaseImageInvalid(ImageError, ValueError):
    """The base image is truncated, of another format, or names another file in its header."""

    code = "base-image-invalid"


class BaseImageDiffers(ImageError, FileExistsError):
    """The worker has other content under the base image's name; overlays may depend on it."""

    code = "base-image-differs"


class OverlayExists(ImageError, FileExistsError):
    """The overlay is already there; labkit never overwrites a disk."""

    code = "overlay-exists"


class DiskTooSmall(ImageError, ValueError):
    """The flavor's disk is smaller than the base image it starts from."""

    code = "disk-too-small"


class DiskFull(ImageError, OSError):
    """There is no room for the image."""

    code = "disk-full"


class SystemImageDamaged(ImageError, ValueError):
    """A file of a system image has not the checksum it was built with."""

    code = "system-image-damaged"


class BuildError(ImageError):
    """The micro image cannot be built from its packages."""

    code = "build"


class MirrorMissing(BuildError, LookupError):
    """Neither a setting nor this machine's package sources name a mirror."""

    code = "mirror-missing"


class MirrorUnreachable(BuildError, ConnectionError):
    """The mirror does not answer, or not with what a mirror has."""

    code = "mirror-unreachable"


class PackageMissing(BuildError, LookupError):
    """A package is not, or no longer, on the mirror."""

    code = "package-missing"


class PackageInvalid(BuildError, ValueError):
    """A package, an index or a lock file has the wrong checksum or cannot be read."""

    code = "package-invalid"
