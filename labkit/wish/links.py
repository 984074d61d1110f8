"""One link of a wish: its ends, whether it is up, and what it does to packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from labkit import rules, units
from labkit.errors import InvalidArgument
from labkit.near import did_you_mean
from labkit.wish.refusal import refuse, repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What a link does to the packets that one end sends into it; shares are 0 to 1."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_bit: int | None = None
    duplicate: float = 0.0
    corrupt: float = 0.0

    def __post_init__(self) -> None:
        if self.jitter_ms > self.delay_ms:
            rule = "jitter must not be longer than the delay: no packet arrives before it is sent"
            refuse("jitter", units.spell_milliseconds(self.jitter_ms), rule)

    @classmethod
    def parse(cls, texts: Mapping[str, object], thing: str = "link") -> Self:
        """From what people write: ``{"delay": "20ms", "loss": "1%", "rate": "5Mbit"}``."""
        found: dict[str, float | int] = {}
        for key, text in texts.items():
            if key not in IMPAIRMENTS:
                rule = f"these are known: {', '.join(IMPAIRMENTS)}"
                refuse(f"{thing}: impairment", key, rule, did_you_mean(key, IMPAIRMENTS))
            if text is not None:
                found[_FIELD_OF[key]] = _READERS[key](text, f"{thing}: {key}")
        return cls(**found)  # type: ignore[arg-type]  # each reader gives its field's type

    def texts(self) -> dict[str, str]:
        """As people write it, in one spelling; what is not impaired is left out."""
        values = {key: getattr(self, name) for key, name in _FIELD_OF.items()}
        return {key: _SPELLERS[key](value) for key, value in values.items() if value}

    @property
    def is_none(self) -> bool:
        """Whether packets pass as they are."""
        return not any(getattr(self, field.name) for field in fields(self))


IMPAIRMENTS = ("delay", "jitter", "loss", "rate", "duplicate", "corrupt")
_FIELD_OF = {
    "delay": "delay_ms",
    "jitter": "jitter_ms",
    "loss": "loss",
    "rate": "rate_bit",
    "duplicate": "duplicate",
    "corrupt": "corrupt",
}
_READERS = {
    "delay": units.milliseconds,
    "jitter": units.milliseconds,
    "loss": units.share,
    "rate": units.bits_per_second,
    "duplicate": units.share,
    "corrupt": units.share,
}
_SPELLERS = {
    "delay": units.spell_milliseconds,
    "jitter": units.spell_milliseconds,
    "loss": units.spell_share,
    "rate": units.spell_rate,
    "duplicate": units.spell_share,
    "corrupt": units.spell_share,
}


def split_end(end: object, thing: str = "end of a link") -> tuple[str, str]:
    """``"r1:eth1"`` as VM and interface."""
    parts = end.split(":") if isinstance(end, str) else []
    if len(parts) != 2 or not all(parts):
        refuse(thing, end, "VM and interface are needed, such as 'r1:eth1'")
    return parts[0], parts[1]


def need_two(ends: tuple[object, ...], thing: str = "a link") -> None:
    """Raise `InvalidArgument` where `ends` join nothing."""
    if len(ends) > 1:
        return
    rule = "a link joins two interfaces or more, each of another VM"
    raise InvalidArgument(
        f"{thing} has only the end {ends[0]!r}" if ends else f"{thing} has no ends",
        why=rule,
        fix="Name all its ends, such as 'r1:eth1' and 'r2:eth1'; nothing was done.",
        argument="ends",
        value=ends,
        rule=rule,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWish:
    """An L2 link the user wants: two ends are a cable, more are a switch.

    `impairments` are pairs of an end and what happens to the packets it sends.
    """

    name: str
    ends: tuple[str, ...]
    impairments: tuple[tuple[str, Impairment], ...] = ()
    up: bool = True

    def __post_init__(self) -> None:
        rules.name(self.name, "name of a link")
        thing = f"link {self.name!r}"
        if not isinstance(self.ends, tuple):
            refuse(f"{thing}: ends", self.ends, "a tuple such as ('r1:eth1', 'r2:eth1') is needed")
        need_two(self.ends, thing)
        vms: set[str] = set()
        for end in self.ends:
            vm, _ = split_end(end, f"{thing}: end")
            if vm in vms:
                repeated(f"{thing}: end", end, f"it would join {vm} to itself", "Join two VMs.")
            vms.add(vm)
        impaired = [end for end, _ in self.impairments]
        for end in impaired:
            if end not in self.ends or impaired.count(end) > 1:
                refuse(f"{thing}: impaired end", end, f"one of its ends is needed, once: {self}")
        rules.boolean(self.up, f"{thing}: up")
        if any(impairment.is_none for _, impairment in self.impairments):
            refuse(f"{thing}: impairments", self.impairments, "an end without one is left out")
        if impaired != [end for end in self.ends if end in impaired]:
            refuse(f"{thing}: impairments", impaired, "the order of the ends is needed")

    def __str__(self) -> str:
        return f"{self.name} ({' - '.join(self.ends)})"

    @property
    def vms(self) -> tuple[str, ...]:
        """The VMs it joins, in the order of its ends."""
        return tuple(end.partition(":")[0] for end in self.ends)


def link_wish(
    name: str,
    ends: tuple[str, ...],
    *,
    up: bool = True,
    sends: Mapping[str, Mapping[str, object]] | None = None,
    **everywhere: object,
) -> LinkWish:
    """A `LinkWish` from what people write.

    ``delay="20ms"`` and its like count in every direction; ``sends={"r1:eth1": {"loss": "1%"}}``
    is for the packets of one end, on top of the former.
    """
    thing = f"link {name!r}"
    for end in sends or {}:
        if end not in ends:
            refuse(f"{thing}: impaired end", end, f"one of its ends is needed: {', '.join(ends)}")
    each = {
        end: Impairment.parse({**everywhere, **(sends or {}).get(end, {})}, thing) for end in ends
    }
    impairments = tuple((end, one) for end, one in each.items() if not one.is_none)
    return LinkWish(name=name, ends=tuple(ends), impairments=impairments, up=up)
