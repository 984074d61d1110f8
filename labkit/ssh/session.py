"""One command on one channel: sending its line, feeding and draining it until a deadline."""

from __future__ import annotations

import re
import select
import time
from types import TracebackType
from typing import Self

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from labkit.ssh.line import start_marks

CHUNK = 1 << 18
PACKET = 32 * 1024 - 64  # what one SSH packet of OpenSSH holds
WINDOW_CHECK = 0.01  # seconds; paramiko has no event for "more may be sent now"
NO_STATUS = -1
NOISE_LIMIT = 1 << 20  # bytes that a login may print before the command starts


class LateError(Exception):
    """The deadline passed."""


class TooMuchError(Exception):
    """A stream is over its limit."""


class LostError(Exception):
    """The session broke before the command's status came."""


class NotStartedError(Exception):
    """The login shell ended, or refused, before it came to the command."""


class Output:
    """One stream of a session: what came after the start mark, apart from what came before."""

    def __init__(self, mark: re.Pattern[bytes], limit: int) -> None:
        self.data = bytearray()
        self.noise = bytearray()
        self.mark: re.Match[bytes] | None = None
        self._pattern, self._limit = mark, limit

    def add(self, data: bytes) -> None:
        if self.mark is None:
            self.noise += data
            self.mark = self._pattern.search(bytes(self.noise))
            if self.mark is not None:
                self.data += self.noise[self.mark.end() :]
                del self.noise[self.mark.start() :]
        else:
            self.data += data
        if len(self.data) > self._limit or len(self.noise) > NOISE_LIMIT:
            raise TooMuchError

    def take(self, size: int) -> bytes:
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken


class Session:
    """A command that runs on a worker; leaving its `with` block closes the channel."""

    def __init__(self, channel: paramiko.Channel, token: str, limit: int) -> None:
        self._channel = channel
        out_mark, err_mark = start_marks(token)
        self.stdout, self.stderr = Output(out_mark, limit), Output(err_mark, limit)
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process group of the command, once it has started."""
        mark = self.stdout.mark
        return None if mark is None else int(mark.group(1))

    @property
    def ended(self) -> bool:
        """The command's status is known."""
        return self._channel.exit_status != NO_STATUS

    @property
    def connected(self) -> bool:
        transport = self._channel.transport
        return transport is not None and transport.is_active()

    def send_line(self, line: bytes) -> None:
        """Ask for the command; nothing waits for the answer but the reading of the start mark.

        `Channel.exec_command` would wait for it without any deadline.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(b=True)
        message.add_string(line)
        self._send_message(message)

    def start(self, line: bytes, deadline: float) -> None:
        """Ask for the command and wait until it has started."""
        self.send_line(line)
        while self.pid is None:
            if not self.receive(deadline):
                self.status(deadline)

    def converse(self, line: bytes, data: bytes, deadline: float) -> int:
        """Run the command to its end, `data` being its input; its status."""
        if data:
            self.start(line, deadline)
        else:
            self.send_line(line)
        rest = memoryview(data)
        while True:
            window = bool(rest) and self._channel.send_ready()
            if window:
                rest = rest[self.send(rest) :]
            if not self.receive(deadline, longest=0 if window else WINDOW_CHECK if rest else None):
                return self.status(deadline)

    def send(self, data: memoryview) -> int:
        """Send some of `data`; how much. Waits for the channel's own timeout at most."""
        try:
            return self._channel.send(bytes(data[:PACKET]))
        except TimeoutError:
            return 0
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LostError(str(error)) from error

    def receive(self, deadline: float, *, longest: float | None = None) -> bool:
        """Take what has come, after waiting for something; False at the end of both streams.

        With `longest`, wait no longer than that many seconds, and do not mind if nothing came.
        """
        if self.receive_errors() | self._take_output():
            return True
        if self._channel.eof_received or self._channel.closed:
            return self._channel.recv_ready() or self._channel.recv_stderr_ready()
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise LateError
        if longest is not None:
            remaining = min(remaining, longest)
        self._poll.poll(remaining * 1000)
        return True

    def receive_errors(self) -> bool:
        """Take what has come on standard error, without waiting."""
        if not self._channel.recv_stderr_ready():
            return False
        self.stderr.add(self._channel.recv_stderr(CHUNK))
        return True

    def _take_output(self) -> bool:
        if not self._channel.recv_ready():
            return False
        self.stdout.add(self._channel.recv(CHUNK))
        return True

    def status(self, deadline: float) -> int:
        """The status, once both streams have ended."""
        if not self._channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise LateError
        status = self._channel.exit_status
        if self.pid is None and (status != NO_STATUS or self.connected):
            raise NotStartedError(self._reason(status))
        if status == NO_STATUS:
            raise LostError("" if not self.connected else "its session was killed on the worker")
        return status

    def end_input(self, seconds: float) -> None:
        """Close the command's input. Only for a channel that is alone on its connection."""
        self._channel.settimeout(seconds)
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException) as error:
            if not self.ended:
                raise LostError(str(error)) from error

    def wait_for_window(self, seconds: float) -> None:
        """Let `send` wait this long when the worker takes no more."""
        self._channel.settimeout(seconds)

    def close(self) -> None:
        """Close the channel; a command that still runs is ended by its watcher."""
        try:
            self._channel.close()
        except (OSError, EOFError, paramiko.SSHException):
            return  # the connection is gone, and the channel with it

    def _reason(self, status: int) -> str:
        said = bytes(self.stderr.noise + self.stdout.noise).decode(errors="replace").strip()
        reason = (
            "the worker refused to run a command"
            if status == NO_STATUS
            else f"its login shell ended with status {status} before the command"
        )
        return f"{reason}, saying {said.splitlines()[-1][:200]!r}" if said else reason

    def _send_message(self, message: paramiko.Message) -> None:
        transport = self._channel.transport
        assert transport is not None
        try:
            transport._send_user_message(message)  # type: ignore[attr-defined]
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LostError(str(error)) from error
