"""Every exception labkit raises, and the tree of them.

::

    LabkitError
    ├── UsageError                  the caller is wrong: asking again changes nothing
    │   ├── InvalidArgument         (ValueError)         an argument breaks its rule
    │   ├── DuplicateError          (ValueError)         an id or name is already taken
    │   ├── UnknownFlavor           (LookupError)
    │   ├── UnknownImage            (LookupError)        not in the image library or catalogue
    │   ├── UnknownSlice            (LookupError)        never made here, or deleted
    │   └── ClosedError             (RuntimeError)       used after close()
    └── LabError                    the lab is wrong: it may be better later
        ├── WorkerError             a worker could not be spoken to
        │   ├── WorkerUnreachable   (ConnectionError)    nothing was sent
        │   ├── HostKeyUnknown      (ConnectionError)    nothing was sent
        │   ├── HostKeyChanged      (ConnectionError)    nothing was sent
        │   ├── AuthenticationRefused (PermissionError)  nothing was sent
        │   └── ConnectionLost      (ConnectionError)    a command was sent: its effect is unknown
        ├── CommandError            a command on a worker did not do its work
        │   ├── CommandFailed                            it ended with a status other than 0
        │   ├── CommandTimeout      (TimeoutError)       it did not end in time
        │   └── ProgramMissing      (FileNotFoundError)  the worker does not have the program
        ├── TransferError           (OSError)            a file did not arrive, or not whole
        ├── StewardError            the process that serves a slice on a host
        │   ├── StewardProblem                           it refused or could not do a request
        │   └── StewardOutdated                          it is of another labkit
        ├── LinkError                                    a link cannot be as asked
        ├── NotSeen                 (AssertionError)     no such packet was captured in time
        ├── Interrupted                                  told to stop before it was done
        ├── NotSettled              (TimeoutError)       a slice does not become as it was wished
        ├── NoRoom                                       the hosts or the pools cannot hold the wish
        ├── StoreError              the database of what was promised
        │   ├── StoreUnreadable     (ValueError)         damaged, or not labkit's; never overwritten
        │   ├── StoreTooNew                              written by a newer labkit
        │   ├── StoreBusy           (TimeoutError)       others write to it all the time
        │   ├── SliceInUse                               another process is at work on the slice
        │   └── SliceChanged                             another process has changed the wish
        ├── MachineError            a VM's process
        │   ├── MachineExists       (FileExistsError)    one runs in its place; it was not touched
        │   ├── MachineUnknown      (LookupError)        never started here, or forgotten
        │   ├── MachineNotStarted                        QEMU ended at once; its message is told
        │   ├── MachineDied                              it has ended
        │   └── MachineStuck        (TimeoutError)       it did not end, or does not answer
        ├── GuestError              the system inside a VM; the text has its console's last words
        │   ├── GuestNotReady       (TimeoutError)       nothing was sent
        │   ├── GuestTimeout        (TimeoutError)       a command; its group was ended
        │   ├── GuestRebooted       (ConnectionError)    while a command ran: its effect is unknown
        │   ├── GuestPanicked       (ConnectionError)    its kernel; what ran is lost
        │   ├── GuestHung           (TimeoutError)       it no longer answers, not even a ping
        │   ├── GuestGone           (ConnectionError)    the VM ended while a command ran
        │   ├── GuestRefused                             the guest's agent did not take a request
        │   ├── NoAgent                                  its image has none: nothing can be asked
        │   └── SetupFailed                              a setting or a command of the wish
        └── ImageError
            ├── BaseImageMissing    (FileNotFoundError)
            ├── BaseImageInvalid    (ValueError)         truncated, wrong format, names another file
            ├── BaseImageDiffers    (FileExistsError)    the worker has other content by this name
            ├── OverlayExists       (FileExistsError)    never overwritten
            ├── DiskTooSmall        (ValueError)         asked for less than the base image holds
            ├── DiskFull            (OSError)
            ├── SystemImageDamaged  (ValueError)         its files are not what was built
            └── BuildError                               the micro image cannot be built
                ├── MirrorMissing       (LookupError)        no package mirror is known
                ├── MirrorUnreachable   (ConnectionError)    no answer, or not a sensible one
                ├── PackageMissing      (LookupError)        not, or no longer, on the mirror
                └── PackageInvalid      (ValueError)         wrong checksum, or unreadable
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from labkit import markup, tracebacks

__all__ = [
    "AuthenticationRefused",
    "BaseImageDiffers",
    "BaseImageInvalid",
    "BaseImageMissing",
    "BuildError",
    "ClosedError",
    "CommandError",
    "CommandFailed",
    "CommandTimeout",
    "ConnectionLost",
    "DiskFull",
    "DiskTooSmall",
    "DuplicateError",
    "GuestError",
    "GuestGone",
    "GuestHung",
    "GuestNotReady",
    "GuestPanicked",
    "GuestRebooted",
    "GuestRefused",
    "GuestTimeout",
    "HostKeyChanged",
    "HostKeyUnknown",
    "ImageError",
    "Interrupted",
    "InvalidArgument",
    "LabError",
    "LabkitError",
    "LinkError",
    "MachineDied",
    "MachineError",
    "MachineExists",
    "MachineNotStarted",
    "MachineStuck",
    "MachineUnknown",
    "MirrorMissing",
    "MirrorUnreachable",
    "NoAgent",
    "NoRoom",
    "NotSeen",
    "NotSettled",
    "OverlayExists",
    "PackageInvalid",
    "PackageMissing",
    "ProgramMissing",
    "SetupFailed",
    "SliceChanged",
    "SliceInUse",
    "StewardError",
    "StewardOutdated",
    "StewardProblem",
    "StoreBusy",
    "StoreError",
    "StoreTooNew",
    "StoreUnreadable",
    "SystemImageDamaged",
    "TransferError",
    "UnknownFlavor",
    "UnknownImage",
    "UnknownSlice",
    "UsageError",
    "WorkerError",
    "WorkerUnreachable",
]


class LabkitError(Exception):
    """The root: says what happened and to what, why, and what to do next.

    `what` names the thing ("cannot create the disk of vm1 on 10.0.10.1"), `why` the cause,
    `fix` the next step; `context` keeps the facts as plain values for programs, and `code` is a
    stable word for them to branch on.
    """

    code: ClassVar[str] = "labkit"

    def __init__(self, what: str, *, why: str = "", fix: str = "", **context: Any) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.context = context

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text.rstrip('.')}. {self.fix}" if self.fix else text

    def report(self) -> list[tuple[str, str]]:
        """It in a few lines, each with its title: what, why, what to do, and where in your code."""
        found = [("Why", self.why), ("Do", self.fix)]
        found += [("Note", note) for note in getattr(self, "__notes__", ())]
        found.append(("Where", tracebacks.users_line(self.__traceback__)))
        told = [(title, text.strip()) for title, text in found if text.strip()]
        return [(type(self).__name__, self.what), *told]

    @property
    def _render_traceback_(self) -> Callable[[], list[str]]:
        """IPython shows this in the place of a long traceback, where it has the attribute."""
        if not tracebacks.wants_short():
            raise AttributeError("_render_traceback_")
        return self._short_traceback

    def _short_traceback(self) -> list[str]:
        bold, red, off = tracebacks.colours()
        (kind, what), *others = self.report()
        shown = [f"{bold}{red}{kind}{off}{bold}: {what}{off}"]
        others.append(("More", "%tb verbose shows the whole traceback"))
        for title, text in others:
            shown.append(f"{bold}{title:<6}{off} " + text.replace("\n", "\n       "))
        return shown

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        (kind, what), *others = self.report()
        rows = [(markup.Cell(f"<b>{title}</b>", title), text) for title, text in others]
        shown = markup.heading(what, markup.chip(kind, markup.BAD))
        text = f"{kind}: {what}\n{markup.text_table([(t, x) for t, x in others])}".rstrip()
        return markup.bundle(text, shown, markup.facts(rows))


class UsageError(LabkitError):
    """The caller is wrong; nothing was done, and asking again changes nothing."""

    code = "usage"


class InvalidArgument(UsageError, ValueError):
    """An argument breaks its rule. `context` holds `argument`, `value` and `rule`."""

    code = "invalid-argument"


class DuplicateError(UsageError, ValueError):
    """An id or a name that must be unique is already taken."""

    code = "duplicate"


class UnknownFlavor(UsageError, LookupError):
    """There is no flavor of this name."""

    code = "unknown-flavor"


class UnknownImage(UsageError, LookupError):
    """Neither the image library nor the catalogue knows this name."""

    code = "unknown-image"


class UnknownSlice(UsageError, LookupError):
    """There is no slice of this name in the store."""

    code = "unknown-slice"


class ClosedError(UsageError, RuntimeError):
    """An executor was used after `close()`."""

    code = "closed"


class LabError(LabkitError):
    """The lab is wrong; the same request may succeed later."""

    code = "lab"


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


class LinkError(LabError):
    """A link cannot be as asked, or does not do what it should."""

    code = "link"


class NotSeen(LabError, AssertionError):
    """A packet that was expected was not captured in time."""

    code = "not-seen"


class NoRoom(LabError):
    """The hosts cannot hold the wish, or a pool of ids or addresses is used up; nothing was done.

    `context` holds the sums: what is `needed` and what is `free`.
    """

    code = "no-room"


class Interrupted(LabError):
    """Work on a slice was told to stop; what was done stays, asking again goes on from there."""

    code = "interrupted"


class NotSettled(LabError, TimeoutError):
    """A slice does not become as it was wished: something undoes what is done."""

    code = "not-settled"


class StoreError(LabError):
    """The database of what was promised cannot be used as asked; it is as it was before."""

    code = "store"


class StoreUnreadable(StoreError, ValueError):
    """The database is damaged or not labkit's. It is never overwritten or emptied."""

    code = "store-unreadable"


