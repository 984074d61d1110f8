"""The network interfaces of a simulated guest, their addresses and counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_interface

from labkit.simulator.net.nic import Nic
from labkit.simulator.net.wire import Address, mac_bytes

AnyInterface = IPv4Interface | IPv6Interface
LOOPBACK_MTU = 65536
ETHERNET_MTU = 1500


@dataclass(slots=True)
class Assigned:
    """An address of an interface. It is `secondary` beside an earlier one of the same network."""

    value: AnyInterface
    scope: str
    broadcast: str = ""
    is_secondary: bool = False
    is_tentative: bool = False
    label: str = ""  # shown in place of the interface's name

    @property
    def ip(self) -> Address:
        return self.value.ip


@dataclass(slots=True)
class Counters:
    """What passed, as ``ip -s link`` shows it."""

    rx_bytes: int = 0
    rx_packets: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    multicast: int = 0


@dataclass(eq=False, slots=True)
class Interface:
    """An Ethernet interface on a NIC, or the loopback when it has none."""

    index: int
    name: str
    nic: Nic | None = None
    mtu: int = ETHERNET_MTU
    is_up: bool = False
    mac: bytes = bytes(6)
    addresses: list[Assigned] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    taps: list[Callable[[bytes], None]] = field(default_factory=list)
    is_promiscuous: bool = False

    def __post_init__(self) -> None:
        if self.nic is not None:
            self.mac = mac_bytes(self.nic.mac)
        else:
            self.mtu = LOOPBACK_MTU

    def __repr__(self) -> str:
        return f"<Interface {self.name}>"

    @property
    def is_loopback(self) -> bool:
        return self.nic is None

    @property
    def has_carrier(self) -> bool:
        return self.nic is None or self.nic.has_carrier

    @property
    def is_running(self) -> bool:
        return self.is_up and self.has_carrier

    @property
    def flags(self) -> list[str]:
        """As ``ip link`` shows them."""
        kind = ["LOOPBACK"] if self.is_loopback else ["BROADCAST", "MULTICAST"]
        if self.is_promiscuous:
            kind.append("PROMISC")
        if not self.is_up:
            return kind
        return [*([] if self.has_carrier else ["NO-CARRIER"]), *kind, "UP", *self._lower()]

    def _lower(self) -> list[str]:
        return ["LOWER_UP"] if self.has_carrier else []

    @property
    def state(self) -> str:
        if self.is_loopback:
            return "UNKNOWN" if self.is_up else "DOWN"
        return "UP" if self.is_running else "DOWN"

    @property
    def link_local(self) -> IPv6Interface:
        """The address it gives itself, made of its MAC."""
        first = bytes((self.mac[0] ^ 2,)) + self.mac[1:3]
        host = first + b"\xff\xfe" + self.mac[3:]
        return IPv6Interface((IPv6Address(b"\xfe\x80" + bytes(6) + host), 64))

    def has(self, ip: Address) -> bool:
        return any(one.ip == ip for one in self.addresses)

    def of(self, version: int) -> list[Assigned]:
        return [one for one in self.addresses if one.value.version == version]

    def near(self, ip: Address) -> Assigned | None:
        """Its address in the network of another one."""
        return next(
            (
                one
                for one in self.addresses
                if one.value.version == ip.version and ip in one.value.network
            ),
            None,
        )

    def assign(self, text: str, *, scope: str = "", broadcast: str = "") -> Assigned:
        """Add an address; the caller has seen that it is not there."""
        value = ip_interface(text)
        if not scope:
            scope = "host" if value.ip.is_loopback else "global"
            if value.version == 6 and value.ip.is_link_local:
                scope = "link"
        same = [
            one
            for one in self.addresses
            if one.value.version == 4 and one.value.network == value.network
        ]
        new = Assigned(value, scope, broadcast, is_secondary=bool(same))
        # IPv6 shows the newest first, and link-local addresses last
        if value.version == 6 and scope == "global":
            place = next((i for i, o in enumerate(self.addresses) if o.value.version == 6), None)
            self.addresses.insert(len(self.addresses) if place is None else place, new)
        else:
            place = next((i for i, o in enumerate(self.addresses) if o.value.version == 6), None)
            at_end = value.version == 6 or place is None
            self.addresses.insert(len(self.addresses) if at_end else place or 0, new)
        return new
