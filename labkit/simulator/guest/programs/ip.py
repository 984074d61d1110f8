"""``ip``: what iproute2's program says and does, as far as labs use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from labkit.simulator.guest.programs.ip_address import address
from labkit.simulator.guest.programs.ip_errors import IpError
from labkit.simulator.guest.programs.ip_link import link
from labkit.simulator.guest.programs.ip_neighbour import neighbour
from labkit.simulator.guest.programs.ip_route import route
from labkit.simulator.net.stack import Stack

USAGE = """\
Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }
       ip [ -force ] -batch filename
where  OBJECT := { address | addrlabel | amt | fou | help | ila | ioam | l2tp |
                   link | macsec | maddress | monitor | mptcp | mroute | mrule |
                   neighbor | neighbour | netconf | netns | nexthop | ntable |
                   ntbl | route | rule | sr | tap | tcpmetrics |
                   token | tunnel | tuntap | vrf | xfrm }
       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] | -r[esolve] |
                    -h[uman-readable] | -iec | -j[son] | -p[retty] |
                    -f[amily] { inet | inet6 | mpls | bridge | link } |
                    -4 | -6 | -M | -B | -0 |
                    -l[oops] { maximum-addr-flush-attempts } | -br[ief] |
                    -o[neline] | -t[imestamp] | -ts[hort] | -b[atch] [filename] |
                    -rc[vbuf] [size] | -n[etns] name | -N[umeric] | -a[ll] |
                    -c[olor]}
"""
VERSION = "ip utility, iproute2-6.1.0, libbpf 1"
RULES = "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n"


@dataclass(slots=True)
class Options:
    """What stands before the object."""

    family: int = 0
    brief: bool = False
    json: bool = False
    pretty: bool = False
    oneline: bool = False
    statistics: bool = False
    details: bool = False


@dataclass(slots=True)
class Outcome:
    """What it says and how it ends."""

    status: int = 0
    out: str = ""
    err: str = ""


@dataclass(slots=True)
class Job:
    """One command: the network it is about, its options, its words, and what it answers."""

    net: Stack
    options: Options
    words: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)  # the answer as JSON
    text: str = ""
    changed: Callable[[], None] = lambda: None  # interfaces have other names now


OBJECTS: dict[str, Callable[[Job], None]] = {
    "address": address,
    "route": route,
    "rule": lambda job: _rule(job),
    "neighbor": neighbour,
    "neighbour": neighbour,
    "link": link,
}
SWITCHES = {
    "-4": ("family", 4),
    "-6": ("family", 6),
    "-0": ("family", 0),
    "-brief": ("brief", True),
    "-json": ("json", True),
    "-pretty": ("pretty", True),
    "-oneline": ("oneline", True),
    "-statistics": ("statistics", True),
    "-stats": ("statistics", True),
    "-details": ("details", True),
    "-Numeric": ("", True),
    "-resolve": ("", True),
    "-human-readable": ("", True),
    "-force": ("", True),
    "-color": ("", True),
}


def run(net: Stack, words: list[str], changed: Callable[[], None] = lambda: None) -> Outcome:
    """One command line, without the program's name."""
    try:
        return _run(net, list(words), changed)
    except IpError as error:
        return Outcome(error.status, "", f"{error}\n")


def _run(net: Stack, words: list[str], changed: Callable[[], None]) -> Outcome:
    options = Options()
    while words and words[0].startswith("-"):
        option = words.pop(0).replace("--", "-", 1)
        if option in ("-V", "-Version"):
            return Outcome(0, f"{VERSION}\n")
        if option in ("-f", "-family"):
            options.family = {"inet": 4, "inet6": 6}.get(words.pop(0) if words else "", 0)
            continue
        _set(options, option.partition("=")[0])
    if not words or words[0] == "help":
        return Outcome(255, "", USAGE)
    name = words.pop(0)
    work = next((OBJECTS[known] for known in OBJECTS if known.startswith(name)), None)
    if work is None:
        raise IpError(f'Object "{name}" is unknown, try "ip help".', 1)
    job = Job(net, options, words, changed=changed)
    work(job)
    return Outcome(0, _shown(job))


def _set(options: Options, option: str) -> None:
    for known, (name, value) in SWITCHES.items():
        if known.startswith(option) and len(option) > 1:
            if name:
                setattr(options, name, value)
            return
    raise IpError(f'Option "{option}" is unknown, try "ip -help".', 255)


def _shown(job: Job) -> str:
    if not job.options.json:
        return job.text
    if not job.rows and not job.text:
        return ""
    indent = 4 if job.options.pretty else None
    separators = None if job.options.pretty else (",", ":")
    return json.dumps(job.rows, indent=indent, separators=separators) + "\n"


def _rule(job: Job) -> None:
    if job.words and job.words[0] not in ("show", "list"):
        raise IpError("Error: rules are not simulated.", 2)
    job.text = RULES
