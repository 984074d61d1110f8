"""``ip link``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.simulator.guest.programs.ip_errors import (
    IpError,
    brief_width,
    device,
    following,
    kernel,
    number_of,
    verb,
)
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import mac_bytes, mac_text

if TYPE_CHECKING:
    from labkit.simulator.guest.programs.ip import Job

VERBS = ("set", "show", "list", "lst", "add", "delete", "help")
QUEUE = 1000
USAGE = """\
Usage: ip link set { DEVICE | dev DEVICE } [ { up | down } ] [ address LLADDR ] [ mtu MTU ]
                   [ name NEWNAME ]
       ip link show [ DEVICE ] [ up ]"""


def link(job: Job) -> None:
    todo = verb(job.words, VERBS, "link")
    if todo == "help":
        raise IpError(USAGE, 255)
    if todo == "set":
        _set(job)
    elif todo == "show":
        for interface in chosen(job):
            show(job, interface)
    elif todo == "add":
        if "bridge" in job.words:
            raise IpError("Error: Unknown device type.", 2)
        raise IpError("Error: interfaces that are not NICs are not simulated.", 2)
    else:
        name = next((word for word in job.words if word != "dev"), "")
        device(job.net, name)
        kernel("Operation not supported")


def chosen(job: Job) -> list[Interface]:
    """The interfaces that are asked for."""
    found = list(job.net.interfaces)
    while job.words:
        word = job.words.pop(0)
        if word == "up":
            found = [one for one in found if one.is_up]
        elif word == "type":
            following(job.words)
        elif word == "master":
            name = following(job.words)
            words = f'Error: argument "{name}" is wrong: Device does not exist\n'
            raise IpError(words, 255)
        else:
            name = following(job.words) if word == "dev" else word
            found = [device(job.net, name, shows=True)]
    return found


def _set(job: Job) -> None:
    words = job.words
    name = following(words)
    interface = device(job.net, following(words) if name == "dev" else name)
    while words:
        word = words.pop(0)
        if word in ("up", "down"):
            job.net.set_up(interface, up=word == "up")
        elif word == "mtu":
            interface.mtu = number_of(following(words), "mtu")
        elif word == "address":
            _set_address(interface, following(words))
        elif word == "name":
            _rename(job, interface, following(words))
        elif word in ("promisc", "arp", "multicast", "allmulticast", "txqueuelen", "qlen", "alias"):
            value = following(words)
            if word == "promisc":
                interface.is_promiscuous = value == "on"
        else:
            raise IpError(f'Error: either "dev" is duplicate, or "{word}" is a garbage.', 255)


def _set_address(interface: Interface, text: str) -> None:
    if len(text.split(":")) != 6:
        raise IpError(f'"{text}" is invalid lladdr.', 255)
    interface.mac = mac_bytes(text)


def _rename(job: Job, interface: Interface, name: str) -> None:
    if interface.is_up:
        kernel("Device or resource busy")
    if job.net.interface(name) is not None:
        kernel("File exists")
    interface.name = name
    job.changed()


def show(job: Job, interface: Interface) -> None:
    """One interface, in the form that is asked for."""
    mac, flags = mac_text(interface.mac), interface.flags
    if job.options.brief:
        start = brief_width(interface.name) + f"{interface.state:<14} "
        job.text += f"{start}{mac} <{','.join(flags)}> \n"
        job.rows.append(
            {"ifname": interface.name, "operstate": interface.state, "address": mac, "flags": flags}
        )
        return
    job.rows.append(facts(interface, mode=True))
    lines = [head(interface, mode=True), ether(interface)]
    if job.options.statistics:
        lines += _statistics(interface)
    job.text += joined(job, lines)


def joined(job: Job, lines: list[str]) -> str:
    """Lines of one thing: below one another, or on one line with ``-o``."""
    if job.options.oneline:
        return "\\".join(lines) + "\n"
    return "\n".join(lines) + "\n"


def queue(interface: Interface) -> str:
    return "noqueue" if interface.is_loopback else "fq_codel"


def head(interface: Interface, *, mode: bool) -> str:
    """The line that begins with its number."""
    words = f"{interface.index}: {interface.name}: <{','.join(interface.flags)}> "
    words += f"mtu {interface.mtu} qdisc {queue(interface)} state {interface.state} "
    return f"{words}{'mode DEFAULT ' if mode else ''}group default qlen {QUEUE}"


def ether(interface: Interface) -> str:
    kind = "loopback" if interface.is_loopback else "ether"
    broadcast = "00:00:00:00:00:00" if interface.is_loopback else "ff:ff:ff:ff:ff:ff"
    return f"    link/{kind} {mac_text(interface.mac)} brd {broadcast}"


def facts(interface: Interface, *, mode: bool) -> dict[str, Any]:
    """What ``-json`` says of it."""
    is_loopback = interface.is_loopback
    return {
        "ifindex": interface.index,
        "ifname": interface.name,
        "flags": interface.flags,
        "mtu": interface.mtu,
        "qdisc": queue(interface),
        "operstate": interface.state,
        **({"linkmode": "DEFAULT"} if mode else {}),
        "group": "default",
        "txqlen": QUEUE,
        "link_type": "loopback" if is_loopback else "ether",
        "address": mac_text(interface.mac),
        "broadcast": "00:00:00:00:00:00" if is_loopback else "ff:ff:ff:ff:ff:ff",
    }


def _statistics(interface: Interface) -> list[str]:
    c = interface.counters
    received = f"{c.rx_bytes:>14} {c.rx_packets:>7} {0:>6} {0:>7} {0:>7} {c.multicast:>7} "
    sent = f"{c.tx_bytes:>14} {c.tx_packets:>7} {0:>6} {0:>7} {0:>7} {0:>7} "
    return [
        "    RX:  bytes packets errors dropped  missed   mcast           ",
        received,
        "    TX:  bytes packets errors dropped carrier collsns           ",
        sent,
    ]