class StoreTooNew(StoreError):
    """A newer labkit has written the database; this one must not touch it."""

    code = "store-too-new"


class StoreBusy(StoreError, TimeoutError):
    """Other processes held the database for longer than we wait; nothing was written."""

    code = "store-busy"


class SliceInUse(StoreError):
    """Another process is at work on the slice, or has taken it over from this one."""

    code = "slice-in-use"


class SliceChanged(StoreError):
    """The wish was changed by another process since it was read; nothing was written."""

    code = "slice-changed"


class MachineError(LabError):
    """A VM's process is not what it should be."""

    code = "machine"


class MachineExists(MachineError, FileExistsError):
    """A VM runs in this place already; it was not touched."""

    code = "machine-exists"


class MachineUnknown(MachineError, LookupError):
    """No VM was started in this place, or it was forgotten."""

    code = "machine-unknown"


class MachineNotStarted(MachineError):
    """QEMU ended before it ran anything; the text has what it said."""

    code = "machine-not-started"


class MachineDied(MachineError):
    """The VM has ended; the text says how, as far as it is known."""

    code = "machine-died"


class MachineStuck(MachineError, TimeoutError):
    """The VM did not end in time, or its QEMU does not answer."""

    code = "machine-stuck"


class GuestError(LabError):
    """The system inside a VM did not do what was asked."""

    code = "guest"


