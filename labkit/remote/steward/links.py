"""The links of a slice: the verbs that make and change them, and their memory.

``link-set {link, ports: [[INDEX, NIC]...], up, seed, impair: {"INDEX:NIC": {"out": {...},
"in": {...}}}}`` makes a link or changes a living one: what is left out stays as it is, what is
given replaces what was. ``out`` impairs what a machine sends, ``in`` what it is sent. A port is
the NIC number NIC of machine INDEX, whose socket is ``RUN/mINDEX/nNIC``; number 256 is its
user networking (``RUN/mINDEX/g0``), behind the filter of `egress`.
"""

from __future__ import annotations

import os

from .capture import Captures
from .egress import GATEWAY_NIC, GATEWAY_SOCKET, GatewayPort
from .impair import Line, checked
from .port import Port
from .request import Problem
from .switch import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Steward
    from .loop import Timer
    from .request import Facts, Request

MAX_LINKS = 4096
MAX_PORTS = 256
MAX_INDEX = 65535
MAX_NIC = GATEWAY_NIC
SHORTEST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between two looks for sockets of QEMU
SIDES = ("out", "in")


class Links:
    """All links of the slice; connects their ports whenever QEMU listens."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._links: dict[str, Link] = {}
        self._seeds: dict[str, int] = {}
        self._taken: dict[tuple[int, int], str] = {}
        self._since: dict[tuple[int, int], float] = {}
        self._wait = SHORTEST_WAIT
        self._timer: Timer | None = None
        self.captures = Captures(steward, self._links)
        for verb, work in (
            ("link-set", self._set),
            ("link-list", self._list),
            ("link-delete", self._delete),
            ("link-attach", self._attach),
        ):
            steward.control.verb(verb, work)
        steward.on_machine_up.append(lambda _index: self.attach())
        for name, facts in (steward.state.get("links") or {}).items():
            self._change(name, facts)
        self.attach()

    # verbs

    def _set(self, request: Request) -> None:
        name = request.text("link")
        facts = _checked(request, new=name not in self._links)
        if name not in self._links and len(self._links) >= MAX_LINKS:
            raise Problem("too-many-links", limit=MAX_LINKS)
        for key in facts.get("ports", ()):
            owner = self._taken.get(tuple(key), name)
            if owner != name:
                raise Problem("port-taken", index=key[0], nic=key[1], link=owner)
        ports = facts.get("ports") or [list(key) for key in self._links[name].ports]
        for key in facts.get("impair", ()):
            if key not in {"%d:%d" % tuple(port) for port in ports}:
                raise Problem("bad-request", argument="impair", value=key, wanted="a port")
        self._change(name, facts)
        self._remember()
        self.attach()
        request.ok(self._shown(name))

    def _list(self, request: Request) -> None:
        request.ok({"links": [self._shown(name) for name in sorted(self._links)]})

    def _delete(self, request: Request) -> None:
        name = request.text("link")
        link = self._links.pop(name, None)
        if link is not None:
            for port in list(link.ports.values()):
                self._remove(link, port)
            del self._seeds[name]
            try:
                self._remember()
            except Problem as problem:  # to delete something must be possible on a full disk
                self._steward.log("link %s is gone, and not forgotten: %r" % (name, problem.facts))
        request.ok({"absent": link is None})

    def _attach(self, request: Request) -> None:
        self.attach()
        ports = [port for link in self._links.values() for port in link.ports.values()]
        connected = sum(port.connected for port in ports)
        request.ok({"connected": connected, "waiting": len(ports) - connected})

    # changes

    def _change(self, name: str, facts: Facts) -> None:
        """Make or change a link; the facts are checked, or from our own memory."""
        if name not in self._links:
            self._links[name] = Link(name, self._steward.loop)
            self._seeds[name] = int.from_bytes(self._steward.host.random(4), "big")
        link = self._links[name]
        if "ports" in facts:
            wanted = [(index, nic) for index, nic in facts["ports"]]
            for key in [key for key in link.ports if key not in wanted]:
                self._remove(link, link.ports[key])
            for key in wanted:
                if key not in link.ports:
                    self._add(link, key)
        if "seed" in facts:
            self._seeds[name] = facts["seed"]
        if "impair" in facts or "seed" in facts:
            self._impair(link, facts.get("impair"), again="seed" in facts)
        link.set_up(up=facts.get("up", link.up))

    def _add(self, link: Link, key: tuple[int, int]) -> None:
        index, nic = key
        folder, loop = self._steward.machine_folder(index), self._steward.loop
        if nic == GATEWAY_NIC:
            path = os.path.join(folder, GATEWAY_SOCKET)
            port: Port = GatewayPort(loop, index, path, self._steward.host.addresses)
        else:
            port = Port(loop, index, nic, os.path.join(folder, "n%d" % nic))
        port.lost = self._lost
        self._taken[key] = link.name
        link.add(port)
        self._wait = SHORTEST_WAIT

    def _remove(self, link: Link, port: Port) -> None:
        link.remove(port)
        del self._taken[port.key]

    def _impair(self, link: Link, impair: Facts | None, *, again: bool) -> None:
        """Give each port its lines; `again`: with draws that begin anew from the seed."""
        for number, port in enumerate(link.ports.values()):
            given = None if impair is None else impair.get("%d:%d" % port.key, {})
            for side, old in (("out", port.outgoing), ("in", port.incoming)):
                settings = old.settings if old is not None else {}
                settings = settings if given is None else checked(given.get(side, {}), side)
                seed = self._seeds[link.name] * 1024 + 2 * number + (side == "in")
                line = old
                if line is not None:
                    line.change(settings)
                    if again:
                        line.reseed(seed)
                elif settings:
                    line = Line(settings, seed)
                if side == "out":
                    port.outgoing = line
                else:
                    port.incoming = line

    def _remember(self) -> None:
        self._steward.state.put("links", {name: self._wish(name) for name in self._links})

    def _wish(self, name: str) -> Facts:
        """A link as `link-set` would make it again."""
        link = self._links[name]
        impair: dict[str, Any] = {}
        for port in link.ports.values():
            sides = {"out": port.outgoing, "in": port.incoming}
            some = {side: line.settings for side, line in sides.items() if line and line.settings}
            if some:
                impair["%d:%d" % port.key] = some
        ports = [list(key) for key in link.ports]
        return {"ports": ports, "up": link.up, "seed": self._seeds[name], "impair": impair}

    def _shown(self, name: str) -> Facts:
        link = self._links[name]
        ports = [_port_facts(port) for port in link.ports.values()]
        addresses = {address: list(port.key) for address, port in link.addresses.items()}
        return {"link": name, **self._wish(name), "ports": ports, "addresses": addresses}

    # connections

    def attach(self) -> None:
        """Connect all ports whose QEMU listens, now; and look again for the others later."""
        waiting = 0
        for link in self._links.values():
            for port in link.ports.values():
                if port.connected or port.connect():
                    self._since.setdefault(port.key, self._steward.loop.now())
                    continue
                waiting += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiting:
            self._timer = self._steward.loop.call_later(self._wait, self._look_again)

    def _look_again(self) -> None:
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self.attach()

    def _lost(self, port: Port, reason: str) -> None:
        loop = self._steward.loop
        link = self._links[self._taken[port.key]]
        link.forget(port)
        if loop.now() - self._since.pop(port.key, loop.now()) > LONGEST_WAIT:
            self._wait = SHORTEST_WAIT  # it was well: QEMU was restarted, not refused
        index, nic = port.key
        self._steward.event("port-lost", link=link.name, index=index, nic=nic, reason=reason)
        if self._timer is None:
            self._timer = loop.call_later(self._wait, self._look_again)


def _port_facts(port: Port) -> Facts:
    lines = {"out": port.outgoing, "in": port.incoming}
    dropped: dict[str, Any] = dict(port.dropped)
    for side, line in lines.items():
        if line is not None:
            dropped[side] = dict(line.dropped)
    facts = {"index": port.index, "nic": port.nic, "connected": port.connected}
    return {**facts, **port.counters, "dropped": dropped}


def _checked(request: Request, *, new: bool) -> Facts:
    """The arguments of `link-set` that are given, each in its form."""
    facts: Facts = {}
    if new or "ports" in request.arguments:
        facts["ports"] = _checked_ports(request)
    if "up" in request.arguments:
        facts["up"] = request.flag("up")
    if "seed" in request.arguments:
        facts["seed"] = request.integer("seed", 0, 2**63 - 1)
    if "impair" in request.arguments:
        facts["impair"] = request.facts("impair")
        for port, sides in facts["impair"].items():
            if not isinstance(sides, dict) or set(sides) - set(SIDES):
                request.refuse("impair", "objects with 'out' and 'in' by port")
            for side, settings in sides.items():
                checked(settings, "impair.%s.%s" % (port, side))
    return facts


def _checked_ports(request: Request) -> list[list[int]]:
    ports = request.arguments.get("ports")
    if not isinstance(ports, list) or not 0 < len(ports) <= MAX_PORTS:
        request.refuse("ports", "1 to %d pairs of machine and NIC" % MAX_PORTS)
    for port in ports:
        if not (isinstance(port, list) and len(port) == 2 and all(type(n) is int for n in port)):
            request.refuse("ports", "pairs of whole numbers")
        if not (0 <= port[0] <= MAX_INDEX and 0 <= port[1] <= MAX_NIC):
            request.refuse("ports", "machines to %d, NICs to %d" % (MAX_INDEX, MAX_NIC))
    if len({tuple(port) for port in ports}) < len(ports):
        request.refuse("ports", "different from one another")
    return ports
