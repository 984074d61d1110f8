"""The settings of a guest as the text its system reads (labkit/micro/guest/PROTOCOL.md, Setup)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from labkit.model import INTERNET_GATEWAY, INTERNET_NETWORK
from labkit.programs.qemu import NAME_SERVER
from labkit.promise import PARTS, GuestSpec

NETWORK_PARTS = frozenset({"addresses", "routes"})
TEXT_PARTS = frozenset({"hostname", "addresses", "forwarding", "routes", "hosts"})


def setup_text(guest: GuestSpec, parts: Collection[str] = PARTS) -> str:
    """What `labkit-setup` is given, or what lies beside the machine when it starts.

    The system replaces its names and its hosts file each time, so these are always whole. Its
    interfaces are emptied first where addresses or routes are among the `parts`.
    """
    lines = [f"hostname {guest.name}", *_hosts(guest), f"forwarding {_word(guest.forwarding)}"]
    if NETWORK_PARTS & set(parts):
        lines += _network(guest)
    return "\n".join(lines) + "\n"


def _word(on: bool) -> str:  # noqa: FBT001 - a value, not a switch
    return "on" if on else "off"


def _hosts(guest: GuestSpec) -> Iterator[str]:
    for address, name in guest.hosts_lines():
        yield f"host {address} {name}"


def _network(guest: GuestSpec) -> Iterator[str]:
    for name, mac in guest.macs:
        yield f"nic {name} {mac}"
    for interface, address in guest.addresses:
        yield f"address {interface} {address}"
    if guest.internet:
        prefix = INTERNET_NETWORK.partition("/")[2]
        yield f"address eth0 {guest.internet}/{prefix}"
        yield f"nameserver {NAME_SERVER}"
        if not any(
            route.destination == "default" and ":" not in route.via for route in guest.routes
        ):
            yield f"route default via {INTERNET_GATEWAY}"
    for route in guest.routes:
        yield f"route {route}"
