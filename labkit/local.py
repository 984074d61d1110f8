"""The executor for this machine: programs as child processes, files as they are."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.errors import UsageError
from labkit.executor import (
    CHUNK,
    DEFAULT_TIMEOUT,
    MAX_OUTPUT,
    NO_SUCH_PROGRAM,
    NOT_EXECUTABLE,
    SIGNALLED,
    BaseExecutor,
    Connection,
    LocalFiles,
    ManagerFiles,
    Result,
    Stream,
    not_transferred,
    output_too_large,
    stream_ended,
    timed_out,
)
from labkit.sockets import UnixConnection


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
            raise not_transferred("write", path, host, _reason(error)) from error

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        self._check(host, ("get", path), timeout)
        try:
            return self._path(path).read_bytes()
        except OSError as error:
            raise not_transferred("read", path, host, _reason(error)) from error

    def _check(self, host: str, argv: Sequence[str], timeout: float) -> tuple[str, ...]:
        command = super()._check(host, argv, timeout)
        if host not in self._names:
            raise UsageError(
                f"{host} is not this machine",
                why="a LocalExecutor runs commands here only, as 'localhost' or '127.0.0.1'",
                fix="Use labkit.RemoteExecutor for other machines; "
                "with labkit worker check, leave out --local.",
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


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


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
