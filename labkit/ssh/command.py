"""A command sent to a worker: running it, ending it early, and telling what went wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass

import paramiko

from labkit.errors import CommandError, ConnectionLost, LabError
from labkit.executor import MAX_OUTPUT, output_too_large, show, timed_out
from labkit.ssh.connection import Connection, Wait
from labkit.ssh.line import END_GROUP, END_OF_INPUT, run_line
from labkit.ssh.session import LateError, LostError, NotStartedError, Session, TooMuchError

CONFIRM = 4.0  # seconds to find out whether a command that was given up has ended
ENDED = "it was ended"
UNSURE = "the worker did not confirm its end, so look whether it still runs and what it did"
SILENT = "it did not report its start; should it still start, it is ended, but look what it did"
STILL_RUNS = "it could not be ended: its process group {pid} still runs there"

Trouble = (LateError, LostError, NotStartedError, TooMuchError)
Broken = (paramiko.SSHException, EOFError, OSError)  # what paramiko raises for a dead connection


@dataclass(frozen=True, slots=True)
class Command:
    """What is run where; `token` marks its start in the session's output."""

    host: str
    argv: tuple[str, ...]
    token: str
    wait: Wait

    def session(self, channel: paramiko.Channel) -> Session:
        return Session(channel, self.token, MAX_OUTPUT)

    def run(self, connection: Connection, session: Session, stdin: bytes, timeout: float) -> int:
        """Run it to its end: its status. Whatever interrupts this ends the command as well."""
        line = run_line(self.argv, self.token, len(stdin))
        data = stdin + END_OF_INPUT if stdin else b""
        try:
            return session.converse(line, data, time.monotonic() + timeout)
        except Trouble as trouble:
            raise self.error(trouble, timeout, self.end(connection, session, trouble)) from trouble
        except BaseException:  # Ctrl-C above all
            self.end(connection, session)
            raise

    def end(
        self, connection: Connection, session: Session, trouble: Exception | None = None
    ) -> str:
        """End the command and wait until it is gone; what became of it, in words.

        Where that fails the connection is given up, and the command's watcher ends it.
        """
        if isinstance(trouble, LostError | NotStartedError):
            return ENDED
        if session.pid is None:
            connection.retire()
            return SILENT
        argv = ("sh", "-c", END_GROUP, "sh", str(session.pid))
        deadline = time.monotonic() + CONFIRM
        try:
            channel = self._second_channel(connection, session, deadline)
            with self.session(channel) as other:
                status = other.converse(run_line(argv, self.token), b"", deadline)
        except (*Trouble, *Broken):
            connection.retire()
            return UNSURE
        return ENDED if status == 0 else STILL_RUNS.format(pid=session.pid)

    def _second_channel(
        self, connection: Connection, session: Session, deadline: float
    ) -> paramiko.Channel:
        try:
            return connection.channel(self.wait, deadline, tries=1)
        except paramiko.ChannelException:  # no room beside the command: let its watcher end it
            session.close()
            return connection.channel(self.wait, deadline)

    def error(self, trouble: Exception, timeout: float, outcome: str) -> LabError:
        """The public error for what interrupted the command."""
        if isinstance(trouble, TooMuchError):
            return output_too_large(self.host, self.argv)
        if isinstance(trouble, LostError):
            return self.lost(str(trouble))
        if isinstance(trouble, NotStartedError):
            return CommandError(
                f"{show(self.argv)} did not start on {self.host}",
                why=str(trouble),
                fix="Look at the files its login shell reads, such as ~/.bashrc, and that it is "
                "a POSIX shell.",
                host=self.host,
            )
        return timed_out(self.host, self.argv, timeout, outcome)

    def lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(
            f"the connection to {self.host} was lost while {show(self.argv)} ran",
            why=f"{reason or 'it broke'}, so its effect is unknown",
            fix="Look at the worker first, then decide; labkit sends no command a second time.",
            host=self.host,
            argv=self.argv,
        )
