"""Which host a VM is placed on, and whether the hosts can hold a wish: pure, with the sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.errors import NoRoom
from labkit.markup import counted
from labkit.wish import Slice, VMWish

OVERHEAD_MB = 64  # what QEMU takes beside the guest's memory, measured
NOTHING = (0, 0.0)


@dataclass(frozen=True, slots=True)
class Host:
    """Where machines may be placed: what all of labkit's machines on it together may use.

    `disk_gb` None means that the disk is not checked. An unreachable host gets nothing new.
    Cores are shared, so a host needs only as many as its largest VM.
    """

    name: str
    cores: int
    memory_mb: int
    disk_gb: float | None = None
    reachable: bool = True


def needs(vm: VMWish) -> tuple[int, float]:
    """The memory in MB and the disk in GB that a VM takes on its host."""
    return vm.size.memory_mb + OVERHEAD_MB, vm.size.disk_gb or 0.0


def place(
    wish: Slice,
    hosts: Sequence[Host],
    *,
    places: Mapping[str, str],
    held: Mapping[str, int],
    others: Mapping[str, tuple[int, float]],
) -> dict[str, str]:
    """The host of every VM of the wish; those in `places` stay where they are.

    `held` is the memory that staying VMs were promised, `others` what other slices have on each
    host. A wish that asks for no more than is held is never refused. Raises `NoRoom`.
    """
    _check_sum(wish, hosts, places, held, others)
    room = _Room(hosts, others)
    new = []
    for vm in wish.vms:
        if vm.name in places:
            room.take(places[vm.name], *needs(vm))
        else:
            new.append(vm)
    growing = {places[vm.name] for vm in wish.vms if needs(vm)[0] > held.get(vm.name, 2**63)}
    room.check(wish.name, growing)
    return {**places, **{vm.name: room.choose(vm) for vm in new}}


def _check_sum(
    wish: Slice,
    hosts: Sequence[Host],
    places: Mapping[str, str],
    held: Mapping[str, int],
    others: Mapping[str, tuple[int, float]],
) -> None:
    needed = sum(needs(vm)[0] for vm in wish.vms)
    usable = [host for host in hosts if host.reachable or host.name in set(places.values())]
    free = sum(host.memory_mb - others.get(host.name, NOTHING)[0] for host in usable)
    if needed > free and needed > sum(held.values()):
        where = usable[0].name if len(usable) == 1 else f"the {len(usable)} hosts in reach"
        count = len(wish.vms)
        who = "its VM needs" if count == 1 else f"its {count} VMs need"
        raise too_much(wish.name, f"{who} {needed} MB", where, needed, free, each=count > 1)


def too_much(
    slice_name: str, sentence: str, where: str, needed: int, free: int, *, each: bool = True
) -> NoRoom:
    return NoRoom(
        f"slice {slice_name!r} does not fit",
        why=f"{sentence} of memory ({OVERHEAD_MB} MB{' each' if each else ''} for QEMU included), "
        f"and {where} can give {max(free, 0)} MB",
        fix="Wish for fewer or smaller VMs, or delete what is not needed. Nothing was done.",
        needed=needed,
        free=free,
    )


class _Room:
    """What is left on each host while VMs are placed, one after the other."""

    def __init__(self, hosts: Sequence[Host], others: Mapping[str, tuple[int, float]]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._memory: dict[str, int] = {}
        self._disk: dict[str, float] = {}
        for host in hosts:
            memory, disk = others.get(host.name, NOTHING)
            self._memory[host.name] = host.memory_mb - memory
            self._disk[host.name] = float("inf") if host.disk_gb is None else host.disk_gb - disk

    def take(self, host: str, memory: int, disk: float) -> None:
        """A VM that stays has its part, whether there is room or not."""
        if host in self._hosts:
            self._memory[host] -= memory
            self._disk[host] -= disk

    def check(self, slice_name: str, growing: set[str]) -> None:
        """Refuse growth of VMs that stay on a host beyond what the host has."""
        for host in self._hosts:
            left = self._memory[host]
            if left < 0 and host in growing:
                sentence = f"its VMs there would need {-left} MB more than {host} has"
                raise too_much(slice_name, sentence, host, -left, 0)

    def choose(self, vm: VMWish) -> str:
        """The first host with room, so that a slice stays together."""
        memory, disk = needs(vm)
        reasons = []
        if vm.host is not None and vm.host not in self._hosts:
            known = ", ".join(self._hosts) or "none"
            reasons.append(f"there is no host {vm.host!r}; the hosts are {known}")
        for name, host in self._hosts.items():
            if vm.host not in (None, name):
                continue
            why_not = self._why_not(host, vm.size.cores, memory, disk)
            if not why_not:
                self.take(name, memory, disk)
                return name
            reasons.append(why_not)
        raise NoRoom(
            f"{vm.name} fits on no host",
            why="; ".join(reasons) or "there are no hosts",
            fix="Make it smaller, delete what is not needed, or add a host. Nothing was done.",
            vm=vm.name,
        )

    def _why_not(self, host: Host, cores: int, memory: int, disk: float) -> str:
        if not host.reachable:
            return f"{host.name} cannot be reached"
        if cores > host.cores:
            return f"{host.name} has {counted(host.cores, 'core')}, and {cores} are wished"
        if memory > self._memory[host.name]:
            left = max(self._memory[host.name], 0)
            return f"{host.name} has {left} MB of memory left, and {memory} are needed"
        if disk > self._disk[host.name]:
            left_gb = max(self._disk[host.name], 0)
            return f"{host.name} has {left_gb:g} GB of disk left, and {disk:g} are needed"
        return ""
