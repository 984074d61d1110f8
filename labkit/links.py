"""The links of a slice on one host: cables and switches between NICs, changed while they live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import pandas as pd

from labkit import rules
from labkit.calls import Facts
from labkit.captures import Capture
from labkit.errors import LinkError, StewardProblem
from labkit.frames import frame
from labkit.promise import Port
from labkit.steward import Steward
from labkit.wish.links import Impairment

MAX_MACHINE = 65535
MAX_NIC = 255
SNAPLEN = 262144

LINKS_COLUMNS = {
    "link": "string",
    "up": "bool",
    "machine": "int64",
    "nic": "int64",
    "connected": "bool",
    "sent_frames": "int64",
    "sent_bytes": "int64",
    "received_frames": "int64",
    "received_bytes": "int64",
    "lost": "int64",
    "over_rate": "int64",
    "queue_full": "int64",
}


@dataclass(frozen=True, slots=True)
class PortState:
    """A NIC's end of a link: whether its machine is there, and what passed since it was made.

    ``sent`` is what the machine sent into the link, ``received`` what it was given. `dropped`
    counts lost frames by cause: ``queue`` (the machine read too slowly), ``runt``, ``down`` (the
    link was), ``off`` (the machine was not connected), and by impairment ``loss``, ``rate``,
    ``overflow`` in `impaired_out` (of what it sent) and `impaired_in`.
    """

    port: Port
    connected: bool
    sent_frames: int
    sent_bytes: int
    received_frames: int
    received_bytes: int
    dropped: Mapping[str, int]
    impaired_out: Mapping[str, int]
    impaired_in: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as it is; `out` and `into` are what impairs the frames from and to its ports."""

    name: str
    up: bool
    seed: int
    ports: tuple[PortState, ...]
    out: Mapping[Port, Impairment]
    into: Mapping[Port, Impairment]

    @classmethod
    def from_facts(cls, facts: Facts) -> Self:
        impair = {
            (side, Port(*map(int, key.split(":")))): _impairment(settings)
            for key, sides in facts["impair"].items()
            for side, settings in sides.items()
        }
        return cls(
            name=facts["link"],
            up=facts["up"],
            seed=facts["seed"],
            ports=tuple(_port_state(port) for port in facts["ports"]),
            out={port: value for (side, port), value in impair.items() if side == "out"},
            into={port: value for (side, port), value in impair.items() if side == "in"},
        )


