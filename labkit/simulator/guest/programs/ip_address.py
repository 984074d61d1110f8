"""``ip address``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.simulator.guest.programs.ip_errors import (
    IpError,
    brief_width,
    device,
    following,
    interface_of,
    kernel,
    verb,
)
from labkit.simulator.guest.programs.ip_link import chosen, ether, facts, head, joined
from labkit.simulator.net.interfaces import AnyInterface, Assigned, Interface

if TYPE_CHECKING:
    from labkit.simulator.guest.programs.ip import Job

VERBS = ("add", "change", "replace", "delete", "show", "list", "lst", "flush", "help")
FOREVER = 4294967295
USAGE = """\
Usage: ip address {add|change|replace} IFADDR dev IFNAME
       ip address del IFADDR dev IFNAME
       ip address flush dev IFNAME
       ip address [ show [ dev IFNAME ] [ up ] ]"""


def address(job: Job) -> None:
    todo = verb(job.words, VERBS, "addr")
    if todo == "help":
        raise IpError(USAGE, 255)
    if todo == "show":
        scope = _scope(job.words)
        for interface in chosen(job):
            _show(job, interface, scope)
    elif todo == "flush":
        _flush(job)
    else:
        _change(job, todo)


def _scope(words: list[str]) -> str:
    """The scope that is asked for, taken from the words; nothing where any is."""
    if "scope" not in words:
        return ""
    place = words.index("scope")
    scope = following(words[place + 1 :])
    del words[place : place + 2]
    return scope


def _change(job: Job, todo: str) -> None:
    value: AnyInterface | None = None
    interface: Interface | None = None
    broadcast = label = ""
    words = job.words
    while words:
        word = words.pop(0)
        if word == "dev":
            interface = device(job.net, following(words))
        elif word in ("broadcast", "brd"):
            broadcast = following(words)
        elif word == "label":
            label = following(words)
        elif word in ("scope", "valid_lft", "preferred_lft", "metric", "peer"):
            following(words)
        elif word not in ("nodad", "noprefixroute"):
            text = following(words) if word == "local" else word
            value = interface_of(text, job.options.family)
    if value is None:
        raise IpError('Command line is not complete. Try option "help"', 255)
    if interface is None:
        raise IpError('Not enough information: "dev" argument is required.', 255)
    if broadcast == "+":
        broadcast = str(value.network.broadcast_address)
    known = next((one for one in interface.addresses if one.value == value), None)
    if todo == "delete":
        if known is None:
            kernel("Cannot assign requested address")
        job.net.unassign(interface, known)
    elif known is None:
        job.net.assign(interface, str(value), broadcast=broadcast, label=label)
    elif todo == "add":
        kernel("File exists")


def _flush(job: Job) -> None:
    interface, to = None, ""
    while job.words:
        word = job.words.pop(0)
        if word == "dev":
            interface = device(job.net, following(job.words), shows=True)
        elif word in ("scope", "to", "label"):
            to = following(job.words)
        elif interface is None:
            interface = device(job.net, word, shows=True)
    if interface is None:
        raise IpError("Flush requires arguments.", 255)
    family = job.options.family
    for one in list(interface.addresses):
        is_wanted = family in (0, one.value.version) and (not to or to == one.scope)
        if is_wanted and one in interface.addresses:
            job.net.unassign(interface, one)


def _show(job: Job, interface: Interface, scope: str) -> None:
    options = job.options
    entries = [
        one
        for one in interface.addresses
        if options.family in (0, one.value.version) and scope in ("", one.scope)
    ]
    if (options.family or scope) and not entries:
        return
    if options.brief:
        _show_briefly(job, interface, entries)
        return
    if options.oneline:
        start = f"{interface.index}: {interface.name}    "
        for one in entries:
            job.text += start + _lines(one, interface)[0].lstrip() + LIFETIME_ONE + "\n"
    else:
        lines = [head(interface, mode=False)]
        if not options.family:
            lines.append(ether(interface))
        for one in entries:
            lines += _lines(one, interface)
        job.text += joined(job, lines)
    job.rows.append(
        {**facts(interface, mode=False), "addr_info": [_facts(one, interface) for one in entries]}
    )


LIFETIME = "       valid_lft forever preferred_lft forever"
LIFETIME_ONE = f"\\{LIFETIME}"


def _show_briefly(job: Job, interface: Interface, entries: list[Assigned]) -> None:
    shown = "".join(f"{one.value.with_prefixlen} " for one in entries)
    job.text += f"{brief_width(interface.name)}{interface.state:<14} {shown}\n"
    infos = [{"local": str(one.ip), "prefixlen": one.value.network.prefixlen} for one in entries]
    job.rows.append({"ifname": interface.name, "operstate": interface.state, "addr_info": infos})


def _lines(one: Assigned, interface: Interface) -> list[str]:
    family = "inet" if one.value.version == 4 else "inet6"
    words = f"    {family} {one.value.with_prefixlen}"
    if one.broadcast:
        words += f" brd {one.broadcast}"
    words += f" scope {one.scope} "
    if one.is_secondary:
        words += "secondary "
    if family == "inet":
        words += one.label or interface.name
    elif one.is_tentative:
        words += "tentative "
    return [words, LIFETIME]


def _facts(one: Assigned, interface: Interface) -> dict[str, Any]:
    is_four = one.value.version == 4
    return {
        "family": "inet" if is_four else "inet6",
        "local": str(one.ip),
        "prefixlen": one.value.network.prefixlen,
        **({"broadcast": one.broadcast} if one.broadcast else {}),
        "scope": one.scope,
        **({"secondary": True} if one.is_secondary else {}),
        **({"tentative": True} if one.is_tentative else {}),
        **({"label": one.label or interface.name} if is_four else {}),
        "valid_life_time": FOREVER,
        "preferred_life_time": FOREVER,
    }
