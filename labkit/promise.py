"""What must be there: a wish and its allocation in one value, which names every detail of a lab."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from labkit.allocate import Allocation, VMAllocation
from labkit.flavors import Dialect
from labkit.wish import FileWish, Impairment, LinkWish, Route, Slice, VMWish, split_end
from labkit.wish.addresses import host_of

# The settings inside a guest, in the order in which they are made.
PARTS = ("hostname", "addresses", "forwarding", "routes", "hosts", "files", "commands")
NOTHING = ""  # the mark of a part that asks for nothing


class Port(NamedTuple):
    """A machine's interface: its number in the run folder, and n of ethn."""

    machine: int
    nic: int

    def __str__(self) -> str:
        return f"{self.machine}:{self.nic}"


@dataclass(frozen=True, slots=True)
class NicSpec:
    """An interface of a machine."""

    name: str
    mac: str

    @property
    def number(self) -> int:
        """n of ethn."""
        return int(self.name.removeprefix("eth"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A machine to be started, whole. `disk_gb` is None where there is no disk, `internet` the
    address that eth0 has there, None where it leads nowhere.

    `seed` is the mark of the settings that a system without labkit's agent gets at its start,
    from its `guest` and in its `dialect`; it is empty where they are made later.
    """

    name: str
    host: str
    index: int
    vm_id: int
    uuid: str
    cores: int
    memory_mb: int
    image: str
    overlay: str
    disk_gb: float | None
    nics: tuple[NicSpec, ...]
    internet: str | None
    vnc_port: int
    agent: bool
    screen: bool = False
    seed: str = ""
    dialect: Dialect = "cloud-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """The settings inside a guest. Interfaces are found by MAC.

    `neighbours` and `hosts` are lines of the hosts file, as pairs of name and address; they go
    before `others`, which is one and the same for all machines.
    """

    name: str
    addresses: tuple[tuple[str, str], ...]
    macs: tuple[tuple[str, str], ...]
    routes: tuple[Route, ...]
    forwarding: bool
    hosts: tuple[tuple[str, str], ...]
    neighbours: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    files: tuple[FileWish, ...]
    commands: tuple[str, ...]
    internet: str | None
    marks: tuple[tuple[str, str], ...]

    def hosts_lines(self) -> tuple[tuple[str, str], ...]:
        """The hosts file as pairs of address and name; what is said first counts."""
        lines = [(address, name) for name, address in self.hosts]
        known = {name for _, name in lines}
        lines += [(a, name) for name, a in self.neighbours if name not in known]
        known |= {name for _, name in lines}
        return (*lines, *((a, name) for name, a in self.others if name not in known))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """A link to be set. `impairments` are what happens to packets that come from a port."""

    name: str
    host: str
    link_id: int
    vlan: int
    ends: tuple[str, ...]
    ports: tuple[Port, ...]
    impairments: tuple[tuple[Port, Impairment], ...]
    up: bool


@dataclass(frozen=True)
class Promise:
    """All that must be there for one slice, and nothing else may be."""

    slice: str
    machines: tuple[MachineSpec, ...] = ()
    guests: tuple[GuestSpec, ...] = ()
    links: tuple[LinkSpec, ...] = ()

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that serve anything, in a stable order."""
        return tuple(sorted({machine.host for machine in self.machines}))

    @cached_property
    def guest_of(self) -> Mapping[str, GuestSpec]:
        """The guests by the name of their VM."""
        return {guest.name: guest for guest in self.guests}


def promise(wish: Slice, allocation: Allocation) -> Promise:
    """A wish with what it was promised. The files' sources must have been read before."""
    places = {vm.name: vm for vm in allocation.vms}
    addresses = _first_addresses(wish.vms)
    others = tuple(
        (name, address) for name, found in addresses.items() for address in found.values()
    )
    shared = (others, mark(others))
    neighbours = _neighbours(wish, addresses)
    machines, guests = [], []
    for vm in wish.vms:
        place = places[vm.name]
        guest = _guest(vm, place, neighbours.get(vm.name, ()), shared)
        guests.append(guest)
        machines.append(_machine(vm, place, guest))
    numbers = {link.name: link for link in allocation.links}
    links = (
        _link(link, numbers[link.name].link_id, numbers[link.name].vlan, places)
        for link in wish.links
    )
    return Promise(wish.name, tuple(machines), tuple(guests), tuple(links))


def mark(value: object) -> str:
    """A short word that differs when `value`, made of plain parts, differs."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12] if value else NOTHING


def _nics(vm: VMWish, place: VMAllocation) -> tuple[NicSpec, ...]:
    macs = place.macs(1 + vm.interfaces)
    return tuple(NicSpec(f"eth{number}", mac) for number, mac in enumerate(macs))


def _internet(vm: VMWish, place: VMAllocation) -> str | None:
    return place.address if vm.internet else None


def _machine(vm: VMWish, place: VMAllocation, guest: GuestSpec) -> MachineSpec:
    size = vm.size
    return MachineSpec(
        name=vm.name,
        host=place.host,
        index=place.index,
        vm_id=place.vm_id,
        uuid=place.uuid,
        cores=size.cores,
        memory_mb=size.memory_mb,
        image=size.image,
        overlay=place.overlay,
        disk_gb=size.disk_gb,
        nics=_nics(vm, place),
        internet=_internet(vm, place),
        vnc_port=place.vnc_port,
        agent=size.agent,
        screen=vm.screen,
        seed="" if size.agent else _seed(guest),
        dialect=size.dialect,
    )


def _seed(guest: GuestSpec) -> str:
    """The names of others are left out: a VM that joins must not start all others anew."""
    return mark((guest.hosts, *(word for part, word in guest.marks if part != "hosts")))


def _guest(
    vm: VMWish,
    place: VMAllocation,
    neighbours: tuple[tuple[str, str], ...],
    shared: tuple[tuple[tuple[str, str], ...], str],
) -> GuestSpec:
    nics = _nics(vm, place)
    others, others_mark = shared if vm.knows_others else ((), NOTHING)
    neighbours = neighbours if vm.knows_others else ()
    hosts = (vm.hosts, neighbours, others_mark)
    values = {
        "hostname": vm.name,
        "addresses": (vm.addresses, tuple(nic.mac for nic in nics), _internet(vm, place)),
        "forwarding": vm.forwarding,
        "routes": tuple(map(str, vm.routes)),
        "hosts": hosts if any(hosts) else (),
        "files": tuple((f.path, f.mode, f.source, _content(f)) for f in vm.files),
        "commands": vm.commands,
    }
    return GuestSpec(
        name=vm.name,
        addresses=vm.addresses,
        macs=tuple((nic.name, nic.mac) for nic in nics),
        routes=vm.routes,
        forwarding=vm.forwarding,
        hosts=vm.hosts,
        neighbours=neighbours,
        others=others,
        files=vm.files,
        commands=vm.commands,
        internet=_internet(vm, place),
        marks=tuple((part, mark(values[part])) for part in PARTS),
    )


def _content(file: FileWish) -> str:
    return "" if file.data is None else hashlib.sha256(file.data).hexdigest()


def link_spec(link: LinkWish, allocation: Allocation) -> LinkSpec | None:
    """A link with what it was promised; None where it or one of its VMs was promised nothing."""
    places = {vm.name: vm for vm in allocation.vms}
    number = next((one for one in allocation.links if one.name == link.name), None)
    if number is None or not all(vm in places for vm in link.vms):
        return None
    return _link(link, number.link_id, number.vlan, places)


def _link(link: LinkWish, number: int, vlan: int, places: Mapping[str, VMAllocation]) -> LinkSpec:
    ports = {}
    for end in link.ends:
        vm, interface = split_end(end)
        ports[end] = Port(places[vm].index, int(interface.removeprefix("eth")))
    return LinkSpec(
        name=link.name,
        host=places[link.vms[0]].host,
        link_id=number,
        vlan=vlan,
        ends=link.ends,
        ports=tuple(ports.values()),
        impairments=tuple((ports[end], one) for end, one in link.impairments),
        up=link.up,
    )


def _first_addresses(vms: Iterable[VMWish]) -> dict[str, dict[int, str]]:
    """By VM and IP version: the address under which all others know it."""
    found: dict[str, dict[int, str]] = {}
    for vm in vms:
        for _, address in vm.addresses:
            host = host_of(address)
            found.setdefault(vm.name, {}).setdefault(6 if ":" in host else 4, host)
    return found


def _neighbours(
    wish: Slice, first: Mapping[str, Mapping[int, str]]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Who reaches a router at another address than its first, because they share a link.

    Without it a host would need a route to reach the router it hangs on by its name.
    """
    vms = {vm.name: vm for vm in wish.vms}
    found: dict[str, dict[str, dict[int, str]]] = {}
    for link in wish.links:
        for end in link.ends:
            name, interface = split_end(end)
            on_link: dict[int, str] = {}
            for address in vms[name].addresses_of(interface):
                on_link.setdefault(6 if ":" in address else 4, host_of(address))
            if not on_link or on_link == first[name]:
                continue
            for other in link.vms:
                if other != name:
                    found.setdefault(other, {}).setdefault(name, {**first[name], **on_link})
    return {
        vm: tuple((name, address) for name, each in names.items() for address in each.values())
        for vm, names in found.items()
    }
