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

from labkit.errors.hosts import (
    AuthenticationRefused,
    CommandError,
    CommandFailed,
    CommandTimeout,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    ProgramMissing,
    StewardError,
    StewardOutdated,
    StewardProblem,
    TransferError,
    WorkerError,
    WorkerUnreachable,
)
from labkit.errors.images import (
    BaseImageDiffers,
    BaseImageInvalid,
    BaseImageMissing,
    BuildError,
    DiskFull,
    DiskTooSmall,
    ImageError,
    MirrorMissing,
    MirrorUnreachable,
    OverlayExists,
    PackageInvalid,
    PackageMissing,
    SystemImageDamaged,
)
from labkit.errors.lab import (
    Interrupted,
    LabError,
    LinkError,
    NoRoom,
    NotSeen,
    NotSettled,
)
from labkit.errors.machines import (
    GuestError,
    GuestGone,
    GuestHung,
    GuestNotReady,
    GuestPanicked,
    GuestRebooted,
    GuestRefused,
    GuestTimeout,
    MachineDied,
    MachineError,
    MachineExists,
    MachineNotStarted,
    MachineStuck,
    MachineUnknown,
    NoAgent,
    SetupFailed,
)
from labkit.errors.root import (
    LabkitError,
)
from labkit.errors.store import (
    SliceChanged,
    SliceInUse,
    StoreBusy,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
)
from labkit.errors.usage import (
    ClosedError,
    DuplicateError,
    InvalidArgument,
    UnknownFlavor,
    UnknownImage,
    UnknownSlice,
    UsageError,
)

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
