"""What a guest is told to be: name, interfaces, addresses, routes and hosts, as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.simulator.net.wire import mac_text

if TYPE_CHECKING:
    from labkit.simulator.guest.system import System

Tell = Callable[[str], None]


@dataclass(slots=True)
class Wish:
    """The text, understood."""

    hostname: str = ""
    forwarding: str = ""
    nics: list[tuple[str, str]] = field(default_factory=list)
    ip: list[str] = field(default_factory=list)  # lines for the program `ip`
    hosts: list[str] = field(default_factory=list)
    name_servers: list[str] = field(default_factory=list)
    dhcp: list[str] = field(default_factory=list)


def parse(text: str, tell: Tell) -> Wish:
    """Lines that are not understood are told and left out."""
    wish = Wish()
    for line in text.splitlines():
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        verb, rest = words[0], words[1].strip() if len(words) > 1 else ""
        first, _, second = rest.partition(" ")
        if not _understood(wish, verb, rest, first, second.strip()):
            tell(f"not understood in the setup: {line}")
    return wish


def _understood(wish: Wish, verb: str, rest: str, first: str, second: str) -> bool:
    if verb == "hostname" and first:
        wish.hostname = first
    elif verb == "nic" and second and len(first) < 16:
        wish.nics.append((first, second.lower()))
    elif verb == "address" and second:
        wish.ip.append(f"address replace {second} dev {first}")
    elif verb == "route" and second:
        wish.ip.append(f"route replace {rest}")
    elif verb == "dhcp" and first:
        wish.dhcp.append(first)
    elif verb == "nameserver" and first:
        wish.name_servers.append(first)
    elif verb == "host" and second:
        wish.hosts.append(f"{first}\t{second}")
    elif verb == "forwarding" and first in ("on", "off"):
        wish.forwarding = first
    else:
        return False
    return True


def apply(system: System, text: str, tell: Tell, *, fresh: bool = True) -> bool:
    """Make the system what the text says; whether all addresses and routes could be set."""
    wish = parse(text, tell)
    _write_files(system, wish)
    _name_interfaces(system, wish, tell)
    if wish.forwarding:
        value = "1" if wish.forwarding == "on" else "0"
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            system.net.settings.set(name, value)
    lines = [] if fresh else [f"address flush dev {name} scope global" for name, _ in wish.nics]
    well = True
    for line in (*lines, *wish.ip):
        problem = system.ip(shlex.split(line))
        if problem:
            tell(problem)
            well = False
    if not well:
        tell("an address or a route could not be set; see above")
    for name in wish.dhcp:
        system.ask_for_lease(name)
    return well


def _write_files(system: System, wish: Wish) -> None:
    if wish.hostname:
        system.rename(wish.hostname)
    lines = ["127.0.0.1\tlocalhost", f"127.0.1.1\t{system.hostname}", "::1\tlocalhost"]
    system.files.write("/etc/hosts", "".join(f"{one}\n" for one in (*lines, *wish.hosts)).encode())
    if wish.name_servers:
        servers = "".join(f"nameserver {one}\n" for one in wish.name_servers)
        system.files.write("/etc/resolv.conf", servers.encode())


def _name_interfaces(system: System, wish: Wish, tell: Tell) -> None:
    """Find each by its MAC address; others that have the name step aside."""
    net = system.net
    present = {mac_text(one.mac): one for one in net.interfaces if not one.is_loopback}
    taken = {name for name, _ in wish.nics}
    ours = {mac for _, mac in wish.nics}
    spare = 0
    for mac, interface in present.items():
        if mac not in ours and interface.name in taken:
            interface.name = f"other{spare}"
            spare += 1
    for name, mac in wish.nics:
        if mac not in present:
            tell(f"interface {name} ({mac}) is missing")
        else:
            present[mac].name = name
    net.interfaces.sort(key=lambda one: one.index)
    system.show_interfaces()
    for _, mac in wish.nics:
        if mac in present:
            net.set_up(present[mac], up=True)
