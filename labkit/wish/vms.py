"""One machine of a wish: its size, interfaces, addresses, routes, files and commands."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from labkit import flavors, rules
from labkit.near import did_you_mean
from labkit.wish import addresses as address_rules
from labkit.wish.refusal import refuse, repeated

MOST_DATA_INTERFACES = rules.MAX_INTERFACES - 1
FILE_PATH = re.compile(r"(/[^/\0\n]+)+")
MODES = range(0o10000)
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?")


def data_interfaces(count: int) -> tuple[str, ...]:
    """The interfaces that links may use: eth1 to ethN; eth0 is the internet's."""
    return tuple(f"eth{number}" for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class Route:
    """A static route: packets for `destination` (a network, or ``"default"``) go to `via`."""

    destination: str
    via: str

    def __post_init__(self) -> None:
        thing = f"route {str(self)!r}"
        if address_rules.destination(self.destination, f"{thing}: destination") != self.destination:
            refuse(f"{thing}: destination", self.destination, "its usual spelling is needed")
        if address_rules.host_address(self.via, f"{thing}: gateway") != self.via:
            refuse(f"{thing}: gateway", self.via, "its usual spelling is needed")
        via = ipaddress.ip_address(self.via)
        default = "0.0.0.0/0" if via.version == 4 else "::/0"
        to = default if self.destination == "default" else self.destination
        if ipaddress.ip_network(to).version != via.version:
            refuse(thing, self.via, "the gateway must be of the destination's IP version")

    @classmethod
    def parse(cls, text: object, thing: str = "route") -> Self:
        """``"10.0.2.0/24 via 10.0.1.2"`` or ``"default via 10.0.1.2"``."""
        words = text.split() if isinstance(text, str) else []
        if len(words) != 3 or words[1] != "via":
            rule = "'NETWORK via GATEWAY' or 'default via GATEWAY' is needed"
            refuse(thing, text, rule, "Write it like '10.0.2.0/24 via 10.0.1.2'.")
        return cls(
            address_rules.destination(words[0], f"{thing}: destination"),
            address_rules.host_address(words[2], f"{thing}: gateway"),
        )

    def __str__(self) -> str:
        return f"{self.destination} via {self.via}"


@dataclass(frozen=True, slots=True)
class FileWish:
    """A file in the machine: its content here as `data`, or in the file `source` on the manager."""

    path: str
    data: bytes | None = None
    source: str | None = None
    mode: int = 0o644

    def __post_init__(self) -> None:
        if (
            not isinstance(self.path, str)
            or not FILE_PATH.fullmatch(self.path)
            or posixpath.normpath(self.path) != self.path
        ):
            refuse("file path", self.path, "an absolute path such as '/etc/motd' is needed")
        if (self.data is None) == (self.source is None):
            rule = "exactly one of content and source is needed"
            refuse(f"file {self.path!r}", (self.data, self.source), rule)
        if self.data is not None and not isinstance(self.data, bytes):
            refuse(f"content of file {self.path!r}", self.data, "text or bytes are needed")
        if self.source is not None and (not isinstance(self.source, str) or not self.source):
            refuse(f"source of file {self.path!r}", self.source, "a path on the manager is needed")
        if not isinstance(self.mode, int) or self.mode not in MODES:
            refuse(f"mode of file {self.path!r}", self.mode, "permissions up to 0o7777 are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class VMWish:
    """A machine the user wants.

    `interfaces` counts eth1 to ethN; eth0 is there as well and leads to the internet or nowhere.
    `addresses` are pairs of interface and address. `hosts` are further lines of the hosts file,
    as pairs of name and address; with `knows_others` it has all VMs of the slice. `commands` run
    once after each boot. `screen` gives it a display beside its serial console. `cores`,
    `memory_mb`, `disk_gb` and `image` take the flavor's place; `host` pins the machine to a host.
    """

    name: str
    flavor: str = "micro"
    interfaces: int = 1
    internet: bool = False
    addresses: tuple[tuple[str, str], ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: bool = False
    hosts: tuple[tuple[str, str], ...] = ()
    knows_others: bool = True
    files: tuple[FileWish, ...] = ()
    commands: tuple[str, ...] = ()
    screen: bool = False
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: float | None = None
    image: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        rules.name(self.name, "name of a VM")
        self._check_size()
        rules.integer(self.interfaces, f"{self.name}: interfaces", 0, MOST_DATA_INTERFACES)
        for flag in ("internet", "forwarding", "knows_others", "screen"):
            rules.boolean(getattr(self, flag), f"{self.name}: {flag}")
        self._check_addresses()
        self._check_routes()
        self._check_inside()
        if self.host is not None:
            rules.host(self.host, f"{self.name}: host")

    @property
    def size(self) -> flavors.Size:
        """What the machine gets: its flavor's size with what the wish says otherwise."""
        size = flavors.size(self.flavor)
        return flavors.Size(
            cores=self.cores or size.cores,
            memory_mb=self.memory_mb or size.memory_mb,
            disk_gb=self.disk_gb or size.disk_gb,
            image=self.image or size.image,
            agent=size.agent,
            dialect=size.dialect,
        )

    def addresses_of(self, interface: str) -> Iterator[str]:
        """The addresses wished on one interface."""
        return (address for name, address in self.addresses if name == interface)

    def _check_size(self) -> None:
        size = flavors.size(self.flavor)
        if self.cores is not None:
            rules.integer(self.cores, f"{self.name}: cores", 1, 1024)
        if self.memory_mb is not None:
            least = flavors.MEMORY_FLOOR_MB
            rules.integer(self.memory_mb, f"{self.name}: memory_mb", least, 2**24)
        if self.disk_gb is not None:
            if size.disk_gb is None:
                rule = f"flavor {self.flavor!r} has no disk"
                refuse(f"{self.name}: disk_gb", self.disk_gb, rule, "Choose a flavor with a disk.")
            rules.positive(self.disk_gb, f"{self.name}: disk_gb")
        if self.image is not None:
            rules.image_file(self.image, f"{self.name}: image")

    def _check_addresses(self) -> None:
        known = data_interfaces(self.interfaces)
        seen: set[str] = set()
        for interface, address in self.addresses:
            thing = f"{self.name}: address of {interface}"
            if interface not in known:
                refuse(thing, address, missing_interface(self, interface))
            if address_rules.interface_address(address, thing) != address:
                refuse(thing, address, "its usual spelling is needed")
            host = address_rules.host_of(address)
            if host in seen:
                repeated(thing, address, "this machine has the address already")
            seen.add(host)
            if self.internet and address_rules.network_of(address).overlaps(address_rules.INTERNET):
                rule = f"{address_rules.INTERNET} is the network of eth0, the internet"
                refuse(thing, address, rule, "Take another network, or internet=False.")

    def _check_routes(self) -> None:
        networks = [address_rules.network_of(address) for _, address in self.addresses]
        if self.internet:
            networks.append(address_rules.INTERNET)
        own = {address_rules.host_of(address) for _, address in self.addresses}
        seen: set[tuple[str, int]] = set()
        for route in self.routes:
            thing = f"{self.name}: route {str(route)!r}: gateway"
            via = ipaddress.ip_address(route.via)
            if route.via in own:
                refuse(thing, route.via, "this is the machine's own address")
            if not any(via.version == net.version and via in net for net in networks):
                there = ", ".join(map(str, networks)) or "none"
                refuse(thing, route.via, f"it lies outside the machine's networks ({there})")
            key = (route.destination, via.version)
            if key in seen:
                repeated(f"{self.name}: route", str(route), "this destination has a route already")
            seen.add(key)

    def _check_inside(self) -> None:
        names: set[str] = set()
        for name, address in self.hosts:
            thing = f"{self.name}: hosts entry"
            if not isinstance(name, str) or not HOST_NAME.fullmatch(name):
                refuse(thing, name, "a host name is needed")
            if address_rules.host_address(address, f"{thing} {name!r}") != address:
                refuse(f"{thing} {name!r}", address, "its usual spelling is needed")
            if name in names:
                repeated(thing, name, "the name is there already")
            names.add(name)
        paths: set[str] = set()
        for file in self.files:
            if file.path in paths:
                repeated(f"{self.name}: file", file.path, "the file is there already")
            paths.add(file.path)
        for command in self.commands:
            if not isinstance(command, str) or not command.strip() or "\0" in command:
                refuse(f"{self.name}: command", command, "a line for the machine's shell is needed")


def missing_interface(vm: VMWish, interface: str) -> str:
    """Why links and addresses cannot use an interface that is not one of eth1 to ethN."""
    if interface == "eth0":
        return f"eth0 of {vm.name} leads to the internet or nowhere; links begin at eth1"
    known = data_interfaces(vm.interfaces)
    there = f"eth1 to {known[-1]}" if len(known) > 1 else "".join(known) or "none"
    return f"{vm.name} has no interface {interface!r} for it; it has {there} (interfaces=…)"


def vm_wish(name: str, **written: Any) -> VMWish:
    """A `VMWish` from what people write: dicts, and every usual spelling of an address.

    ``addresses={"eth1": "10.0.1.1/24"}`` (or a list of them), ``routes=["default via 10.0.1.2"]``,
    ``hosts={"server": "10.0.9.9"}``, ``files={"/etc/motd": "text or bytes"}``, the rest as in
    `VMWish`.
    """
    return VMWish(name=name, **settings_of(name, written))


def settings_of(name: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that people wrote, as `VMWish` takes them."""
    for key in written:
        if key not in VM_SETTINGS:
            fix = did_you_mean(key, VM_SETTINGS)
            refuse(f"{name}: setting", key, f"these are known: {', '.join(VM_SETTINGS)}", fix)
    found = dict(written)
    for key, (kind, shape, read) in _SHAPES.items():
        if key in written:
            if not isinstance(written[key], kind) or isinstance(written[key], str | bytes):
                refuse(f"{name}: {key}", written[key], f"{shape} is needed")
            found[key] = tuple(read(name, written[key]))
    return found


def _addresses(name: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for interface, written in value.items():
        for one in written if isinstance(written, list | tuple) else (written,):
            thing = f"{name}: address of {interface}"
            yield interface, address_rules.interface_address(one, thing)


def _routes(name: str, value: Sequence[Any]) -> Iterator[Route]:
    for one in value:
        yield one if isinstance(one, Route) else Route.parse(one, f"{name}: route")


def _hosts(name: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for host, address in value.items():
        yield host, address_rules.host_address(address, f"{name}: hosts entry {host!r}")


def _files(_name: str, value: Mapping[str, Any]) -> Iterator[FileWish]:
    for path, content in value.items():
        if isinstance(content, FileWish):
            yield content
        else:
            yield FileWish(path, content.encode() if isinstance(content, str) else content)


def _commands(_name: str, value: Sequence[Any]) -> Iterator[str]:
    yield from value


VM_SETTINGS = tuple(field.name for field in fields(VMWish) if field.name != "name")
# Setting -> the type it is written in, its name for people, and its reader.
_SHAPES: dict[str, tuple[type, str, Callable[[str, Any], Iterator[Any]]]] = {
    "addresses": (Mapping, "a dict of interface and address", _addresses),
    "routes": (Sequence, "a list of 'NETWORK via GATEWAY'", _routes),
    "hosts": (Mapping, "a dict of name and address", _hosts),
    "files": (Mapping, "a dict of path and content", _files),
    "commands": (Sequence, "a list of shell lines", _commands),
}
