"""Who gets which id, place, port, MAC, VLAN and address: pure, stable, never twice."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from labkit import room, rules
from labkit.errors import NoRoom
from labkit.model import INTERNET_NETWORK, INTERNET_VLAN, internet_address, mac_addresses
from labkit.room import Host
from labkit.wish import LinkWish, Slice, VMWish

FIRST_VNC_PORT = 5901
LAST_PORT = 65535
FIRST_VLAN, LAST_VLAN, POOL_SIZE = 100, 4094, 20
# The addresses DHCP gives out; the gateway, the resolver and the broadcast lie outside.
INTERNET_HOSTS = (*range(100, 200), *range(10, 100), *range(200, 251))


@dataclass(frozen=True, slots=True, kw_only=True)
class VMAllocation:
    """What one VM was promised.

    `index` is the machine's number in the slice's run folder. `overlay` is its disk's name, also
    while it has none.
    """

    name: str
    vm_id: int
    host: str
    index: int
    uuid: str
    vnc_port: int
    address: str | None
    overlay: str
    memory_mb: int
    disk_gb: float

    def macs(self, count: int) -> list[str]:
        """The MAC addresses of its first `count` interfaces."""
        return mac_addresses(self.vm_id, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAllocation:
    """What one link was promised."""

    name: str
    link_id: int
    vlan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What a slice was promised: nothing in it belongs to anything else.

    `leaving` are VMs that are no longer wished but still there: they keep what they have until
    they are seen to be gone. `pools` are the first VLANs of the slice's blocks of 20.
    """

    slice: str
    uuid: str
    vms: tuple[VMAllocation, ...] = ()
    leaving: tuple[VMAllocation, ...] = ()
    links: tuple[LinkAllocation, ...] = ()
    leaving_links: tuple[LinkAllocation, ...] = ()
    pools: tuple[int, ...] = ()

    @property
    def everyone(self) -> tuple[VMAllocation, ...]:
        """All VMs that hold something, wished or leaving."""
        return self.vms + self.leaving


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is not to be had, because other slices or other programs have it.

    `vnc_ports` are pairs of host and port; `memory_mb` and `disk_gb` are sums by host.
    """

    vm_ids: frozenset[int] = frozenset()
    vnc_ports: frozenset[tuple[str, int]] = frozenset()
    addresses: frozenset[str] = frozenset()
    overlays: frozenset[str] = frozenset()
    link_ids: frozenset[int] = frozenset()
    pools: frozenset[int] = frozenset()
    memory_mb: Mapping[str, int] = field(default_factory=dict)
    disk_gb: Mapping[str, float] = field(default_factory=dict)


def empty(name: str, slice_uuid: str) -> Allocation:
    """The allocation of a slice that has nothing yet."""
    return Allocation(slice=name, uuid=slice_uuid)


def allocate(
    wish: Slice,
    kept: Allocation,
    hosts: Sequence[Host],
    taken: Taken | None = None,
    *,
    still_there: Collection[int] = (),
    links_still_there: Collection[str] = (),
) -> Allocation:
    """What `wish` is promised. What was promised before stays; only what is new is chosen.

    `still_there` are the ids of VMs of which anything was observed, or whose host could not be
    looked at; `links_still_there` are names of links likewise. Raises `NoRoom`,
    with the sums, before anything is done.
    """
    taken = taken or Taken()
    staying, leaving = _sort_out(wish, kept, set(still_there))
    others = {h.name: (taken.memory_mb.get(h.name, 0), taken.disk_gb.get(h.name, 0)) for h in hosts}
    places = {name: vm.host for name, vm in staying.items()}
    held = {name: vm.memory_mb for name, vm in staying.items()}
    places = room.place(wish, hosts, places=places, held=held, others=others)
    pools = _Pools(wish.name, kept.uuid, [*staying.values(), *leaving], taken)
    vms = tuple(
        pools.renewed(vm, staying[vm.name])
        if vm.name in staying
        else pools.new(vm, places[vm.name])
        for vm in wish.vms
    )
    _check_reach(wish, places)
    links, leaving_links, blocks = _allocate_links(wish.links, kept, taken, links_still_there)
    return Allocation(
        slice=kept.slice,
        uuid=kept.uuid,
        vms=vms,
        leaving=tuple(leaving),
        links=links,
        leaving_links=leaving_links,
        pools=blocks,
    )


def _sort_out(
    wish: Slice, kept: Allocation, still_there: set[int]
) -> tuple[dict[str, VMAllocation], list[VMAllocation]]:
    """Who keeps its place, and who leaves but is still there."""
    wished = {vm.name: vm for vm in wish.vms}
    staying: dict[str, VMAllocation] = {}
    leaving = [vm for vm in kept.leaving if vm.vm_id in still_there]
    for vm in kept.vms:
        new = wished.get(vm.name)
        if new is not None and new.host in (None, vm.host):
            staying[vm.name] = vm
        elif vm.vm_id in still_there:
            leaving.append(vm)
    return staying, leaving


class _Pools:
    """The choice of everything that must be unique, in one walk over each pool."""

    def __init__(
        self, slice_name: str, slice_uuid: str, holders: list[VMAllocation], taken: Taken
    ) -> None:
        self._slice = slice_name
        self._namespace = uuid.UUID(slice_uuid)
        self._overlays = {vm.overlay for vm in holders} | taken.overlays
        self._addresses = {vm.address for vm in holders if vm.address} | taken.addresses
        self._ports = {(vm.host, vm.vnc_port) for vm in holders} | taken.vnc_ports
        self._ids = _free(1, rules.MAX_VM_ID, {vm.vm_id for vm in holders} | taken.vm_ids)
        self._indexes = _free(0, rules.MAX_VM_ID, {vm.index for vm in holders})
        self._free_ports: dict[str, Iterator[int]] = {}

    def new(self, vm: VMWish, host: str) -> VMAllocation:
        """Everything for a VM that has nothing."""
        vm_id, overlay = self._identity(vm)
        memory, disk = room.needs(vm)
        return VMAllocation(
            name=vm.name,
            vm_id=vm_id,
            host=host,
            index=self._next(self._indexes, "machine number"),
            uuid=str(uuid.uuid5(self._namespace, f"{vm_id}/{vm.name}/{host}")),
            vnc_port=self._port(host),
            address=self._address(vm, vm_id) if vm.internet else None,
            overlay=overlay,
            memory_mb=memory,
            disk_gb=disk,
        )

    def renewed(self, vm: VMWish, before: VMAllocation) -> VMAllocation:
        """What a VM has, with what its changed wish asks for; an address once given is kept."""
        address = before.address
        if vm.internet and address is None:
            address = self._address(vm, before.vm_id)
        memory, disk = room.needs(vm)
        return replace(before, address=address, memory_mb=memory, disk_gb=disk)

    def _identity(self, vm: VMWish) -> tuple[int, str]:
        # Slice "a-1" with VM 2 "b" and slice "a" with VM 1 "2-b" would share a disk's name, so
        # an id whose name is taken is passed over.
        for vm_id in self._ids:
            overlay = f"{self._slice}-{vm_id}-{vm.name}"
            if overlay not in self._overlays:
                self._overlays.add(overlay)
                return vm_id, overlay
        raise _used_up("VM id", f"all ids up to {rules.MAX_VM_ID} are taken")

    def _port(self, host: str) -> int:
        if host not in self._free_ports:
            here = {port for name, port in self._ports if name == host}
            self._free_ports[host] = _free(FIRST_VNC_PORT, LAST_PORT, here)
        return self._next(self._free_ports[host], f"VNC port on {host}")

    def _address(self, vm: VMWish, vm_id: int) -> str:
        first = internet_address(vm_id)["ip"]
        stem = first.rpartition(".")[0]
        for address in (first, *(f"{stem}.{number}" for number in INTERNET_HOSTS)):
            if address not in self._addresses:
                self._addresses.add(address)
                return address
        why = f"all {len(INTERNET_HOSTS)} addresses of {INTERNET_NETWORK} are taken"
        raise _used_up(f"internet address for {vm.name}", why)

    def _next(self, free: Iterator[int], what: str) -> int:
        found = next(free, None)
        if found is None:
            raise _used_up(what, "all are taken")
        return found


def _free(first: int, last: int, taken: Collection[int]) -> Iterator[int]:
    return (number for number in range(first, last + 1) if number not in taken)


def _used_up(what: str, why: str) -> NoRoom:
    return NoRoom(
        f"there is no free {what}", why=why, fix="Delete VMs or slices that are not needed."
    )


def _check_reach(wish: Slice, hosts: Mapping[str, str]) -> None:
    """A link's VMs lie on one host: what joins hosts is not built yet."""
    for link in wish.links:
        there = {hosts[vm]: vm for vm in link.vms}
        if len(there) > 1:
            listed = ", ".join(f"{vm} on {host}" for host, vm in there.items())
            raise NoRoom(
                f"link {link.name!r} would join hosts",
                why=listed,
                fix="Pin its VMs to one host (host=…), or make room on one. Nothing was done.",
            )