class GuestNotReady(GuestError, TimeoutError):
    """The guest does not answer (yet); nothing was sent."""

    code = "guest-not-ready"


class GuestTimeout(GuestError, TimeoutError):
    """A command did not end in time; the guest ended it and its children."""

    code = "guest-timeout"


class GuestRebooted(GuestError, ConnectionError):
    """The guest rebooted while something ran in it: the effect is unknown."""

    code = "guest-rebooted"


class GuestPanicked(GuestError, ConnectionError):
    """The guest's kernel panicked; what ran in it is lost."""

    code = "guest-panicked"


class GuestHung(GuestError, TimeoutError):
    """The guest no longer answers; what was asked may have taken effect."""

    code = "guest-hung"


class GuestGone(GuestError, ConnectionError):
    """The VM ended while something ran in it: the effect is unknown."""

    code = "guest-gone"


class GuestRefused(GuestError):
    """The guest's agent did not take a request; nothing was done."""

    code = "guest-refused"


class NoAgent(GuestError):
    """The image has no agent of labkit: commands and files cannot reach the guest."""

    code = "no-agent"


class SetupFailed(GuestError):
    """A guest did not take the settings of its wish, or a command of the wish failed in it."""

    code = "setup-failed"


class ImageError(LabError):
    """A disk image is not what it must be, or cannot be made."""

    code = "image"


class BaseImageMissing(ImageError, FileNotFoundError):
    """The base image is neither on the worker nor on this machine."""

    code = "base-image-missing"


class BaseImageInvalid(ImageError, ValueError):
    """The base image is truncated, of another format, or names another file in its header."""

    code = "base-image-invalid"


class BaseImageDiffers(ImageError, FileExistsError):
    """The worker has other content under the base image's name; overlays may depend on it."""

    code = "base-image-differs"


class OverlayExists(ImageError, FileExistsError):
    """The overlay is already there; labkit never overwrites a disk."""

    code = "overlay-exists"


class DiskTooSmall(ImageError, ValueError):
    """The flavor's disk is smaller than the base image it starts from."""

    code = "disk-too-small"


class DiskFull(ImageError, OSError):
    """There is no room for the image."""

    code = "disk-full"


class SystemImageDamaged(ImageError, ValueError):
    """A file of a system image has not the checksum it was built with."""

    code = "system-image-damaged"


class BuildError(ImageError):
    """The micro image cannot be built from its packages."""

    code = "build"


class MirrorMissing(BuildError, LookupError):
    """Neither a setting nor this machine's package sources name a mirror."""

    code = "mirror-missing"


class MirrorUnreachable(BuildError, ConnectionError):
    """The mirror does not answer, or not with what a mirror has."""

    code = "mirror-unreachable"


class PackageMissing(BuildError, LookupError):
    """A package is not, or no longer, on the mirror."""

    code = "package-missing"


class PackageInvalid(BuildError, ValueError):
    """A package, an index or a lock file has the wrong checksum or cannot be read."""

    code = "package-invalid"
