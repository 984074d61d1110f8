"""Copies a base image to a worker: only its data, verified there, going on where it was cut.

The worker's `receive` program must know the image's sha256 before the first byte, because the
part file is named after it: that is what makes resuming safe with several managers. So the image
is hashed before (once in a process; an image of the library never), while the worker hashes what
arrives as it arrives.
"""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

from labkit import events, remote
from labkit.errors import (
    CommandError,
    CommandFailed,
    CommandTimeout,
    ConnectionLost,
    DiskFull,
    LabkitError,
    ProgramMissing,
    TransferError,
)
from labkit.executor import NO_SUCH_PROGRAM, Executor, Result, Stream
from labkit.images.problems import error_of
from labkit.images.source import BaseImage

FRAME = struct.Struct("<QQ")
CHUNK = 1 << 20
PROGRESS_BYTES = 8 << 20
PROGRESS_SECONDS = 0.5
IDLE = 30.0  # seconds of silence, in both directions
FINISH = 600.0  # seconds until what was sent is on the worker's disk
PATIENCE = 3600.0  # seconds that another manager's copy of the same image is waited for
RESUME = "What has arrived is kept there; ask again, and it goes on from there."


def copy_base(
    executor: Executor,
    host: str,
    base_dir: str,
    image: BaseImage,
    on_event: events.Listener = events.ignore,
) -> int:
    """Put the image into the worker's folder; the number of bytes that had to be sent.

    Raises `DiskFull`, `BaseImageDiffers`, `TransferError` or `ConnectionLost`; then the image is
    not there under its name, and asking again goes on.
    """
    arguments = (base_dir, image.file, image.sha256, str(image.size), f"{IDLE:g}")
    started = time.monotonic()
    with _told(host, image), contextlib.closing(_open(executor, host, arguments)) as stream:
        copy = _Copy(executor, host, base_dir, image, stream, on_event)
        try:
            state = copy.first_state()
            if state["state"] == "have":
                return 0
            copy.send(state["offset"], state["free"])
            copy.wait_until_done()
        except DiskFull:
            stream.finish(IDLE)  # nothing was sent yet: let it clean up
            raise
    on_event(
        events.ImageCopied(host, image.file, image.sha256, copy.sent, time.monotonic() - started)
    )
    return copy.sent


