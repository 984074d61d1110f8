"""The one seam to the outside world: running commands and moving bytes on a host.

Owns the `Executor` and `Stream` protocols, `Result`, what implementations share, and the small
runner that fans work out over hosts. `labkit.testing.ExecutorContract` states, as tests,
what every implementation promises.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, TypeVar

from labkit import markup, remote, rules
from labkit.errors import (
    ClosedError,
    CommandError,
    CommandFailed,
    CommandTimeout,
    LabkitError,
    TransferError,
    WorkerUnreachable,
)

DEFAULT_TIMEOUT = 30.0
MAX_OUTPUT = 64 * 2**20  # bytes of one stream; more is an error, never cut off silently
NO_SUCH_PROGRAM = 127  # what a POSIX shell reports
NOT_EXECUTABLE = 126
SIGNALLED = 128  # status of a program ended by signal N is 128 + N, as in a shell
CHUNK = 1 << 18


SHOWN = 120  # characters of a word or a line, where commands are shown
READ_OUTPUT = (
    "All its output is in this error's context['result'], as .text and .error_text; "
    "without check=True a status is a value and no error."
)


def show(argv: Sequence[str], limit: int = SHOWN) -> str:
    """A command as one readable line; long arguments are cut, labkit's own programs named."""
    program = remote.name_of(argv)
    if program is not None:
        return shlex.join((f"labkit:{program}", *argv[len(remote.INTERPRETER) + 1 :]))
    words = [word if len(word) <= limit else f"{word[:limit].splitlines()[0]}…" for word in argv]
    return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its status, both streams apart, and how long it took.

    `returncode` is as in a shell: 127 for an unknown program, 128 + N for signal N.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    host: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def text(self) -> str:
        """Standard output as UTF-8; bytes that are not are shown as U+FFFD."""
        return self.stdout.decode(errors="replace")

    @property
    def error_text(self) -> str:
        """Standard error as UTF-8; bytes that are not are shown as U+FFFD."""
        return self.stderr.decode(errors="replace")

    def check(self) -> Self:
        """This result when its status is 0; raises `CommandFailed` otherwise."""
        if self.ok:
            return self
        said = (self.error_text.strip() or self.text.strip()).splitlines()
        raise CommandFailed(
            f"{self._typed} failed on {self.host or 'this machine'}",
            why=f"status {self.returncode}{f', {said[-1][:300]}' if said else ''}",
            fix="" if remote.name_of(self.argv) else READ_OUTPUT,
            result=self,
        )

    def __repr__(self) -> str:
        facts = filter(None, [f"status {self.returncode}", *self._facts])
        first = f"$ {self._command}  ({', '.join(facts)})"
        complained = markup.readable(self.error_text)
        last = f"stderr:\n{complained}" if complained else ""
        return "\n".join(filter(None, [first, markup.readable(self.text), last]))

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        chip = markup.chip(f"status {self.returncode}", markup.GOOD if self.ok else markup.BAD)
        html = [markup.heading(f"$ {self._command}", chip, *self._facts)]
        for text, kind in ((self.text, markup.QUIET), (self.error_text, markup.BAD)):
            said = markup.readable(text)
            html += [markup.lines(said, kind=kind)] if said else []
        return markup.bundle(repr(self), *html)

    @property
    def _command(self) -> str:
        return self._line or show(self.argv)

    @property
    def _line(self) -> str:
        """The line of shell that it is; empty for a program with arguments."""
        is_line = len(self.argv) == 3 and self.argv[:2] == ("sh", "-c")
        return self.argv[2].strip() if is_line else ""

    @property
    def _typed(self) -> str:
        """The command in a sentence: short, and in one line."""
        if not self._line:
            return show(self.argv)
        first = self._line.splitlines()[0][:SHOWN].rstrip()
        return repr(first if first == self._line else f"{first} …")

    @property
    def _facts(self) -> tuple[str, str]:
        return self.host, f"{self.seconds:.2f} s"


class Connection(Protocol):
    """Bytes both ways, for as long as it is wanted."""

    def read(self, size: int, timeout: float) -> bytes:
        """Up to `size` bytes, as soon as there are any; ``b""`` at the end.

        Raises `CommandTimeout` when nothing came in time and `ConnectionLost` when it broke.
        """

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        """Write all of `data`.

        Raises `TransferError` when the program has ended, `CommandTimeout` when it does not
        read, `ConnectionLost` when the connection broke.
        """

    def close(self) -> None:
        """End it; again is fine."""


class Stream(Connection, Protocol):
    """A running program's standard input and output; `close` ends the program."""

    def finish(self, timeout: float) -> Result:
        """Close its input and wait for its end; `Result.stdout` is what nobody has read."""


