"""The settings of a guest as one script for /bin/sh, for systems that have no cloud-init.

It needs no more than busybox: ip, grep, cut, printf and base64. It is run once, by root.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator

from labkit.model import INTERNET_GATEWAY, INTERNET_NETWORK
from labkit.programs.qemu import NAME_SERVER
from labkit.promise import GuestSpec

_LINE = 4096  # base64 characters of a file in one line of the script
_FIND = """\
# interfaces are found by MAC: all get a name that is free, then their own
interface_of() { grep -il "$1" /sys/class/net/*/address | cut -d / -f 5; }
call() { ip link set "$1" down; ip link set "$1" name "$2"; }
"""


def script(guest: GuestSpec) -> str:
    """The whole script."""
    return "".join(f"{line}\n" for line in _lines(guest))


def hosts_text(guest: GuestSpec) -> str:
    """The hosts file; a machine's own name is known even where the wish does not tell it."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    known = guest.hosts_lines()
    if guest.name not in {name for _, name in known}:
        lines.append(f"127.0.1.1\t{guest.name}")
    return "".join(f"{line}\n" for line in [*lines, *(f"{a}\t{name}" for a, name in known)])


def leaves_by_internet(guest: GuestSpec) -> bool:
    """Whether its default route is the internet's: it has that, and no other of its own."""
    own = any(route.destination == "default" and ":" not in route.via for route in guest.routes)
    return guest.internet is not None and not own


def _lines(guest: GuestSpec) -> Iterator[str]:
    yield "#!/bin/sh"
    yield f"hostname {shlex.quote(guest.name)}"
    yield f"printf %s {shlex.quote(guest.name)} > /etc/hostname"
    yield from _file("/etc/hosts", hosts_text(guest).encode(), 0o644)
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        yield f"echo {int(guest.forwarding)} > /proc/sys/net/{switch}"
    yield from _network(guest)
    for file in guest.files:
        assert file.data is not None  # seeds are made of files that were read
        yield from _file(file.path, file.data, file.mode)
    for command in guest.commands:
        yield f"sh -c {shlex.quote(command)}"


def _network(guest: GuestSpec) -> Iterator[str]:
    yield _FIND.rstrip("\n")
    for number, (_, mac) in enumerate(guest.macs):
        yield f'call "$(interface_of {mac})" free{number}'
    for number, (name, _) in enumerate(guest.macs):
        yield f"call free{number} {name}"
        yield f"ip link set {name} up"
    for name, address in guest.addresses:
        yield f"ip address add {address} dev {name}"
    if guest.internet is not None:
        prefix = INTERNET_NETWORK.partition("/")[2]
        yield f"ip address add {guest.internet}/{prefix} dev eth0"
        yield f"echo nameserver {NAME_SERVER} > /etc/resolv.conf"
        if leaves_by_internet(guest):
            yield f"ip route add default via {INTERNET_GATEWAY}"
    for route in guest.routes:
        family = "-6 " if ":" in route.via else ""
        yield f"ip {family}route add {route}"


def _file(path: str, data: bytes, mode: int) -> Iterator[str]:
    quoted = shlex.quote(path)
    text = base64.b64encode(data).decode()
    folder = path.rpartition("/")[0] or "/"
    yield f"mkdir -p {shlex.quote(folder)}"
    yield f": > {quoted}.b64"
    for start in range(0, len(text), _LINE):
        yield f"printf %s {text[start : start + _LINE]} >> {quoted}.b64"
    yield f"base64 -d {quoted}.b64 > {quoted}; rm {quoted}.b64; chmod {mode:o} {quoted}"
