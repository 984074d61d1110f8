"""The routing table of a simulated guest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Address

Network = IPv4Network | IPv6Network
DEFAULT4, DEFAULT6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
METRIC6 = 1024  # of IPv6 routes that name none


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a network go; `kind` is unicast, or what is done instead."""

    network: Network
    interface: Interface | None = None
    gateway: Address | None = None
    metric: int = 0
    protocol: str = ""
    source: Address | None = None
    kind: str = "unicast"

    @property
    def key(self) -> tuple[Network, int]:
        """What no two IPv4 routes share."""
        return self.network, self.metric


class Routes:
    """All routes of both versions."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def of(self, version: int) -> list[Route]:
        """As they are shown: by network; for IPv6 the default comes last."""
        found = [route for route in self._routes if route.network.version == version]
        if version == 4:
            return sorted(found, key=_place)
        return sorted(found, key=lambda route: (not route.network.prefixlen, _place(route)))

    def find(self, version: int, network: Network, metric: int | None = None) -> list[Route]:
        return [
            route
            for route in self.of(version)
            if route.network == network and metric in (None, route.metric)
        ]

    def add(self, route: Route) -> bool:
        """False when there is one for the same network and metric."""
        for other in self._routes:
            is_same = other.key == route.key and (
                route.network.version == 4
                or (other.interface, other.gateway) == (route.interface, route.gateway)
            )
            if is_same:
                return False
        self._routes.append(route)
        return True

    def replace(self, route: Route) -> None:
        self._routes = [other for other in self._routes if other.key != route.key]
        self._routes.append(route)

    def remove(self, route: Route) -> None:
        self._routes.remove(route)

    def forget(self, interface: Interface, version: int | None = None) -> None:
        """All that lead over an interface."""
        self._routes = [
            route
            for route in self._routes
            if route.interface is not interface or version not in (None, route.network.version)
        ]

    def lookup(self, ip: Address, interface: Interface | None = None) -> Route | None:
        """The most special one, and of equals the cheapest."""
        best: Route | None = None
        for route in self._routes:
            if route.network.version != ip.version or ip not in route.network:
                continue
            if interface is not None and route.interface is not interface:
                continue
            if route.interface is not None and not route.interface.is_up:
                continue
            rank = (route.network.prefixlen, -route.metric)
            if best is None or rank > (best.network.prefixlen, -best.metric):
                best = route
        return best


def _place(route: Route) -> tuple[int, int, int]:
    return int(route.network.network_address), route.network.prefixlen, route.metric
