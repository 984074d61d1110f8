"""What addresses, networks and gateways of a wish may look like, in their one spelling."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from labkit.model import INTERNET_NETWORK
from labkit.wish.refusal import refuse

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
INTERNET = ipaddress.ip_network(INTERNET_NETWORK)


@lru_cache(maxsize=4096)
def _interface(value: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ipaddress.ip_interface(value)


def network_of(address: str) -> Network:
    """The network of a checked ``"10.0.1.1/24"``."""
    return _interface(address).network


def host_of(address: str) -> str:
    """``"10.0.1.1"`` of a checked ``"10.0.1.1/24"``."""
    return address.partition("/")[0]


def interface_address(value: object, thing: str) -> str:
    """An address with its prefix, ``"10.0.1.1/24"`` or ``"fd00::1/64"``, in its one spelling."""
    rule = "an address with its prefix is needed, such as '10.0.1.1/24' or 'fd00::1/64'"
    if not isinstance(value, str) or "/" not in value or "%" in value:
        refuse(thing, value, rule)
    try:
        found = _interface(value)
    except ValueError as error:
        refuse(thing, value, f"{rule} ({error})")
    if found.is_loopback or found.is_multicast or found.is_unspecified:
        refuse(thing, value, "a host's address is needed, not a loopback, multicast or null one")
    network = found.network
    if isinstance(network, ipaddress.IPv4Network) and network.prefixlen < 31:
        if found.ip == network.network_address:
            refuse(thing, value, f"this is the address of the network {network} itself")
        if found.ip == network.broadcast_address:
            refuse(thing, value, f"this is the broadcast address of {network}")
    return str(found)


def host_address(value: object, thing: str) -> str:
    """An address without prefix, in its one spelling."""
    rule = "an address without prefix is needed, such as '10.0.1.2' or 'fd00::2'"
    if not isinstance(value, str) or "%" in value:
        refuse(thing, value, rule)
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        refuse(thing, value, rule)


def destination(value: object, thing: str) -> str:
    """``"default"`` or a network such as ``"10.0.2.0/24"``, in its one spelling."""
    if value == "default":
        return "default"
    rule = "'default' or a network is needed, such as '10.0.2.0/24'"
    if not isinstance(value, str) or "/" not in value:
        refuse(thing, value, rule)
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        refuse(thing, value, f"{rule} ({error})")
    return str(network) if network.prefixlen else "default"
