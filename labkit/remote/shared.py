"""What the worker programs share: problems, the lock, the record of a base's content, signals."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import stat
import sys
from typing import Any, Dict, Iterator, NoReturn, Union

Facts = Dict[str, Any]
MIB = 1 << 20
RUN_KEY = re.compile(r"[0-9a-f]{8}")  # names a slice's run folder
MACHINE_FOLDER = re.compile(r"m([0-9]{1,5})")
LIMIT = 107  # bytes of a socket's path
LONGEST = "m65535/serial"  # of the sockets below the run folder


class Problem(Exception):
    """A request that cannot be done, as the answer tells it."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.facts: Facts = {"code": code, **facts}


def problem_of(error: OSError, folder: str) -> Problem:
    """An error of the operating system as a problem of the folder we work in."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem("disk-full", dir=folder, free=free_bytes(folder))
    return Problem("not-writable", dir=folder, reason=str(error))


def free_bytes(folder: str) -> int:
    space = os.statvfs(nearest(folder))
    return space.f_bavail * space.f_frsize


def nearest(folder: str) -> str:
    """The folder, or where it would be made."""
    there = os.path.abspath(folder)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    return there


def run_base() -> str:
    """Where the run folders of this user's slices lie."""
    return os.path.abspath(os.environ.get("LABKIT_RUN_DIR") or "/tmp/labkit-%d" % os.getuid())


def run_folder(key: str) -> str:
    """A slice's run folder; a `Problem` where its sockets' paths would be too long."""
    folder = os.path.join(run_base(), key)
    longest = os.path.join(folder, LONGEST)
    if len(os.fsencode(longest)) > LIMIT:
        length = len(os.fsencode(longest))
        raise Problem("path-too-long", path=longest, length=length, limit=LIMIT)
    return folder


def why_unsafe(path: str, *, private: bool) -> Union[str, None]:
    """What is wrong with a folder that only this user may change, and `private`: enter."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a folder"
    if status.st_uid != os.getuid():
        return "it belongs to user %d" % status.st_uid
    if private and status.st_mode & 0o077:
        return "others may enter it (mode %o)" % stat.S_IMODE(status.st_mode)
    if status.st_mode & 0o022:
        return "others may write to it (mode %o)" % stat.S_IMODE(status.st_mode)
    return None


def try_lock(path: str) -> Union[int, None]:
    """The open lock file when we hold it now, None when another process does.

    The kernel frees the lock of a process that dies. The holder removes the file, so that none
    is left behind; hence the check that what we locked is still the file by this name.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(path)):
                    return lock
        except BlockingIOError:
            os.close(lock)
            return None
        os.close(lock)


@contextlib.contextmanager
def held(lock: int, path: str) -> Iterator[None]:
    """Give the lock back at the end and leave no file behind."""
    try:
        yield
    finally:
        os.unlink(path)
        os.close(lock)


def record_path(path: str) -> str:
    """Where the sha256 of a base image is written down."""
    folder, name = os.path.split(path)
    return os.path.join(folder, ".%s.sha256" % name)


def recorded_sha256(path: str, status: os.stat_result) -> Union[str, None]:
    """The sha256 that is written down, if that is about this very file."""
    try:
        with open(record_path(path), encoding="ascii") as file:
            sha256, size, modified = json.load(file)
    except (OSError, ValueError, TypeError):
        return None
    return str(sha256) if (size, modified) == (status.st_size, status.st_mtime_ns) else None


def record_sha256(path: str, sha256: str, temporary: str) -> None:
    """Write the sha256 down, whole or not at all."""
    status = os.stat(path)
    if recorded_sha256(path, status) == sha256:
        return
    with open(temporary, "w", encoding="ascii") as file:
        json.dump([sha256, status.st_size, status.st_mtime_ns], file)
    os.replace(temporary, record_path(path))


SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def end_orderly_on_signals() -> None:
    """End by way of every `finally`."""

    def stop(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, stop)


def ignore_signals() -> None:
    """Let nothing interrupt the way back."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
