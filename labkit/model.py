"""The values labkit deals in: Flavor, Interface, Link, VM. Frozen, checked, plain inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from labkit import rules
from labkit.errors import UnknownFlavor

FLAVOR_KEYS = ("cores", "ram_gb", "disk_gb", "image")


@dataclass(frozen=True, slots=True)
class Flavor:
    """The size of a VM and the base image it starts from.

    `ram_gb` and `disk_gb` count 2^30 bytes; `image` is the base image's path on the manager,
    the machine where labkit runs.
    """

    name: str
    cores: int
    ram_gb: float
    disk_gb: float
    image: str

    def __post_init__(self) -> None:
        rules.name(self.name, "flavor name")
        check_flavor(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The flavor as the deployment layer takes it (contract part 1); the name is not in it."""
        return {
            "cores": self.cores,
            "ram_gb": self.ram_gb,
            "disk_gb": self.disk_gb,
            "image": self.image,
        }

    @classmethod
    def get(cls, name: str) -> dict[str, Any]:
        """The flavor called `name` as a dict of its own, safe to change.

        Raises `UnknownFlavor`, listing the names there are.
        """
        try:
            return FLAVORS[name].to_dict()
        except (KeyError, TypeError):
            raise UnknownFlavor(
                f"there is no flavor {name!r}",
                why=f"the flavors are {', '.join(FLAVORS)}",
                fix="Choose one of them, or pass a dict with cores, ram_gb, disk_gb and image.",
                flavor=name,
            ) from None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names `get` knows, in their order."""
        return tuple(FLAVORS)


def check_flavor(value: object, argument: str = "flavor") -> dict[str, Any]:
    """A checked copy of a flavor dict. Further keys of plain types are kept."""
    if isinstance(value, Flavor):
        return value.to_dict()
    if not isinstance(value, Mapping):
        rules.invalid(argument, value, "a dict such as labkit.Flavor.get('cirros') gives")
    for key in FLAVOR_KEYS:
        if key not in value:
            rules.invalid(argument, dict(value), f"a dict with the keys {', '.join(FLAVOR_KEYS)}")
    rules.integer(value["cores"], f"{argument}['cores']", 1, 1024)
    rules.positive(value["ram_gb"], f"{argument}['ram_gb']", rules.MAX_GB)
    rules.positive(value["disk_gb"], f"{argument}['disk_gb']", rules.MAX_GB)
    rules.image_file(value["image"], f"{argument}['image']")
    return copy.deepcopy(dict(value))


FLAVORS: dict[str, Flavor] = {
    flavor.name: flavor
    for flavor in (
        Flavor("cirros", 1, 0.5, 1, "/tmp/vm_images/cirros-0.6.2-x86_64-disk.img"),
        Flavor("ubuntu", 1, 0.5, 2.2, "/tmp/vm_images/focal-server-cloudimg-amd64.img"),
    )
}


@dataclass(frozen=True, slots=True)
class Interface:
    """A VM's network interface. `ip_config` holds `ip`, `cidr` and `gateway`, or is None."""

    name: str
    vlan_id: int | None
    mac: str
    ip_config: dict[str, str] | None = None
    link_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "vlan_id": self.vlan_id,
            "mac": self.mac,
            "ip_config": None if self.ip_config is None else dict(self.ip_config),
            "link_id": self.link_id,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{key: value[key] for key in INTERFACE_KEYS})


INTERFACE_KEYS = ("name", "vlan_id", "mac", "ip_config", "link_id")


@dataclass(frozen=True, slots=True)
class Link:
    """A point-to-point L2 link between one interface of each of two VMs."""

    link_id: int
    vlan_id: int | None
    vm1_id: int
    vm1_interface: str
    vm2_id: int
    vm2_interface: str

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in LINK_KEYS}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{key: value[key] for key in LINK_KEYS})


LINK_KEYS = ("link_id", "vlan_id", "vm1_id", "vm1_interface", "vm2_id", "vm2_interface")


@dataclass(frozen=True, slots=True)
class VM:
    """A virtual machine as it was promised: its identity, its place and its interfaces.

    `qcow_image` is the overlay's path on the worker, in the form it was given (``~`` is expanded
    there). `status` is ``design`` until the VM runs; `pid` is its process on the worker then.
    """

    vm_id: int
    name: str
    owner: str
    worker_ip: str
    vnc_port: int
    interfaces: tuple[Interface, ...]
    flavor: dict[str, Any] = field(default_factory=dict)
    qcow_image: str | None = None
    status: str = "design"
    pid: int | None = None

    def __post_init__(self) -> None:
        rules.vm_id(self.vm_id)
        rules.name(self.name)
        rules.owner(self.owner)
        rules.host(self.worker_ip)
        rules.integer(self.vnc_port, "vnc_port", 1, 65535)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types only, in the order of the contract; a copy of its own."""
        return {
            "vm_id": self.vm_id,
            "name": self.name,
            "owner": self.owner,
            "worker_ip": self.worker_ip,
            "vnc_port": self.vnc_port,
            "interfaces": [interface.to_dict() for interface in self.interfaces],
            "flavor": copy.deepcopy(self.flavor),
            "qcow_image": self.qcow_image,
            "status": self.status,
            "pid": self.pid,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            vm_id=value["vm_id"],
            name=value["name"],
            owner=value["owner"],
            worker_ip=value["worker_ip"],
            vnc_port=value["vnc_port"],
            interfaces=tuple(Interface.from_dict(item) for item in value["interfaces"]),
            flavor=copy.deepcopy(dict(value["flavor"])),
            qcow_image=value["qcow_image"],
            status=value["status"],
            pid=value["pid"],
        )


def mac_addresses(vm_id: int, count: int = 3) -> list[str]:
    """The MACs of a VM's interfaces: ``52:54:00``, two bytes of id, one of index."""
    rules.vm_id(vm_id)
    rules.integer(count, "count", 0, rules.MAX_INTERFACES)
    return [f"52:54:00:{vm_id >> 8 & 0xFF:02x}:{vm_id & 0xFF:02x}:{i:02x}" for i in range(count)]


INTERNET_VLAN = 400
INTERNET_NETWORK = "10.60.7.0/24"
INTERNET_GATEWAY = "10.60.7.1"


def internet_address(vm_id: int) -> dict[str, str]:
    """The first choice for a VM's address on the internet segment (contract part 1)."""
    return {
        "ip": f"10.60.7.{100 + vm_id % 100}",
        "cidr": INTERNET_NETWORK,
        "gateway": INTERNET_GATEWAY,
    }


def make_interfaces(
    vm_id: int, data_interfaces_count: int, *, internet_enabled: bool
) -> tuple[Interface, ...]:
    """eth0, then eth1 to ethN; interface i has MAC i. eth0 is on the internet VLAN, or nowhere."""
    macs = mac_addresses(vm_id, 1 + data_interfaces_count)
    first = Interface(
        "eth0",
        INTERNET_VLAN if internet_enabled else None,
        macs[0],
        internet_address(vm_id) if internet_enabled else None,
    )
    rest = (Interface(f"eth{i}", None, mac) for i, mac in enumerate(macs[1:], start=1))
    return (first, *rest)
