"""The one seam to the outside world: running commands and moving bytes on a host.

Owns the `Executor` and `Stream` protocols, `Result`, the implementation for this machine and the
small runner that fans work out over hosts. `labkit.testing.ExecutorContract` states, as tests,
what every implementation promises.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import selectors
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, TypeVar

from labkit import remote, rules
from labkit.errors import (
    ClosedError,
    CommandError,
    CommandFailed,
    CommandTimeout,
    LabkitError,
    TransferError,
    UsageError,
)
from labkit.sockets import UnixConnection

DEFAULT_TIMEOUT = 30.0
MAX_OUTPUT = 64 * 2**20  # bytes of one stream; more is an error, never cut off silently
NO_SUCH_PROGRAM = 127  # what a POSIX shell reports
NOT_EXECUTABLE = 126
SIGNALLED = 128  # status of a program ended by signal N is 128 + N, as in a shell
CHUNK = 1 << 18


def show(argv: Sequence[str], limit: int = 120) -> str:
    """A command as one readable, pasteable line; long arguments are cut."""
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
            f"{show(self.argv)} failed on {self.host or 'this machine'}",
            why=f"status {self.returncode}{f', {said[-1][:300]}' if said else ''}",
            result=self,
        )


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
        """Connect to a unix socket on the host."""

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
        """By a small program on the host; a socket that cannot be reached ends at once."""
        return self.open(host, remote.program("relay", path))

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
            if not isinstance(word, str) or "\0" in word:
                rules.invalid("argv", word, "text without a zero byte in each argument")
        return tuple(argv)


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


class LocalExecutor(BaseExecutor):
    """Runs on this machine, which then is manager and worker in one.

    `environment` is added to the environment of every program it starts.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self._names = {"localhost", "127.0.0.1", "::1", socket.gethostname()}
        self.manager: ManagerFiles = LocalFiles()

    def __repr__(self) -> str:
        return "<LocalExecutor>"

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        command = self._check(host, argv, timeout)
        started = time.monotonic()
        try:
            process = self._start(command, stderr=subprocess.PIPE)
        except OSError as error:
            return _not_started(command, error, host)
        try:
            stdout, stderr = _communicate(process, stdin, started + timeout)
            process.wait(max(0.0, started + timeout - time.monotonic()))
        except (_Late, subprocess.TimeoutExpired):
            raise timed_out(host, command, timeout, "it was ended") from None
        except _TooMuch:
            raise output_too_large(host, command) from None
        finally:
            _end(process)
        status = _status(process)
        return Result(command, status, stdout, stderr, time.monotonic() - started, host)

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        return _LocalStream(self, host, self._check(host, argv, DEFAULT_TIMEOUT))

    def connect(self, host: str, path: str) -> Connection:
        self._check(host, ("connect", path), DEFAULT_TIMEOUT)
        return UnixConnection(path)

    def put(self, host: str, path: str, data: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._check(host, ("put", path), timeout)
        target = self._path(path)
        part = target.with_name(f".{target.name}.{os.getpid()}-{next(_numbers)}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise _transfer("write", path, host, error) from error

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        self._check(host, ("get", path), timeout)
        try:
            return self._path(path).read_bytes()
        except OSError as error:
            raise _transfer("read", path, host, error) from error

    def _check(self, host: str, argv: Sequence[str], timeout: float) -> tuple[str, ...]:
        command = super()._check(host, argv, timeout)
        if host not in self._names:
            raise UsageError(
                f"{host} is not this machine",
                why="a LocalExecutor runs commands here only, as 'localhost' or '127.0.0.1'",
                fix="Use labkit.RemoteExecutor for other machines.",
            )
        return command

    def _path(self, path: str) -> Path:
        if path.startswith("~/"):
            return Path(self._environment["HOME"], path[2:])
        return Path(path)

    def _start(self, command: tuple[str, ...], stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environment,
            start_new_session=True,  # a group of its own, to be ended with its children
            bufsize=0,
        )


_numbers = itertools.count()


class _Late(Exception):
    """The deadline passed."""


class _TooMuch(Exception):
    """A stream is over `MAX_OUTPUT`."""


def _not_started(command: tuple[str, ...], error: OSError, host: str) -> Result:
    missing = isinstance(error, FileNotFoundError)
    status = NO_SUCH_PROGRAM if missing else NOT_EXECUTABLE
    reason = "not found" if missing else error.strerror
    return Result(command, status, b"", f"{command[0]}: {reason}\n".encode(), 0.0, host)


def _transfer(verb: str, path: str, host: str, error: OSError) -> TransferError:
    return TransferError(
        f"cannot {verb} {path} on {host}", why=error.strerror or str(error), path=path
    )


def _status(process: subprocess.Popen[bytes]) -> int:
    code = process.returncode
    return code if code >= 0 else SIGNALLED - code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process and no open pipe behind, whatever interrupted us."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes, deadline: float
) -> tuple[bytes, bytes]:
    """Feed and drain a process, both of its streams together, until they end."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    collected = tuple(outputs.values())
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        if rest:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        else:
            process.stdin.close()
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if not ready and time.monotonic() >= deadline:
                raise _Late
            for key, _ in ready:
                if key.fd in outputs:
                    if not _drain(key.fd, outputs[key.fd]):
                        selector.unregister(key.fileobj)
                    continue
                rest = _feed(key.fd, rest)
                if not rest:
                    selector.unregister(key.fileobj)
                    process.stdin.close()
    return bytes(collected[0]), bytes(collected[1])


def _drain(fd: int, into: bytearray) -> bool:
    data = os.read(fd, CHUNK)
    into += data
    if len(into) > MAX_OUTPUT:
        raise _TooMuch
    return bool(data)


def _feed(fd: int, rest: memoryview) -> memoryview:
    """What is left to write; nothing when the program closed its input."""
    try:
        return rest[os.write(fd, rest[:CHUNK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


class _LocalStream:
    """A program on this machine, its streams handed out as they come."""

    def __init__(self, executor: LocalExecutor, host: str, command: tuple[str, ...]) -> None:
        self._host, self._command, self._started = host, command, time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        try:
            self._process = executor._start(command, stderr=self._errors.fileno())
        except OSError as error:
            self._errors.close()
            _not_started(command, error, host).check()
            raise
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def read(self, size: int, timeout: float) -> bytes:
        assert self._process.stdout is not None
        self._wait(self._process.stdout, selectors.EVENT_READ, timeout)
        return os.read(self._process.stdout.fileno(), size)

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        assert self._process.stdin is not None
        rest, deadline = memoryview(data), time.monotonic() + timeout
        while rest:
            self._wait(self._process.stdin, selectors.EVENT_WRITE, deadline - time.monotonic())
            try:
                rest = rest[os.write(self._process.stdin.fileno(), rest[:CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise stream_ended(self._host, self._command) from error

    def finish(self, timeout: float) -> Result:
        deadline = time.monotonic() + timeout
        rest = bytearray()
        assert self._process.stdin is not None
        self._process.stdin.close()
        while data := self.read(CHUNK, deadline - time.monotonic()):
            rest += data
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise timed_out(self._host, self._command, timeout, "it still runs") from None
        self._errors.seek(0, io.SEEK_SET)
        return Result(
            self._command,
            _status(self._process),
            bytes(rest),
            self._errors.read(MAX_OUTPUT),
            time.monotonic() - self._started,
            self._host,
        )

    def close(self) -> None:
        _end(self._process)
        self._errors.close()

    def _wait(self, pipe: object, event: int, timeout: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)  # type: ignore[arg-type]
            if not selector.select(max(0.0, timeout)):
                raise timed_out(self._host, self._command, timeout, "it still runs")


def stream_ended(host: str, argv: Sequence[str]) -> TransferError:
    """The error of writing to a program that has ended."""
    return TransferError(
        f"cannot write to {show(argv)} on {host}", why="the program has ended", host=host
    )


Item = TypeVar("Item")
Value = TypeVar("Value")


def fan_out(
    work: Callable[[Item], Value], items: Sequence[Item], *, at_once: int = 16
) -> list[Value]:
    """`work` on each item in threads; the values in order. The first error is raised at the end.

    Every item is tried, so that an error on one host hides nothing of the others' work.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(at_once, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
    return [future.result() for future in futures]
