"""Receives a base image, whole and verified or not at all, as labkit.remote lays down."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import queue
import re
import select
import stat
import struct
import sys
import threading
import time
from typing import Any, List, Tuple, Union

from labkit.remote.shared import (
    MIB,
    Problem,
    end_orderly_on_signals,
    free_bytes,
    held,
    problem_of,
    record_sha256,
    recorded_sha256,
    try_lock,
)

FRAME = struct.Struct("<QQ")
POLL_SECONDS = 0.25
SIGN_OF_LIFE = 1.0  # seconds between lines while something takes long
FLUSH_BYTES = 32 * MIB
MANAGER_GONE = 75  # the status then; nobody reads a line


class ManagerGone(Exception):
    """Standard input ended before the image did."""


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class Target:
    """The names a base image has on this worker, from the first byte to the last."""

    def __init__(self, folder: str, file: str, sha256: str, size: int) -> None:
        self.folder, self.file, self.sha256, self.size = folder, file, sha256, size
        self.path = os.path.join(folder, file)
        self.lock = os.path.join(folder, ".%s.lock" % file)
        self.part = os.path.join(folder, ".%s.%s.part" % (file, sha256[:16]))

    def other_parts(self) -> List[str]:
        """What is left of interrupted copies of other content for this name."""
        pattern = re.compile(r"\.%s\.[0-9a-f]{16}\.part" % re.escape(self.file))
        names = (name for name in os.listdir(self.folder) if pattern.fullmatch(name))
        return [os.path.join(self.folder, name) for name in names]


# --- one at a time -----------------------------------------------------------------------------


def take_lock(target: Target) -> int:
    """Wait, telling so, until no other manager sends this file; end when our own manager is gone.

    The wait ends: the kernel frees the lock of a process that dies, and a sender that falls
    silent is dropped by its own receiver.
    """
    started, told = time.monotonic(), 0.0
    lock = try_lock(target.lock)
    while lock is None:
        waited = time.monotonic() - started
        if waited >= told:
            say(state="waiting", seconds=round(waited, 1))
            told = waited + SIGN_OF_LIFE
        if select.select([0], [], [], POLL_SECONDS)[0]:  # nothing is sent yet: this is the end
            raise ManagerGone
        os.makedirs(target.folder, exist_ok=True)  # who gives up removes the folder it made
        lock = try_lock(target.lock)
    return lock


# --- what is there already ---------------------------------------------------------------------


def is_here(target: Target) -> bool:
    """Whether the image is here; other content by its name is never replaced."""
    try:
        status = os.stat(target.path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise Problem("base-invalid", file=target.file, reason="it is not a regular file")
    here = recorded_sha256(target.path, status) or hash_file(target.path)
    if here != target.sha256:
        raise Problem("base-differs", file=target.file, here=here, wanted=target.sha256)
    record_sha256(target.path, target.sha256, target.part + ".new")
    return True


def hash_file(path: str) -> str:
    digest, told = hashlib.sha256(), time.monotonic()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(MIB), b""):
            digest.update(piece)
            if time.monotonic() - told > SIGN_OF_LIFE:
                say(state="checking", done=file.tell())
                told = time.monotonic()
    return digest.hexdigest()


# --- receiving ---------------------------------------------------------------------------------


class Hasher(threading.Thread):
    """Hashes the part file behind the writer, so that verifying costs no time of its own.

    It reads back what the file holds: data, holes and what an earlier copy left, all alike.
    """

    def __init__(self, file: int) -> None:
        super().__init__(daemon=True)
        self.file, self.at = file, 0
        self.digest = hashlib.sha256()
        self.ends: queue.Queue[Union[int, None]] = queue.Queue()
        self.error: OSError | None = None

    def run(self) -> None:
        buffer = memoryview(bytearray(MIB))
        try:
            for end in iter(self.ends.get, None):
                while self.at < end:
                    count = os.preadv(self.file, [buffer[: min(MIB, end - self.at)]], self.at)
                    if not count:
                        raise OSError(errno.EIO, "the part file ends early")
                    self.digest.update(buffer[:count])
                    self.at += count
        except OSError as error:
            self.error = error

    def hexdigest(self) -> str:
        """The sha256 of all there is, once it has been read, with signs of life until then."""
        self.ends.put(None)
        while self.is_alive():
            self.join(SIGN_OF_LIFE)
            if self.is_alive():
                say(state="checking", done=self.at)
        if self.error is not None:
            raise self.error
        return self.digest.hexdigest()


class Flusher(threading.Thread):
    """Has the disk write behind us, so that little is left to do when the last byte has come."""

    def __init__(self, file: int) -> None:
        super().__init__(daemon=True)
        self.file = file
        self.ends: queue.Queue[Union[int, None]] = queue.Queue()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # the fsync at the end tells of it
            for _ in iter(self.ends.get, None):
                os.fdatasync(self.file)


class Input:
    """Standard input, with a limit to its silence."""

    def __init__(self, idle: float) -> None:
        self.idle = idle
        self.buffer = memoryview(bytearray(MIB))

    def some(self, limit: int) -> memoryview:
        """At least one byte, at most `limit`; valid until the next call."""
        if not select.select([0], [], [], self.idle)[0]:
            raise Problem("idle")
        count = os.readv(0, [self.buffer[: min(limit, MIB)]])
        if not count:
            raise ManagerGone
        return self.buffer[:count]

    def frame(self) -> Tuple[int, int]:
        data = b""
        while len(data) < FRAME.size:
            data += bytes(self.some(FRAME.size - len(data)))
        offset, length = FRAME.unpack(data)
        return offset, length


def write_all(file: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(file, data, offset)
        data, offset = data[count:], offset + count


def receive(target: Target, file: int, start: int, source: Input) -> str:
    """Write the frames that come until the last; the sha256 of the whole file."""
    hasher, flusher = Hasher(file), Flusher(file)
    hasher.start()
    flusher.start()
    hasher.ends.put(start)
    at = told = flushed = start
    while True:
        offset, length = source.frame()
        if offset < at or offset + length > target.size:
            raise Problem("corrupt", got="a frame out of order", wanted=target.sha256)
        if not length:
            break
        at = offset
        while length:
            data = source.some(length)
            write_all(file, data, at)
            at, length = at + len(data), length - len(data)
            if at - told >= MIB:
                hasher.ends.put(at)
                told = at
            if at - flushed >= FLUSH_BYTES:
                flusher.ends.put(at)
                flushed = at
    os.ftruncate(file, target.size)
    hasher.ends.put(target.size)
    flusher.ends.put(None)
    os.fsync(file)
    return hasher.hexdigest()


def copy(target: Target, idle: float) -> None:
    """Receive into the part file, verify it, and only then give it its name."""
    file = os.open(target.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    start = os.fstat(file).st_size // MIB * MIB  # the last piece may be half written
    if start > target.size:
        start = 0
    try:
        os.ftruncate(file, start)
        say(state="need", offset=start, free=free_bytes(target.folder))
        got = receive(target, file, start, Input(idle))
        if got != target.sha256:
            raise Problem("corrupt", got=got, wanted=target.sha256)
        put_in_place(target)
    except BaseException as error:
        keep = isinstance(error, (ManagerGone, SystemExit)) or (
            isinstance(error, Problem) and error.facts["code"] == "idle"
        )
        if not keep or os.fstat(file).st_size == 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target.part)
        raise
    finally:
        os.close(file)


def put_in_place(target: Target) -> None:
    """Name the image and make that last; a link, unlike a rename, never replaces a file."""
    os.chmod(target.part, 0o444)
    try:
        os.link(target.part, target.path)
    except FileExistsError:
        if not is_here(target):
            raise
    record_sha256(target.path, target.sha256, target.part + ".new")
    for part in target.other_parts():
        os.unlink(part)
    folder = os.open(target.folder, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


# --- the program -------------------------------------------------------------------------------


def serve(target: Target, idle: float) -> str:
    """The last word; it is said when nothing is left to do, as the manager may hang up then."""
    made = not os.path.isdir(target.folder)
    os.makedirs(target.folder, exist_ok=True)
    try:
        with held(take_lock(target), target.lock):
            if is_here(target):
                return "have"
            copy(target, idle)
            return "done"
    finally:
        if made:
            with contextlib.suppress(OSError):  # it holds something by now
                os.rmdir(target.folder)


def main(folder: str, file: str, sha256: str, size: str, idle: str) -> None:
    end_orderly_on_signals()
    target = Target(os.path.expanduser(folder), file, sha256, int(size))
    try:
        say(state=serve(target, float(idle)))
    except Problem as problem:
        say(state="failed", **problem.facts)
    except (ManagerGone, BrokenPipeError):
        sys.exit(MANAGER_GONE)
    except OSError as error:
        say(state="failed", **problem_of(error, target.folder).facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
