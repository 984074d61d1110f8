"""The commands of qemu-img, as argument lists."""

from __future__ import annotations

PROGRAM = "qemu-img"


def create(path: str, size: int) -> tuple[str, ...]:
    """Make an empty qcow2 image of `size` bytes; an image that is there is overwritten."""
    return (PROGRAM, "create", "-q", "-f", "qcow2", "--", path, str(size))


def resize(path: str, size: int) -> tuple[str, ...]:
    """Make a qcow2 image larger, to `size` bytes; it must be no running machine's."""
    return (PROGRAM, "resize", "-q", "-f", "qcow2", "--", path, str(size))