class ManagerFiles(Protocol):
    """The files of the manager, the machine where labkit runs and base images come from."""

    def identity(self, path: str) -> tuple[int, Hashable] | None:
        """The size in bytes and a value that changes with the content; None where no file is."""

    def open(self, path: str) -> BinaryIO:
        """The file, for reading and seeking."""

    def extents(self, file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
        """Offset and length of each run of data from `start` on, leaving out holes."""


class Executor(Protocol):
    """Runs commands on hosts and moves bytes to and from them. Safe to use from many threads.

    A command is an argument list that reaches the program unchanged; no shell reads it. It is
    sent once: when a connection breaks after that, `ConnectionLost` says that its effect is
    unknown. A status other than 0 is a value, not an error. `host` is the worker's address.
    """

    @property
    def manager(self) -> ManagerFiles:
        """Where base images are read from."""

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        """Run a program to its end. After `timeout` seconds it is ended, and `CommandTimeout`."""

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        """Start a program whose input and output are streamed, on a connection of its own."""

    def connect(self, host: str, path: str) -> Connection:
        """Connect to a unix socket on the host; `WorkerUnreachable` when nobody serves it."""

    def put(self, host: str, path: str, data: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Write a small file, whole or not at all. ``~/`` is the home folder on the host."""

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        """Read a small file. ``~/`` is the home folder on the host."""

    def execute_direct(
        self, remote_ip: str, command: str, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[bool, str]:
        """The seed's form: a line for the host's shell; never raises (contract part 2)."""

    def close(self) -> None:
        """Let go of all connections; again is fine."""


class BaseExecutor:
    """What implementations share: the open state, checks of arguments, and the seed's form."""

    _closed = False

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        raise NotImplementedError

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        raise NotImplementedError

    def connect(self, host: str, path: str) -> Connection:
        """By a small program on the host, which says first whether it has connected."""
        stream = self.open(host, remote.program("relay", path))
        try:
            if stream.read(1, DEFAULT_TIMEOUT):
                return stream
            why = stream.finish(DEFAULT_TIMEOUT).error_text.strip()
        except BaseException:
            stream.close()
            raise
        stream.close()
        raise WorkerUnreachable(f"cannot connect to {path} on {host}", why=why, path=path)

    def execute_direct(
        self, remote_ip: str, command: str, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[bool, str]:
        """Run a shell line: ``(True, stdout)`` for status 0, else ``(False, stderr)``.

        Never raises: where no status came, the second part says why.
        """
        try:
            if not isinstance(command, str):
                rules.invalid("command", command, "a line of shell as text")
            result = self.run(remote_ip, ("sh", "-c", command), timeout=timeout)
        except LabkitError as error:
            return False, str(error)
        return result.ok, result.text if result.ok else result.error_text

    def _check(self, host: str, argv: Sequence[str], timeout: float) -> tuple[str, ...]:
        """The command as a checked tuple; raises `UsageError` before anything is sent."""
        if self._closed:
            raise ClosedError(f"{self!r} is closed", fix="Make a new executor.")
        rules.host(host, "host")
        rules.positive(timeout, "timeout")
        if isinstance(argv, str) or not argv:
            rules.invalid("argv", argv, "a list of arguments such as ['ls', '-l']")
        for word in argv:
            if not isinstance(word, str) or "\0" in word or not _has_bytes(word):
                rules.invalid("argv", word, "text without a zero byte in each argument")
        return tuple(argv)


def _has_bytes(word: str) -> bool:
    """Whether text can be sent at all: a lone surrogate that stands for no byte cannot."""
    try:
        return word.encode("utf-8", "surrogateescape") is not None
    except UnicodeEncodeError:
        return False


def output_too_large(host: str, argv: Sequence[str]) -> CommandError:
    """The error of a command that printed more than `MAX_OUTPUT`."""
    return CommandError(
        f"{show(argv)} was ended on {host}",
        why=f"it printed more than {MAX_OUTPUT >> 20} MiB",
        fix="Send its output to a file, or read it through a stream.",
    )


def timed_out(host: str, argv: Sequence[str], timeout: float, outcome: str) -> CommandTimeout:
    """The error of a command that did not end in time; `outcome` says what became of it."""
    return CommandTimeout(
        f"{show(argv)} did not end on {host}",
        why=f"{timeout:g} s were not enough; {outcome}",
        fix="Give it a longer timeout, or find out what it waits for.",
        timeout=timeout,
    )


class LocalFiles:
    """The real files of this machine."""

    def identity(self, path: str) -> tuple[int, Hashable] | None:
        try:
            status = Path(path).expanduser().stat()
        except FileNotFoundError:
            return None
        return status.st_size, (status.st_mtime_ns, status.st_ino, status.st_dev)

    def open(self, path: str) -> BinaryIO:
        return Path(path).expanduser().open("rb")

    def extents(self, file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
        fd = file.fileno()
        end = os.fstat(fd).st_size
        while start < end:
            try:
                start = os.lseek(fd, start, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            stop = os.lseek(fd, start, os.SEEK_HOLE)
            yield start, stop - start
            start = stop


def not_transferred(verb: str, path: str, host: str, why: str) -> TransferError:
    """The error of a file that could not be read or written, for a reason as the host told it."""
    fix = f"Correct the path, or what is there on {host}."
    if why in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)):
        fix = f"Free space on {host} (df shows where there is none), then try again."
    elif why in (os.strerror(errno.EACCES), os.strerror(errno.EPERM)):
        fix = f"Look at the permissions of {path} and of its folder on {host}."
    return TransferError(f"cannot {verb} {path} on {host}", why=why, fix=fix, path=path)


def check_transfer(verb: str, path: str, result: Result) -> bytes:
    """The output of a program that reads or writes a file; its last word is why it failed."""
    if result.ok:
        return result.stdout
    said = result.error_text.strip().rpartition("\n")[2].rpartition(": ")[2]
    raise not_transferred(verb, path, result.host, said or f"status {result.returncode}")


def stream_ended(host: str, argv: Sequence[str]) -> TransferError:
    """The error of writing to a program that has ended."""
    return TransferError(
        f"cannot write to {show(argv)} on {host}", why="the program has ended", host=host
    )


Item = TypeVar("Item")
Value = TypeVar("Value")


def fan_out(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    at_once: int = 16,
    on_interrupt: Callable[[], object] = lambda: None,
) -> list[Value]:
    """`work` on each item in threads; the values in order. The first error is raised at the end.

    Every item is tried, so that an error on one host hides nothing of the others' work. Ctrl-C
    begins nothing more and waits for what has begun; `on_interrupt` is to make that end soon.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(at_once, len(items))) as pool:
        try:
            futures = [pool.submit(work, item) for item in items]
            wait(futures)
        except BaseException:
            on_interrupt()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
