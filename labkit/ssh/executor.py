"""Commands and small files on workers over SSH: one kept connection for each worker."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from labkit import rules
from labkit.errors import ClosedError, WorkerError, WorkerUnreachable
from labkit.executor import (
    DEFAULT_TIMEOUT,
    BaseExecutor,
    LocalFiles,
    ManagerFiles,
    Result,
    Stream,
    check_transfer,
)
from labkit.ssh.command import Broken, Command
from labkit.ssh.connection import Connection, Login, Wait, connect
from labkit.ssh.hostkeys import SSH_PORT, KnownHosts
from labkit.ssh.line import run_line, stream_line
from labkit.ssh.stream import RemoteStream

# The path comes as an argument and is never read by the shell as anything else.
_PATH = """case $1 in "~/"*) p=$HOME/${1#??};; /*) p=$1;; *) p=./$1;; esac
"""
_PUT = (
    _PATH
    + """[ -d "$p" ] && { echo "put: Is a directory" >&2; exit 1; }
t=${p%/*}/.${p##*/}.$2.part
trap '' PIPE  # its own last words must not end it before it has cleaned up
trap 'rm -f -- "$t"; exit 1' HUP INT TERM
cat >"$t" && mv -f -- "$t" "$p" && exit 0
rm -f -- "$t"
exit 1"""
)
_GET = _PATH + 'exec cat -- "$p"'


class RemoteExecutor(BaseExecutor):
    """Runs commands on workers over SSH, logging in as `remote_user` with a key.

    Host keys are checked against ``~/.ssh/known_hosts`` and ``/etc/ssh/ssh_known_hosts``, or the
    file `known_hosts` alone; nothing is ever added to them, and nobody is ever asked anything.
    Keys come from the agent and ``~/.ssh``, or from the file `key_file`.

    `connect_timeout` bounds each step of making a connection, and `connect_attempts` how often a
    server that hangs up is asked again. The time limit of a command counts from when it is sent.
    The login shell on the workers must be a POSIX shell; `wait` is what pauses are made with.
    """

    def __init__(
        self,
        remote_user: str = "ubuntu",
        *,
        port: int = SSH_PORT,
        key_file: str | Path | None = None,
        known_hosts: str | Path | None = None,
        connect_timeout: float = 10.0,
        connect_attempts: int = 5,
        wait: Wait = time.sleep,
    ) -> None:
        self._login = Login(
            rules.owner(remote_user, "remote_user"),
            rules.integer(port, "port", 1, 65535),
            key_file,
            KnownHosts(known_hosts),
            rules.positive(connect_timeout, "connect_timeout"),
            rules.integer(connect_attempts, "connect_attempts", 1, 100),
        )
        self._wait = wait
        self._token = f"labkit-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._kept: dict[str, Connection] = {}
        self._gates: dict[str, _Gate] = {}
        self._streams: set[RemoteStream] = set()
        self.manager: ManagerFiles = LocalFiles()

    def __repr__(self) -> str:
        return f"<RemoteExecutor {self._login.user}, port {self._login.port}>"

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        command = self._command(host, self._check(host, argv, timeout))
        run_line(command.argv, self._token)  # refuses what is too long before anything is sent
        with self._channel(host) as (connection, channel), command.session(channel) as session:
            started = time.monotonic()
            status = command.run(connection, session, stdin, timeout)
            seconds = time.monotonic() - started
        out, err = bytes(session.stdout.data), bytes(session.stderr.data)
        return Result(command.argv, status, out, err, seconds, host)

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        command = self._command(host, self._check(host, argv, DEFAULT_TIMEOUT))
        stream_line(command.argv, self._token)
        connection = connect(self._login, host, self._wait)
        try:
            channel = connection.channel(self._wait, time.monotonic() + self._login.timeout)
        except Broken as error:
            connection.close()
            raise _no_session(host, error) from error
        stream = RemoteStream(command, connection, command.session(channel), self._forget_stream)
        with self._lock:
            self._streams.add(stream)
            closed = self._closed
        try:
            if closed:
                raise self._closed_error()
            stream.start(self._login.timeout)
        except BaseException:
            stream.close()
            raise
        return stream

    def put(self, host: str, path: str, data: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._check(host, ("put", path), timeout)
        part = f"{os.getpid()}-{self._token}-{next(self._numbers)}"
        command = ("sh", "-c", _PUT, "put", path, part)
        check_transfer("write", path, self.run(host, command, stdin=data, timeout=timeout))

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        self._check(host, ("get", path), timeout)
        result = self.run(host, ("sh", "-c", _GET, "get", path), timeout=timeout)
        check_transfer("read", path, result)
        return result.stdout

    def close(self) -> None:
        """Close all connections; commands that run in other threads become `ConnectionLost`."""
        with self._lock:
            super().close()
            kept, self._kept = list(self._kept.values()), {}
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        for connection in kept:
            connection.close()

    def _command(self, host: str, argv: tuple[str, ...]) -> Command:
        return Command(host, argv, self._token, self._wait)

    @contextlib.contextmanager
    def _channel(self, host: str) -> Iterator[tuple[Connection, paramiko.Channel]]:
        """A channel of the kept connection; one that turns out dead is replaced, once.

        Nothing has been sent before the channel is there, so that this is safe.
        """
        for replaced in (False, True):
            connection = self._connection(host)
            with connection.slot():
                try:
                    channel = connection.channel(self._wait, time.monotonic() + self._login.timeout)
                except Broken as error:
                    connection.retire()
                    if replaced or isinstance(error, paramiko.ChannelException):
                        raise _no_session(host, error) from error
                    continue
                yield connection, channel
                return

    def _connection(self, host: str) -> Connection:
        """The kept connection, made now if need be: by one thread, the others wait for it."""
        with self._lock:
            gate = self._gates.setdefault(host, _Gate())
            failures = gate.failures
        with gate.lock:
            kept = self._kept.get(host)
            if kept is not None and kept.alive:
                return kept
            if gate.error is not None and gate.failures != failures:
                raise gate.error  # it failed while this thread waited: no need to try again
            return self._connect(host, gate, kept)

    def _connect(self, host: str, gate: _Gate, dead: Connection | None) -> Connection:
        if dead is not None:
            dead.retire()
        try:
            connection = connect(self._login, host, self._wait)
        except WorkerError as error:
            gate.failures, gate.error = gate.failures + 1, error
            raise
        gate.error = None
        with self._lock:
            if not self._closed:
                self._kept[host] = connection
                return connection
        connection.close()
        raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"{self!r} is closed", fix="Make a new executor.")

    def _forget_stream(self, stream: RemoteStream) -> None:
        with self._lock:
            self._streams.discard(stream)


@dataclass(slots=True)
class _Gate:
    """Where the threads that want a connection to the same host wait for the one making it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0
    error: WorkerError | None = None


def _no_session(host: str, error: Exception) -> WorkerUnreachable:
    if isinstance(error, paramiko.ChannelException):
        why = "it allows no further session (MaxSessions in its sshd_config)"
        fix = "Let its other sessions end, or raise MaxSessions."
    else:
        why, fix = f"the connection broke: {error}", "Check the worker and the network, try again."
    return WorkerUnreachable(f"cannot start a command on {host}", why=why, fix=fix, host=host)