class Links:
    """Makes, changes, shows and captures the links that a steward switches."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward

    def set(
        self,
        name: str,
        ports: Sequence[tuple[int, int]] | None = None,
        *,
        up: bool | None = None,
        seed: int | None = None,
        out: Mapping[tuple[int, int], Impairment] | None = None,
        into: Mapping[tuple[int, int], Impairment] | None = None,
    ) -> LinkState:
        """Make a link, or change a living one: what is left out stays as it is.

        Two ports are a cable, more a switch. `out` impairs what a port sends, `into` what it is
        given; both together replace all impairments there were. `seed` begins the draws anew, so
        that the same frames fare the same again.
        """
        asked: dict[str, Any] = {"link": rules.name(name, "link")}
        if ports is not None:
            asked["ports"] = [list(_port(port)) for port in ports]
        if up is not None:
            asked["up"] = rules.boolean(up, "up")
        if seed is not None:
            asked["seed"] = rules.integer(seed, "seed", 0, 2**63 - 1)
        if out is not None or into is not None:
            asked["impair"] = _impair_facts(out or {}, into or {})
        return LinkState.from_facts(self._ask("link-set", **asked))

    def states(self, *, revive: bool = True) -> tuple[LinkState, ...]:
        """All links, by name. `revive` is that of `Steward.start`."""
        return tuple(map(LinkState.from_facts, self._ask("link-list", revive=revive)["links"]))

    def frame(self) -> pd.DataFrame:
        """One row per port of each link, with its counters.

        ``link``, ``up``, ``machine``, ``nic``, ``connected`` (its machine is there);
        ``sent_*`` is what it sent into the link, ``received_*`` what it was given; ``lost`` and
        ``over_rate`` are frames it sent that the impairments took, ``queue_full`` frames that it
        did not read in time.
        """
        return frame(
            (_row(link, port) for link in self.states() for port in link.ports), LINKS_COLUMNS
        )

    def delete(self, name: str) -> bool:
        """Remove a link; False when there was none. Its ports are free again."""
        return not self._ask("link-delete", link=rules.name(name, "link"))["absent"]

    def attach(self) -> int:
        """Connect the ports whose machines listen now, without delay; how many are still off."""
        waiting: int = self._ask("link-attach")["waiting"]
        return waiting

    def capture(self, *names: str, snaplen: int = SNAPLEN, where: str = "sent") -> Capture:
        """Capture some links in one, for use in a ``with`` statement.

        `where`: ``sent`` sees frames as the machines send them, ``delivered`` as they arrive,
        after loss and delay. `snaplen`: how many bytes of each frame are kept.
        """
        if not names:
            rules.invalid("links", names, "the names of one link or more")
        for name in names:
            rules.name(name, "link")
        if where not in ("sent", "delivered"):
            rules.invalid("where", where, "'sent' or 'delivered'")
        rules.integer(snaplen, "snaplen", 1, SNAPLEN)
        return Capture(self._steward, names, snaplen=snaplen, where=where)

    def _ask(self, verb: str, **facts: Any) -> Facts:
        try:
            return self._steward.call(verb, **facts).facts
        except StewardProblem as error:
            raise _link_error(error, str(facts.get("link", ""))) from error


def _link_error(error: StewardProblem, name: str) -> LinkError:
    problem = error.context["problem"]
    if problem["code"] == "port-taken":
        port = f"NIC {problem['nic']} of machine {problem['index']}"
        why = f"{port} is on link {problem['link']}"
        fix = "A NIC is on one link only: take it off the other first."
    else:
        why, fix = error.why, ""
    return LinkError(f"cannot set link {name}", why=why, fix=fix, problem=problem)


def _port(port: tuple[int, int]) -> Port:
    if not isinstance(port, tuple) or len(port) != 2:
        rules.invalid("port", port, "a pair of machine and NIC numbers")
    return Port(
        rules.integer(port[0], "machine", 0, MAX_MACHINE), rules.integer(port[1], "nic", 0, MAX_NIC)
    )


def _impair_facts(
    out: Mapping[tuple[int, int], Impairment], into: Mapping[tuple[int, int], Impairment]
) -> dict[str, Any]:
    facts: dict[str, dict[str, Any]] = {}
    for side, impairments in (("out", out), ("in", into)):
        for port, impairment in impairments.items():
            values = {
                item.name: value
                for item in fields(impairment)
                if (value := getattr(impairment, item.name))
            }
            facts.setdefault(str(_port(port)), {})[side] = values
    return facts


def _impairment(settings: Mapping[str, float]) -> Impairment:
    values: dict[str, Any] = dict(settings)
    if "rate_bit" in values:
        values["rate_bit"] = int(values["rate_bit"])
    return Impairment(**values)


def _port_state(facts: Facts) -> PortState:
    dropped = dict(facts["dropped"])
    out, into = dropped.pop("out", {}), dropped.pop("in", {})
    counters = ("sent_frames", "sent_bytes", "received_frames", "received_bytes")
    return PortState(
        port=Port(facts["index"], facts["nic"]),
        connected=facts["connected"],
        dropped=dropped,
        impaired_out=out,
        impaired_in=into,
        **{name: facts[name] for name in counters},
    )


def _row(link: LinkState, state: PortState) -> dict[str, Any]:
    return {
        "link": link.name,
        "up": link.up,
        "machine": state.port.machine,
        "nic": state.port.nic,
        "connected": state.connected,
        "sent_frames": state.sent_frames,
        "sent_bytes": state.sent_bytes,
        "received_frames": state.received_frames,
        "received_bytes": state.received_bytes,
        "lost": state.impaired_out.get("loss", 0) + state.impaired_in.get("loss", 0),
        "over_rate": state.impaired_out.get("rate", 0) + state.impaired_in.get("rate", 0),
        "queue_full": state.dropped["queue"],
    }
