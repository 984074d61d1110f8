"""``ip neighbour``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.simulator.guest.programs.ip_errors import (
    IpError,
    address_of,
    device,
    following,
    kernel,
    verb,
)
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.neighbours import Neighbour
from labkit.simulator.net.wire import Address, mac_bytes, mac_text

if TYPE_CHECKING:
    from labkit.simulator.guest.programs.ip import Job

VERBS = ("add", "change", "replace", "delete", "get", "show", "list", "lst", "flush", "help")
USAGE = """\
Usage: ip neigh { add | del | change | replace } { ADDR [ lladdr LLADDR ] dev DEV [ nud STATE ] }
       ip neigh { show | flush } [ ADDR ] [ dev DEV ] [ nud STATE ]"""


def neighbour(job: Job) -> None:
    todo = verb(job.words, VERBS, "neigh")
    if todo == "help":
        raise IpError(USAGE, 255)
    ip: Address | None = None
    interface: Interface | None = None
    mac, state = b"", ""
    words = job.words
    while words:
        word = words.pop(0)
        if word == "dev":
            interface = device(job.net, following(words), shows=todo == "show")
        elif word == "lladdr":
            mac = mac_bytes(following(words))
        elif word == "nud":
            state = following(words).upper()
        elif word not in ("to", "all"):
            ip = address_of(word)
    if todo in ("show", "flush", "get"):
        found = [
            one
            for one in job.net.neighbours.all()
            if ip in (None, one.ip)
            and interface in (None, one.interface)
            and job.options.family in (0, one.ip.version)
            and (state in ("", one.state, "ALL"))
        ]
        for one in sorted(found, key=lambda one: one.ip.version):
            _forget(job, one) if todo == "flush" else _show(job, one)
        return
    if ip is None or interface is None:
        raise IpError("Device and destination are required arguments.", 255)
    _change(job, todo, interface, ip, mac, state)


def _change(job: Job, todo: str, interface: Interface, ip: Address, mac: bytes, state: str) -> None:
    known = job.net.neighbours.find(interface, ip)
    if todo == "delete":
        if known is None:
            kernel("No such file or directory")
        job.net.neighbours.remove(known)
    elif known is not None and todo == "add":
        kernel("File exists")
    else:
        job.net.neighbours.set(interface, ip, mac, state or "PERMANENT")


def _forget(job: Job, one: Neighbour) -> None:
    if one.state != "PERMANENT":
        job.net.neighbours.remove(one)


def _show(job: Job, one: Neighbour) -> None:
    words = [str(one.ip), "dev", one.interface.name]
    row: dict[str, Any] = {"dst": str(one.ip), "dev": one.interface.name}
    if one.mac:
        words += ["lladdr", mac_text(one.mac)]
        row["lladdr"] = mac_text(one.mac)
    if one.is_router:
        words.append("router")
        row["router"] = None
    job.text += f"{' '.join(words)} {one.state} \n"
    job.rows.append({**row, "state": [one.state]})
