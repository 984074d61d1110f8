"""What names, ids, counts, hosts and paths may look like; each rule once, before any effect.

Every function returns its value, so that a check reads as an assignment, and raises
`InvalidArgument` naming the argument, the value and the rule (contract part 3, faults 6, 12, 15).
"""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
from typing import Any, NoReturn

from labkit.errors import InvalidArgument

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
OWNER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.@+-]{0,126}")
HOST = re.compile(r"(?=.{1,253}\Z)[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_-]+)*\.?")
NUMBERS = re.compile(r"[0-9.]+")  # meant as an IPv4 address, then
IMAGE_FILE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,127}")
FOLDER = re.compile(r"~?(/[a-zA-Z0-9_.+@-]+)+/?|~|/")

OVERLAY_SUFFIX = "_img.qcow2"
MAX_VM_ID = 65535  # two bytes of the MAC address hold it
MAX_INTERFACES = 256  # one byte of the MAC address counts them
MAX_GB = 65536  # of a flavor's memory or disk
GIB = 2**30  # a "GB" of a flavor is qemu-img's G


def invalid(argument: str, value: object, rule: str) -> NoReturn:
    """Raise the one error for a broken rule."""
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:60]}… ({len(shown)} characters)"
    raise InvalidArgument(
        f"{argument} is {shown}",
        why=f"it must be {rule}",
        fix="Give another value; nothing was done.",
        argument=argument,
        value=value,
        rule=rule,
    )


def _text(argument: str, value: Any, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        invalid(argument, value, rule)
    return value


def name(value: Any, argument: str = "name") -> str:
    """A name of a VM, slice or image: 1 to 63 letters, digits, ``_ . -``."""
    return _text(
        argument,
        value,
        NAME,
        "1 to 63 letters, digits, '_', '.' or '-', the first a letter or digit",
    )


def owner(value: Any, argument: str = "owner") -> str:
    """A user name or mail address."""
    return _text(
        argument,
        value,
        OWNER,
        "a user name or mail address: 1 to 127 letters, digits, '_', '.', '@', '+' or '-'",
    )


def host(value: Any, argument: str = "worker_ip") -> str:
    """An IPv4 or IPv6 address or a host name."""
    if isinstance(value, str):
        if HOST.fullmatch(value) and not NUMBERS.fullmatch(value):
            return value
        try:
            return str(ipaddress.ip_address(value)) and value
        except ValueError:
            pass
    invalid(argument, value, "an IP address or a host name")


def integer(value: Any, argument: str, low: int, high: int) -> int:
    """A whole number in a range; `True` and ``"2"`` are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        invalid(argument, value, f"a whole number from {low} to {high}")
    return value


def vm_id(value: Any, argument: str = "vm_id") -> int:
    """0 to 65535: beyond it MAC addresses would repeat."""
    return integer(value, argument, 0, MAX_VM_ID)


def positive(value: Any, argument: str, high: float = math.inf) -> float:
    """A number above 0 and at most `high`, in the unit of the argument."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 < value <= high
    ):
        most = "" if high == math.inf else f" and at most {high:g}"
        invalid(argument, value, f"a number above 0{most}")
    return value


def boolean(value: Any, argument: str) -> bool:
    """`True` or `False`, not something that counts as one."""
    if not isinstance(value, bool):
        invalid(argument, value, "True or False")
    return value


def slice_id(value: Any, argument: str = "slice_id") -> int | str:
    """A slice's number, or its name."""
    if isinstance(value, str):
        return name(value, argument)
    if value is None:
        invalid(argument, value, "a whole number, or a name")
    return integer(value, argument, 0, 2**63 - 1)


def image_file(path: Any, argument: str = "base_image_path") -> str:
    """The file name at the end of an image's path.

    A colon would make QEMU read it as a protocol, a leading dash as an option.
    """
    rule = (
        "a path whose file name is 1 to 128 letters, digits, '_', '.', '+' or '-', "
        "the first a letter or digit"
    )
    if not isinstance(path, str) or "\0" in path:
        invalid(argument, path, rule)
    file = posixpath.basename(path)
    if not IMAGE_FILE.fullmatch(file):
        invalid(argument, path, rule)
    return file


def folder(value: Any, argument: str = "base_dir") -> str:
    """A folder on a worker: absolute, or below the home folder by ``~``; no ``..``, no globs."""
    rule = "a plain folder path such as '~/vm_images' or '/srv/images'"
    if not isinstance(value, str) or not FOLDER.fullmatch(value) or ".." in value.split("/"):
        invalid(argument, value, rule)
    return value if value in ("/", "~") else value.rstrip("/")


def overlay_file(vm_name: str) -> str:
    """The file name of a VM's overlay (contract part 1)."""
    return f"{name(vm_name, 'vm_name')}{OVERLAY_SUFFIX}"


def overlay_path(value: Any, argument: str = "image_path") -> str:
    """A path that may be deleted: a plain folder and a file made by labkit's naming."""
    rule = f"the path of an overlay, FOLDER/NAME{OVERLAY_SUFFIX}, without '..', globs or spaces"
    if not isinstance(value, str) or "\0" in value:
        invalid(argument, value, rule)
    parent, file = posixpath.split(value)
    if not file.endswith(OVERLAY_SUFFIX) or not NAME.fullmatch(file[: -len(OVERLAY_SUFFIX)]):
        invalid(argument, value, rule)
    if not FOLDER.fullmatch(parent) or ".." in parent.split("/"):
        invalid(argument, value, rule)
    return value


def disk_bytes(disk_gb: float) -> int:
    """A flavor's disk in bytes: GB are 2^30, rounded up to the 512-byte sectors of a disk."""
    sectors = -(-math.ceil(positive(disk_gb, "disk_gb", MAX_GB) * GIB) // 512)
    return sectors * 512