class _Copy:
    """One conversation with the worker's `receive` program."""

    def __init__(
        self,
        executor: Executor,
        host: str,
        base_dir: str,
        image: BaseImage,
        stream: Stream,
        on_event: events.Listener,
    ) -> None:
        self.files, self.host, self.base_dir = executor.manager, host, base_dir
        self.image, self.stream, self.on_event = image, stream, on_event
        self.sent = 0
        self._buffer = bytearray()

    def first_state(self) -> Mapping[str, Any]:
        """What the worker has already, once it is our turn."""
        while True:
            state = self._state(IDLE)
            if state["state"] == "waiting":
                self.on_event(events.ImageCopyWaiting(self.host, self.image.file, state["seconds"]))
                if state["seconds"] > PATIENCE:
                    raise TransferError(
                        f"cannot copy {self.image.file} to {self.host}",
                        why=f"another manager has been copying it for {state['seconds']:.0f} s",
                        fix="Ask again later, or look for a labkit that hangs on another machine.",
                    )
            elif state["state"] != "checking":
                return state

    def send(self, offset: int, free: int) -> None:
        """Send the data from `offset` on, and the end."""
        self.on_event(events.ImageCopyProgress(self.host, self.image.file, offset, self.total, 0))
        try:
            for frame in self._frames(offset, free):
                self.stream.write(frame, IDLE)
            self.stream.write(FRAME.pack(self.total, 0), IDLE)
        except TransferError:
            self.wait_until_done()  # it ended early: its last line says why
            raise

    def wait_until_done(self) -> None:
        while self._state(FINISH)["state"] != "done":
            pass

    @property
    def total(self) -> int:
        return self.image.size

    def _frames(self, offset: int, free: int) -> Iterator[bytes]:
        told, told_at = 0, time.monotonic()
        zeros = bytes(CHUNK)
        with self.files.open(self.image.path) as file:
            # all at once: finding an extent moves the position that reading relies on
            extents = list(self.files.extents(file, offset))
            needed = sum(length for _, length in extents)
            if needed > free:
                raise DiskFull(
                    f"there is no room for {self.image.file} in {self.base_dir} on {self.host}",
                    why=f"{needed >> 20} MiB are needed, {free >> 20} MiB are free",
                    fix="Delete disks or base images there that are no longer wanted.",
                )
            for start, length in extents:
                for at in range(start, start + length, CHUNK):
                    file.seek(at)
                    piece = file.read(min(CHUNK, start + length - at))
                    if piece == zeros[: len(piece)]:
                        continue
                    yield FRAME.pack(at, len(piece)) + piece
                    self.sent += len(piece)
                    now = time.monotonic()
                    if self.sent - told >= PROGRESS_BYTES or now - told_at >= PROGRESS_SECONDS:
                        self._progress(at + len(piece))
                        told, told_at = self.sent, now
        self._progress(self.total)

    def _progress(self, done: int) -> None:
        self.on_event(
            events.ImageCopyProgress(self.host, self.image.file, done, self.total, self.sent)
        )

    def _state(self, timeout: float) -> Mapping[str, Any]:
        """The program's next line; a failure is raised."""
        while b"\n" not in self._buffer:
            data = self.stream.read(CHUNK, timeout)
            if not data:
                raise _ended(self.stream.finish(IDLE), self.image, self.host)
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            state = json.loads(line)
        except ValueError:
            state = None
        if not isinstance(state, dict) or "state" not in state:
            raise TransferError(
                f"cannot copy {self.image.file} to {self.host}",
                why=f"labkit's program there answers {line[:200]!r}",
                fix="Find out what else writes to the output of commands there.",
            )
        if state["state"] == "failed":
            raise self._failure(state)
        return state

    def _failure(self, state: Mapping[str, Any]) -> LabkitError:
        what = f"{self.image.file} did not arrive on {self.host}"
        if state["code"] == "corrupt":
            return TransferError(
                what,
                why="its sha256 is wrong: the file changed here, or was damaged on the way; what "
                "had arrived was deleted",
                fix="Ask again.",
            )
        if state["code"] == "idle":
            return TransferError(what, why=f"nothing came for {IDLE:g} s", fix=RESUME)
        return error_of(state, self.host, self.base_dir)


def _open(executor: Executor, host: str, arguments: tuple[str, ...]) -> Stream:
    try:
        return executor.open(host, remote.program("receive", *arguments))
    except CommandFailed as error:
        if error.context["result"].returncode != NO_SUCH_PROGRAM:
            raise
        raise _no_python(host) from error


def _ended(result: Result, image: BaseImage, host: str) -> CommandError | TransferError:
    """The error of a program that ended without a last word."""
    if result.returncode == NO_SUCH_PROGRAM:
        return _no_python(host)
    said = result.error_text.strip().splitlines()
    return TransferError(
        f"{image.file} did not arrive on {host}",
        why=f"labkit's program there ended with status {result.returncode}"
        f"{f', {said[-1][:300]}' if said else ''}",
        fix=RESUME,
    )


def _no_python(host: str) -> ProgramMissing:
    return ProgramMissing(
        f"cannot copy a base image to {host}",
        why="python3 is not installed there",
        fix=f"Install it on {host}: sudo apt install python3",
        program="python3",
    )


@contextlib.contextmanager
def _told(host: str, image: BaseImage) -> Iterator[None]:
    """A broken or silent connection, as what it means for the copy."""
    what = f"{image.file} did not arrive on {host}"
    try:
        yield
    except ConnectionLost as error:
        raise ConnectionLost(what, why=error.why or str(error), fix=RESUME) from error
    except CommandTimeout as error:
        raise TransferError(what, why="the worker fell silent", fix=RESUME) from error
