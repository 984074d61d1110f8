"""The problems that worker programs tell, as labkit's errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labkit import rules
from labkit.errors import (
    BaseImageDiffers,
    BaseImageInvalid,
    BaseImageMissing,
    CommandError,
    CommandFailed,
    DiskFull,
    DiskTooSmall,
    ImageError,
    LabkitError,
    OverlayExists,
    ProgramMissing,
)
from labkit.executor import Result

Problem = Mapping[str, Any]


def error_of(problem: Problem, host: str, base_dir: str) -> LabkitError:
    """The error that says what a worker program found."""
    code = problem.get("code")
    make = _ERRORS.get(str(code))
    if make is None:
        return CommandError(
            f"labkit's program on {host} met a problem that is not known here",
            why=f"it says {dict(problem)!r}",
            fix="Use the same version of labkit everywhere.",
        )
    error = make(problem, host, base_dir)
    error.context.update(problem, host=host, base_dir=base_dir)
    return error


def _size(size: int) -> str:
    """A disk's size for people, in units of 2^20 or 2^30 bytes as flavors count."""
    return f"{size / rules.GIB:.4g} GB" if size >= rules.GIB else f"{size / 2**20:.4g} MB"


def _base_missing(problem: Problem, host: str, base_dir: str) -> LabkitError:
    return BaseImageMissing(f"the base image {problem['file']} is not in {base_dir} on {host}")


def _base_invalid(problem: Problem, host: str, base_dir: str) -> LabkitError:
    file = problem["file"]
    return BaseImageInvalid(
        f"the base image {file} on {host} cannot be used",
        why=problem["reason"],
        fix=f"Remove {base_dir}/{file} on {host}, unless disks depend on it, and ask again: "
        "the file of this machine is then copied there.",
    )


def _base_differs(problem: Problem, host: str, base_dir: str) -> LabkitError:
    file, here, wanted = problem["file"], problem["here"], problem["wanted"]
    return BaseImageDiffers(
        f"the base image {file} on {host} is not the one on this machine",
        why=f"its sha256 is {here[:16]}…, here it is {wanted[:16]}…; it is not replaced, because "
        "disks on the worker may depend on it",
        fix=f"Give the new image another file name; or remove {base_dir}/{file} on {host} when no "
        "disk uses it, and ask again.",
    )


def _overlay_exists(problem: Problem, host: str, base_dir: str) -> LabkitError:
    mark, base = problem["mark"] or {}, problem["base"]
    whose = f"the user {problem['user']}"
    if mark.get("owner"):
        vm = f", VM {mark['vm_id']}" if "vm_id" in mark else ""
        place = f", slice {mark['slice']}" if "slice" in mark else ""
        whose = f"{mark['owner']} ({mark.get('name', 'a VM')}{vm}{place})"
    made = f"made from {base}" if base else "not made from a base image"
    return OverlayExists(
        f"the disk {problem['file']} is already in {base_dir} on {host}",
        why=f"it belongs to {whose}, is {made} and was last changed {problem['modified']}; "
        "a disk is never overwritten",
        fix="Delete it first if it is no longer wanted, or choose another name.",
    )


def _disk_too_small(problem: Problem, host: str, base_dir: str) -> LabkitError:
    asked, base = problem["size"], problem["base_size"]
    return DiskTooSmall(
        f"cannot create the disk {problem['file']} on {host}",
        why=f"{_size(asked)} were asked for, but its base image holds {_size(base)}",
        fix=f"Ask for a disk_gb of at least {base / rules.GIB}, or use a smaller base image.",
    )


def _disk_full(problem: Problem, host: str, base_dir: str) -> LabkitError:
    return DiskFull(
        f"there is no room in {problem['dir']} on {host}",
        why=f"{problem['free'] / 2**20:.1f} MiB are free; nothing was made",
        fix="Delete disks or base images there that are no longer wanted, and ask again.",
    )


def _not_writable(problem: Problem, host: str, base_dir: str) -> LabkitError:
    return ImageError(
        f"cannot work in {problem['dir']} on {host}",
        why=problem["reason"],
        fix="See that the folder belongs to the user labkit logs in as, or use another base_dir.",
    )


def _qemu_img_missing(problem: Problem, host: str, base_dir: str) -> LabkitError:
    return ProgramMissing(
        f"cannot create disks on {host}",
        why="qemu-img is not installed there",
        fix=f"Install it on {host}: sudo apt install qemu-utils",
        program="qemu-img",
    )


def _qemu_img_failed(problem: Problem, host: str, base_dir: str) -> LabkitError:
    said = problem["stderr"]
    result = Result(tuple(problem["argv"]), problem["status"], b"", said.encode(), host=host)
    return CommandFailed(
        f"qemu-img create failed in {base_dir} on {host}",
        why=f"status {problem['status']}, {said}",
        result=result,
    )


def _outside(problem: Problem, host: str, base_dir: str) -> LabkitError:
    rule = f"the path of a disk in {base_dir}, where labkit makes them on {host}"
    rules.invalid("image_path", problem["path"], rule)


_ERRORS: dict[str, Callable[[Problem, str, str], LabkitError]] = {
    "base-missing": _base_missing,
    "base-invalid": _base_invalid,
    "base-differs": _base_differs,
    "overlay-exists": _overlay_exists,
    "disk-too-small": _disk_too_small,
    "disk-full": _disk_full,
    "not-writable": _not_writable,
    "qemu-img-missing": _qemu_img_missing,
    "qemu-img-failed": _qemu_img_failed,
    "outside": _outside,
}
