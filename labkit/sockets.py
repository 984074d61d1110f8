"""Connections to unix sockets of this machine."""

from __future__ import annotations

import select
import socket
import time

from labkit.errors import CommandTimeout, ConnectionLost, TransferError, WorkerUnreachable


class UnixConnection:
    """A connected stream socket; one thread may read while another writes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(0)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise WorkerUnreachable(
                f"cannot connect to {path}", why=error.strerror or str(error), path=path
            ) from error

    def read(self, size: int, timeout: float) -> bytes:
        if self._socket.fileno() < 0:
            return b""
        self._wait(timeout, write=False)
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return self.read(size, timeout)
        except OSError as error:
            if self._socket.fileno() < 0:  # closed by another thread meanwhile
                return b""
            raise self._lost(error) from error

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        rest, deadline = memoryview(data), time.monotonic() + timeout
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._wait(deadline - time.monotonic(), write=True)
            except BrokenPipeError as error:
                raise TransferError(
                    f"cannot write to {self._path}", why="the other side has closed it"
                ) from error
            except OSError as error:
                raise self._lost(error) from error

    def close(self) -> None:
        """Wakes up a thread that reads: it is told the end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was faster
            return
        finally:
            self._socket.close()

    def _wait(self, timeout: float, *, write: bool) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT if write else select.POLLIN)
        if not poll.poll(max(0.0, timeout) * 1000):
            raise CommandTimeout(
                f"{self._path} did not {'take' if write else 'send'} anything",
                why=f"{timeout:g} s were not enough",
                timeout=timeout,
            )

    def _lost(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(
            f"the connection to {self._path} broke", why=error.strerror or str(error)
        )
