"""Who has which MAC address: the neighbour table, with its states and questions as in Linux."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Address, Packet
from labkit.simulator.waiting import Times

REACHABLE_SECONDS = 30.0
DELAY_SECONDS = 5.0
RETRY_SECONDS = 1.0
PROBES = 3
MAX_WAITING = 100  # packets for an address that is not known yet


@dataclass(eq=False, slots=True)
class Neighbour:
    """One address on one interface."""

    ip: Address
    interface: Interface
    state: str = "NONE"
    mac: bytes = b""
    confirmed: float = 0.0
    is_router: bool = False
    waiting: list[Packet] = field(default_factory=list)
    probes: int = 0
    round: int = 0  # questions of an earlier round mean nothing


class Neighbours:
    """The table. `ask(neighbour, broadcast)` asks the network, `deliver` sends to a known MAC."""

    def __init__(
        self,
        times: Times,
        ask: Callable[[Neighbour, bool], None],
        deliver: Callable[[Interface, bytes, Packet], None],
        give_up: Callable[[Packet], None],
    ) -> None:
        self._times = times
        self._ask = ask
        self._deliver = deliver
        self._give_up = give_up
        self._table: dict[tuple[Interface, Address], Neighbour] = {}

    def all(self) -> list[Neighbour]:
        """With the states of now."""
        for one in self._table.values():
            self._age(one)
        return [one for one in self._table.values() if one.state != "NONE"]

    def find(self, interface: Interface, ip: Address) -> Neighbour | None:
        return self._table.get((interface, ip))

    def send(self, interface: Interface, ip: Address, packet: Packet) -> None:
        """Send now, or as soon as the MAC address is known."""
        one = self._entry(interface, ip)
        self._age(one)
        if one.mac and one.state != "FAILED":
            if one.state == "STALE":
                self._doubt(one)
            self._deliver(interface, one.mac, packet)
            return
        if len(one.waiting) < MAX_WAITING:
            one.waiting.append(packet)
        if one.state != "INCOMPLETE":
            one.state, one.probes, one.round = "INCOMPLETE", 0, one.round + 1
            self._ask_again(one, one.round)

    def learn(
        self, interface: Interface, ip: Address, mac: bytes, *, confirmed: bool, is_new: bool = True
    ) -> None:
        """Somebody has told; `confirmed`: they answered our question. `is_new`: also unasked."""
        one = self._table.get((interface, ip))
        if one is None:
            if not is_new:
                return
            one = self._entry(interface, ip)
        if one.state == "PERMANENT":
            return
        changed, one.mac = one.mac != mac, mac
        if confirmed:
            one.state, one.confirmed, one.round = "REACHABLE", self._times.now(), one.round + 1
        elif changed or one.state in ("NONE", "INCOMPLETE", "FAILED"):
            one.state, one.round = "STALE", one.round + 1
        waiting, one.waiting = one.waiting, []
        for packet in waiting:
            self.send(interface, ip, packet)

    def set(self, interface: Interface, ip: Address, mac: bytes, state: str) -> None:
        one = self._entry(interface, ip)
        one.mac, one.state, one.round = mac, state, one.round + 1
        one.confirmed = self._times.now()

    def remove(self, one: Neighbour) -> None:
        one.round += 1
        self._table.pop((one.interface, one.ip), None)

    def forget(self, interface: Interface) -> None:
        for one in [one for one in self._table.values() if one.interface is interface]:
            self.remove(one)

    # ---- inside

    def _entry(self, interface: Interface, ip: Address) -> Neighbour:
        return self._table.setdefault((interface, ip), Neighbour(ip, interface))

    def _age(self, one: Neighbour) -> None:
        if one.state == "REACHABLE" and self._times.now() - one.confirmed > REACHABLE_SECONDS:
            one.state = "STALE"

    def _doubt(self, one: Neighbour) -> None:
        """It is used, but was not heard of for long: ask in a while."""
        one.state, one.round = "DELAY", one.round + 1
        turn = one.round

        def probe() -> None:
            if one.round == turn:
                one.state, one.probes = "PROBE", 0
                self._ask_again(one, turn)

        self._times.call_later(DELAY_SECONDS, probe)

    def _ask_again(self, one: Neighbour, turn: int) -> None:
        if one.round != turn:
            return
        if one.probes == PROBES:
            self._fail(one)
            return
        one.probes += 1
        self._ask(one, one.state == "INCOMPLETE")
        self._times.call_later(RETRY_SECONDS, lambda: self._ask_again(one, turn))

    def _fail(self, one: Neighbour) -> None:
        one.state, one.mac = "FAILED", b""
        waiting, one.waiting = one.waiting, []
        for packet in waiting:
            self._give_up(packet)
