"""Errors of VMs, and of the systems inside them."""

from __future__ import annotations

from labkit.errors.lab import LabError


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
