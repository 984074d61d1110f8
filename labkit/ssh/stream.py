"""A program on a worker whose input and output are streamed, on a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from labkit.errors import ClosedError, LabError
from labkit.executor import Result, stream_ended, timed_out
from labkit.ssh.command import Command
from labkit.ssh.connection import Connection
from labkit.ssh.line import stream_line
from labkit.ssh.session import LateError, LostError, NotStartedError, Session, TooMuchError

WINDOW_WAIT = 0.1  # seconds until standard error is looked at again while the worker takes no input
STILL_RUNS = "it still runs"


class RemoteStream:
    """See `labkit.executor.Stream`. One thread may write while another one reads."""

    def __init__(
        self,
        command: Command,
        connection: Connection,
        session: Session,
        on_close: Callable[[RemoteStream], None],
    ) -> None:
        self._command, self._connection, self._session = command, connection, session
        self._on_close = on_close
        self._started = time.monotonic()
        self._closed = False
        session.wait_for_window(WINDOW_WAIT)

    def start(self, timeout: float) -> None:
        """Send the command and wait until it has started."""
        line = stream_line(self._command.argv, self._command.token)
        try:
            self._session.start(line, time.monotonic() + timeout)
        except (LateError, LostError, NotStartedError, TooMuchError) as error:
            raise self._error(error, timeout) from error

    def read(self, size: int, timeout: float) -> bytes:
        self._check_open()
        deadline = time.monotonic() + timeout
        output = self._session.stdout
        try:
            while not output.data and self._session.receive(deadline):
                pass
            if not output.data and not self._session.connected and not self._session.ended:
                raise LostError
        except (LateError, LostError, TooMuchError) as error:
            raise self._error(error, timeout) from error
        return output.take(size)

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        self._check_open()
        deadline = time.monotonic() + timeout
        rest = memoryview(data)
        try:
            while rest:
                if self._session.ended:
                    raise stream_ended(self._command.host, self._command.argv)
                rest = rest[self._session.send(rest) :]
                self._session.receive_errors()
                if rest and time.monotonic() >= deadline:
                    raise LateError
        except (LateError, LostError, TooMuchError) as error:
            if isinstance(error, LostError) and self._session.ended:
                raise stream_ended(self._command.host, self._command.argv) from error
            raise self._error(error, timeout) from error

    def finish(self, timeout: float) -> Result:
        self._check_open()
        deadline = time.monotonic() + timeout
        session, command = self._session, self._command
        try:
            session.end_input(timeout)
            while session.receive(deadline):
                pass
            status = session.status(deadline)
        except (LateError, LostError, NotStartedError, TooMuchError) as error:
            raise self._error(error, timeout) from error
        return Result(
            command.argv,
            status,
            session.stdout.take(len(session.stdout.data)),
            bytes(session.stderr.data),
            time.monotonic() - self._started,
            command.host,
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._session.connected and not self._session.ended:
                self._command.end(self._connection, self._session)
        finally:
            self._connection.close()
            self._on_close(self)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(
                f"the stream of {self._command.argv[0]} on {self._command.host} is closed",
                fix="Open a new one.",
            )

    def _error(self, error: Exception, timeout: float) -> LabError:
        if isinstance(error, LateError):
            return timed_out(self._command.host, self._command.argv, timeout, STILL_RUNS)
        return self._command.error(error, timeout, STILL_RUNS)
