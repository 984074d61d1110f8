"""What a lab has: seen, never invalid, only surprising."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.allocate import Allocation
from labkit.promise import NicSpec, Port
from labkit.wish import Impairment

RUNNING = "running"
PAUSED = "paused"
PANICKED = "panicked"
OFF = "off"


@dataclass(frozen=True, slots=True)
class Configured:
    """Which settings a guest has taken, by part, since the boot `boot_id`."""

    boot_id: str
    marks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedMachine:
    """A machine in the slice's run folder, running or off.

    `cores`, `memory_mb`, `image`, `overlay` (the name of its disk, or nothing), `screen` and `seed`
    are what it was started with. `state` is ``running``, ``paused``, ``panicked``, ``off`` or
    another word of QEMU's. `internet` is its address there, None where it has none.
    """

    host: str
    index: int
    name: str
    uuid: str
    state: str
    cores: int
    memory_mb: int
    image: str
    overlay: str = ""
    screen: bool = False
    seed: str = ""
    boot_id: str | None = None
    nics: tuple[NicSpec, ...] = ()
    internet: str | None = None
    configured: Configured | None = None

    @property
    def is_alive(self) -> bool:
        return self.state != OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLink:
    """A link that is served. `connected` are those of its ports behind which a machine is."""

    host: str
    name: str
    ports: tuple[Port, ...]
    connected: tuple[Port, ...] = ()
    impairments: tuple[tuple[Port, Impairment], ...] = ()
    up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedOverlay:
    """A VM's disk. `image` is the file name of its base image."""

    host: str
    name: str
    image: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something of the slice that nothing accounts for, such as an orphaned socket."""

    host: str
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What there is of one slice.

    `stewards` are hosts on which its steward runs, `folders` those that have its run folder,
    `unreachable` those that could not be looked at: of them nothing is known. `overlays` are
    only those of the slice's own allocation, found by their exact names.
    """

    stewards: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    unreachable: frozenset[str] = frozenset()
    machines: tuple[ObservedMachine, ...] = ()
    links: tuple[ObservedLink, ...] = ()
    overlays: tuple[ObservedOverlay, ...] = ()
    leftovers: tuple[Leftover, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the slice has left nothing behind, as far as can be seen."""
        return not (
            self.stewards
            or self.folders
            or self.unreachable
            or self.machines
            or self.links
            or self.overlays
            or self.leftovers
        )


NOTHING_THERE = Observed()


def vms_still_there(allocation: Allocation, seen: Observed) -> frozenset[int]:
    """The ids of VMs of which anything was seen, or of whose host nothing is known."""
    machines = {machine.uuid for machine in seen.machines}
    disks = {(overlay.host, overlay.name) for overlay in seen.overlays}
    return frozenset(
        vm.vm_id
        for vm in allocation.everyone
        if vm.host in seen.unreachable or vm.uuid in machines or (vm.host, vm.overlay) in disks
    )


def links_still_there(allocation: Allocation, seen: Observed) -> frozenset[str]:
    """The names of links that were seen; all of them where not every host could be looked at."""
    known = (*allocation.links, *allocation.leaving_links)
    if seen.unreachable or seen.folders - seen.stewards:
        return frozenset(link.name for link in known)
    return frozenset(link.name for link in seen.links)
