"""``ip route``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.simulator.guest.programs.ip_errors import (
    IpError,
    address_of,
    device,
    following,
    kernel,
    network_of,
    number_of,
    verb,
)
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.routes import METRIC6, Network, Route
from labkit.simulator.net.wire import Address

if TYPE_CHECKING:
    from labkit.simulator.guest.programs.ip import Job

VERBS = (
    "add",
    "append",
    "change",
    "chg",
    "delete",
    "get",
    "list",
    "lst",
    "show",
    "prepend",
    "replace",
    "flush",
    "help",
)
KINDS = ("unicast", "unreachable", "blackhole", "prohibit")
VALUES = ("proto", "scope", "table", "src", "metric", "mtu", "advmss", "type", "tos", "onlink")
USAGE = """\
Usage: ip route { list | flush } SELECTOR
       ip route get ADDRESS
       ip route { add | del | change | append | replace } ROUTE"""


@dataclass(slots=True)
class Wish:
    """A route or selector as it was written."""

    network: Network | None = None
    gateway: Address | None = None
    interface: Interface | None = None
    metric: int | None = None
    protocol: str = ""
    source: Address | None = None
    kind: str = "unicast"


def route(job: Job) -> None:
    todo = verb(job.words, VERBS, "route")
    if todo == "help":
        raise IpError(USAGE, 255)
    if todo == "get":
        _get(job)
        return
    wish = _read(job)
    if todo == "show":
        _show(job, wish)
    elif todo == "flush":
        for one in _matching(job, wish):
            if one.protocol != "kernel":
                job.net.routes.remove(one)
    elif todo == "delete":
        _delete(job, wish)
    else:
        _add(job, wish, todo)


def _read(job: Job) -> Wish:
    wish, words, family = Wish(), job.words, job.options.family
    if any(":" in word for word in words):
        family = family or 6
    while words:
        word = words.pop(0)
        if word in KINDS:
            wish.kind = word
        elif word == "dev":
            wish.interface = device(job.net, following(words))
        elif word in ("via", "src"):
            if word == "via" and words and words[0] in ("inet", "inet6"):
                words.pop(0)
            value = address_of(following(words))
            if word == "via":
                wish.gateway = value
            else:
                wish.source = value
        elif word in ("metric", "preference"):
            wish.metric = number_of(following(words), "metric")
        elif word in ("proto", "protocol"):
            wish.protocol = following(words)
        elif word in ("scope", "table", "mtu", "advmss", "type", "tos"):
            following(words)
        elif word not in ("onlink", "to", "exact", "root", "match", "all", "cache"):
            wish.network = network_of(word, family)
    return wish


def _made(job: Job, wish: Wish) -> Route:
    if wish.network is None:
        raise IpError('Command line is not complete. Try option "help"', 255)
    version = wish.network.version
    metric = (METRIC6 if version == 6 else 0) if wish.metric is None else wish.metric
    interface = wish.interface
    if wish.kind == "unicast":
        interface = _way(job, wish, interface)
    protocol = "" if wish.protocol == "boot" else wish.protocol
    return Route(wish.network, interface, wish.gateway, metric, protocol, wish.source, wish.kind)


def _way(job: Job, wish: Wish, interface: Interface | None) -> Interface:
    """The interface a route leads over."""
    if wish.gateway is not None:
        near = job.net.routes.lookup(wish.gateway, interface)
        is_direct = near is not None and near.gateway is None and near.kind == "unicast"
        link_local = wish.gateway.is_link_local and interface is not None
        if not is_direct and not link_local:
            raise IpError("Error: Nexthop has invalid gateway.", 2)
        if interface is None and near is not None:
            interface = near.interface
    if interface is None:
        kernel("No such device")
    if not interface.is_up:
        if wish.gateway is None:
            raise IpError("Error: Device for nexthop is not up.", 2)
        kernel("Network is down")
    return interface


def _add(job: Job, wish: Wish, todo: str) -> None:
    new = _made(job, wish)
    if todo == "replace":
        job.net.routes.replace(new)
    elif todo in ("change", "chg"):
        if not job.net.routes.find(new.network.version, new.network, new.metric):
            kernel("No such file or directory")
        job.net.routes.replace(new)
    elif not job.net.routes.add(new):
        kernel("File exists")


def _delete(job: Job, wish: Wish) -> None:
    found = _matching(job, wish) if wish.network is not None else []
    if not found:
        kernel("No such process")
    job.net.routes.remove(found[0])


def _matching(job: Job, wish: Wish) -> list[Route]:
    version = job.options.family or 4
    if wish.network is not None:
        version = wish.network.version
    return [
        one
        for one in job.net.routes.of(version)
        if wish.network in (None, one.network)
        and wish.gateway in (None, one.gateway)
        and wish.interface in (None, one.interface)
        and wish.metric in (None, one.metric)
        and wish.protocol in ("", one.protocol)
    ]


def _show(job: Job, wish: Wish) -> None:
    for one in _matching(job, wish):
        job.text += f"{_line(one, hides=wish.interface)}\n"
        job.rows.append(_facts(one))


def _name(network: Network) -> str:
    if not network.prefixlen:
        return "default"
    return str(network.network_address if network.num_addresses == 1 else network)


def _line(one: Route, hides: Interface | None = None) -> str:
    words = [] if one.kind == "unicast" else [one.kind]
    words.append(_name(one.network))
    if one.gateway is not None:
        words += ["via", str(one.gateway)]
    if one.interface is not None and one.interface is not hides:
        words += ["dev", one.interface.name]
    if one.protocol:
        words += ["proto", one.protocol]
    is_four = one.network.version == 4
    if is_four and one.gateway is None and one.kind == "unicast":
        words += ["scope", "link"]
    if one.source is not None:
        words += ["src", str(one.source)]
    if one.metric:
        words += ["metric", str(one.metric)]
    return " ".join(words) + (" " if is_four else " pref medium")


def _facts(one: Route) -> dict[str, Any]:
    is_four = one.network.version == 4
    row: dict[str, Any] = {} if one.kind == "unicast" else {"type": one.kind}
    row["dst"] = _name(one.network)
    if one.gateway is not None:
        row["gateway"] = str(one.gateway)
    if one.interface is not None:
        row["dev"] = one.interface.name
    if one.protocol:
        row["protocol"] = one.protocol
    if is_four and one.gateway is None and one.kind == "unicast":
        row["scope"] = "link"
    if one.source is not None:
        row["prefsrc"] = str(one.source)
    if one.metric:
        row["metric"] = one.metric
    row["flags"] = []
    if not is_four:
        row["pref"] = "medium"
    return row


def _get(job: Job) -> None:
    words = [word for word in job.words if word != "to"]
    ip = address_of(following(words).partition("/")[0])
    net = job.net
    source = net.source_for(ip)
    if net.is_own(ip):
        job.text = f"local {ip} dev lo src {ip} uid 0 \n    cache <local> \n"
        return
    found = net.routes.lookup(ip)
    if found is None or found.kind == "prohibit":
        kernel("Network is unreachable")
    if found.kind == "blackhole":
        kernel("Invalid argument")
    if found.kind == "unreachable" or found.interface is None:
        kernel("No route to host")
    via = f" via {found.gateway}" if found.gateway is not None else ""
    if ip.version == 4:
        job.text = f"{ip}{via} dev {found.interface.name} src {source} uid 0 \n    cache \n"
    else:
        job.text = f"{ip} from ::{via} dev {found.interface.name} src {source} metric "
        job.text += f"{found.metric} pref medium\n"
    row = {"dst": str(ip), "dev": found.interface.name, "prefsrc": str(source)}
    if found.gateway is not None:
        row["gateway"] = str(found.gateway)
    job.rows = [{**row, "flags": [], "uid": 0, "cache": []}]
