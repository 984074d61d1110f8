"""A connection to one worker: making it, and sharing its few channels among threads."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from labkit.errors import WorkerError, WorkerUnreachable
from labkit.ssh.authentication import Silence, authenticate
from labkit.ssh.hostkeys import HostKey, KnownHosts

Wait = Callable[[float], None]

LOG = "labkit.ssh.transport"
logging.getLogger(LOG).addHandler(logging.NullHandler())  # paramiko logs each lost connection

CIPHERS = (  # the first is by far the fastest on machines with AES instructions
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
SILENCE = 20_000  # milliseconds without any acknowledgement until the kernel gives a connection up
CHANNELS = 5  # sshd allows 10 (MaxSessions), but frees each only some time after its end
REFUSED_ATTEMPTS = 3  # "connection refused" may be an sshd that restarts: look again, briefly
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
REFUSED = 2  # SSH_OPEN_CONNECT_FAILED of RFC 4254, 5.1: what sshd says beyond its MaxSessions
LAST_ANSWER = 1.0  # seconds that a server has at least to answer what it is asked at the deadline


@dataclass(frozen=True, slots=True)
class Login:
    """How to get into a worker."""

    user: str
    port: int
    key_file: str | Path | None
    known_hosts: KnownHosts
    timeout: float
    attempts: int


def connect(login: Login, host: str, wait: Wait) -> Connection:
    """A new, authenticated connection.

    A server that hangs up is asked again, with growing pauses: when many connect at once, sshd
    drops some of them at random (MaxStartups). Refused keys and host keys are final.
    """
    reasons: list[str] = []
    deadline = time.monotonic() + login.timeout
    while True:
        began = time.monotonic()
        try:
            return Connection(host, _attempt(login, host))
        except WorkerError:
            raise
        except (OSError, EOFError, Silence, paramiko.SSHException) as error:
            late = time.monotonic() - began >= login.timeout
            reasons.append(_reason(error, login, late=late))
            if late or time.monotonic() >= deadline or len(reasons) >= _attempts(error, login):
                raise _unreachable(login, host, reasons) from error
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(reasons) - 1))
        wait(pause * random.uniform(0.5, 1.5))


def _attempt(login: Login, host: str) -> paramiko.Transport:
    sock = socket.create_connection((host, login.port), timeout=login.timeout)
    try:
        _tune(sock)
        transport = paramiko.Transport(sock)
    except BaseException:
        sock.close()
        raise
    try:
        _handshake(transport, login, host)
        authenticate(transport, login.user, host, login.port, login.key_file)
    except BaseException:
        _close(transport)
        raise
    return transport


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each command waits 40 ms
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE)


def _handshake(transport: paramiko.Transport, login: Login, host: str) -> None:
    transport.set_log_channel(LOG)
    transport.banner_timeout = login.timeout
    transport.handshake_timeout = login.timeout
    transport.auth_timeout = login.timeout
    transport.channel_timeout = login.timeout
    options = transport.get_security_options()
    options.ciphers = [name for name in CIPHERS if name in options.ciphers]
    options.key_types = _key_types(login.known_hosts, host, login.port, tuple(options.key_types))
    transport.start_client(timeout=login.timeout)
    key = transport.get_remote_server_key()
    shown = HostKey(key.get_name(), key.asbytes())
    login.known_hosts.check(host, login.port, shown)


def _key_types(
    known_hosts: KnownHosts, host: str, port: int, offered: tuple[str, ...]
) -> tuple[str, ...]:
    """The kinds of host key to ask for, recorded ones first: a server may have several."""
    recorded = {key.kind for key in known_hosts.lookup(host, port).trusted}
    if "ssh-rsa" in recorded:
        recorded |= {"rsa-sha2-512", "rsa-sha2-256"}
    return tuple(sorted(offered, key=lambda kind: kind not in recorded))


def _attempts(error: Exception, login: Login) -> int:
    """How often it is worth trying in all, after this error."""
    if isinstance(error, ConnectionRefusedError):
        return min(REFUSED_ATTEMPTS, login.attempts)
    hopeless = (socket.gaierror, TimeoutError, paramiko.ssh_exception.IncompatiblePeer)
    if isinstance(error, hopeless) or (
        isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
    ):
        return 1
    return login.attempts


def _reason(error: Exception, login: Login, *, late: bool) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({error.strerror})"
    if isinstance(error, TimeoutError) or late:
        return f"no answer from port {login.port} within {login.timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on its port {login.port} (connection refused)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "banner" in str(error) or isinstance(error, EOFError | ConnectionError):
        return "its SSH server hung up at once, as an overloaded one does"
    return str(error) or type(error).__name__


def _unreachable(login: Login, host: str, reasons: list[str]) -> WorkerUnreachable:
    count = len(reasons)
    told = "; ".join(dict.fromkeys(reasons))
    return WorkerUnreachable(
        f"cannot connect to {login.user}@{host}",
        why=told if count == 1 else f"{count} attempts: {told}",
        fix="Check that it is up and its address is right; "
        f"ssh -p {login.port} {login.user}@{host} true says more.",
        host=host,
        port=login.port,
        attempts=count,
    )


def _close(transport: paramiko.Transport) -> None:
    with contextlib.suppress(OSError):  # wakes its thread, which else looks up every 0.1 s
        transport.sock.shutdown(socket.SHUT_RDWR)
    transport.close()
    transport.sock.close()


class Connection:
    """An authenticated connection to `host` and the channels in use on it."""

    def __init__(self, host: str, transport: paramiko.Transport) -> None:
        self.host = host
        self._transport = transport
        self._slots = threading.BoundedSemaphore(CHANNELS)
        self._lock = threading.Lock()
        self._in_use = 0
        self._waiting = 0  # how many of those in use have no channel yet
        self._freed = 0.0  # when a place was last given back; the server may notice a little later
        self._retired = False

    @property
    def alive(self) -> bool:
        return self._transport.is_active() and not self._retired

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """One of the few places for a command; waits for it, as every holder has a deadline."""
        with self._slots:
            with self._lock:
                self._in_use += 1
            try:
                yield
            finally:
                with self._lock:
                    self._in_use -= 1
                    self._freed = time.monotonic()
                    last = self._retired and self._in_use == 0
                if last:
                    self.close()

    def channel(self, wait: Wait, deadline: float, *, tries: int = 10_000) -> paramiko.Channel:
        """A new channel. Until it is used nothing was sent, so that asking again is safe.

        A server with fewer sessions (MaxSessions) than we have slots refuses some; it is asked
        again until `deadline`, and beyond it while others on this connection have theirs.
        """
        pause = 0.01
        with self._lock:
            self._waiting += 1
        try:
            while True:
                remaining = max(0.0, deadline - time.monotonic())
                try:
                    return self._open_session(max(remaining, LAST_ANSWER))
                except paramiko.ChannelException:
                    tries -= 1
                    if tries == 0 or (remaining == 0 and not self._is_moving()):
                        raise
                wait(pause * random.uniform(0.5, 1.5))
                pause = min(0.2, pause * 2)
        finally:
            with self._lock:
                self._waiting -= 1

    def _is_moving(self) -> bool:
        """Whether somebody's command runs, or did so a moment ago: a place may yet be free."""
        with self._lock:
            running = self._in_use - self._waiting
            return running > 0 or time.monotonic() - self._freed < LAST_ANSWER

    def _open_session(self, timeout: float) -> paramiko.Channel:
        """A session; `ChannelException` when the server refuses it.

        paramiko keeps one exception for all threads of a transport, so that a refusal may find
        its own taken by another's. An answer that came in time on a connection that stands, and
        gave no channel, is a refusal all the same.
        """
        deadline = time.monotonic() + timeout
        try:
            return self._transport.open_session(timeout=timeout)
        except paramiko.ChannelException:
            raise
        except paramiko.SSHException as error:
            if self._transport.is_active() and time.monotonic() < deadline:
                raise paramiko.ChannelException(REFUSED, "the session was refused") from error
            raise

    def retire(self) -> None:
        """Take no new commands; closed when the last one that runs on it is done."""
        with self._lock:
            self._retired = True
            idle = self._in_use == 0
        if idle:
            self.close()

    def close(self) -> None:
        _close(self._transport)