_Links = tuple[LinkAllocation, ...]


def _allocate_links(
    links: Sequence[LinkWish], kept: Allocation, taken: Taken, still_there: Collection[str]
) -> tuple[_Links, _Links, tuple[int, ...]]:
    wished, there = {link.name for link in links}, set(still_there)
    found = {link.name: link for link in kept.links if link.name in wished}
    gone = (*kept.leaving_links, *(link for link in kept.links if link.name not in wished))
    leaving = tuple(link for link in gone if link.name in there)
    holders = [*found.values(), *leaving]
    ids = _free(1, 2**31, {link.link_id for link in holders} | taken.link_ids)
    used = {link.vlan for link in holders}
    pools = list(kept.pools)
    vlans = _vlans(pools, frozenset(used), taken.pools)
    for link in links:
        if link.name not in found:
            vlan = next(vlans, None)
            if vlan is None:
                raise _used_up(f"VLAN for link {link.name}", "all pools are taken")
            found[link.name] = LinkAllocation(name=link.name, link_id=next(ids), vlan=vlan)
            used.add(vlan)
    blocks = tuple(pool for pool in pools if used & set(range(pool, pool + POOL_SIZE)))
    return tuple(found[link.name] for link in links), leaving, blocks


def vlan_pools() -> Iterator[int]:
    """The first VLAN of every block of 20, without the block of the internet's VLAN."""
    for first in range(FIRST_VLAN, LAST_VLAN - POOL_SIZE + 2, POOL_SIZE):
        if not first <= INTERNET_VLAN < first + POOL_SIZE:
            yield first


def _vlans(pools: list[int], used: frozenset[int], taken: Collection[int]) -> Iterator[int]:
    """Free VLANs of the slice's pools; when they are used up, of the next free pool."""
    for pool in tuple(pools):
        yield from _free(pool, pool + POOL_SIZE - 1, used)
    for pool in vlan_pools():
        if pool not in taken and pool not in pools:
            pools.append(pool)
            yield from _free(pool, pool + POOL_SIZE - 1, used)
