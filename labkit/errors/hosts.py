"""Errors of workers, of commands and files there, and of the stewards that serve slices."""

from __future__ import annotations

from labkit.errors.lab import LabError


class WorkerError(LabError):
    """A worker could not be spoken to."""

    code = "worker"


class WorkerUnreachable(WorkerError, ConnectionError):
    """No connection to the worker could be made; nothing was sent."""

    code = "worker-unreachable"


class HostKeyUnknown(WorkerError, ConnectionError):
    """The worker's host key is in no known_hosts file; nothing was sent."""

    code = "host-key-unknown"


class HostKeyChanged(WorkerError, ConnectionError):
    """The worker shows another host key than the recorded one; nothing was sent."""

    code = "host-key-changed"


class AuthenticationRefused(WorkerError, PermissionError):
    """The worker accepted none of the keys offered; nothing was sent."""

    code = "authentication-refused"


class ConnectionLost(WorkerError, ConnectionError):
    """The connection broke after a command was sent: whether it took effect is unknown.

    labkit never sends a command again by itself; look first, then decide.
    """

    code = "connection-lost"


class CommandError(LabError):
    """A command on a worker did not do its work."""

    code = "command"


class CommandFailed(CommandError):
    """A command ended with a status other than 0. `context["result"]` is the `Result`."""

    code = "command-failed"


class CommandTimeout(CommandError, TimeoutError):
    """A command did not end in time; the text says whether it was ended on the worker."""

    code = "command-timeout"


class ProgramMissing(CommandError, FileNotFoundError):
    """The worker does not have a program that labkit needs there."""

    code = "program-missing"


class TransferError(LabError, OSError):
    """A file did not arrive, or not whole; the target is as it was before."""

    code = "transfer"


class StewardError(LabError):
    """The process that serves a slice on a host could not be started or spoken to as needed."""

    code = "steward"


class StewardProblem(StewardError):
    """The steward refused a request or could not do it. `context["problem"]` holds its facts."""

    code = "steward-problem"


class StewardOutdated(StewardError):
    """The steward that runs is of another labkit and speaks another protocol."""

    code = "steward-outdated"
