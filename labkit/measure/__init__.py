"""Measures a link between its machines: what was asked of it beside what packets say.

The packets are raw frames of a type of their own, sent by a small program that runs in both guests
for as long as it takes: no address is needed or changed, and nothing is left behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from labkit import rules
from labkit.errors import LinkError
from labkit.frames import frame
from labkit.measure.exchange import Load, Place, Runs, exchange
from labkit.measure.samples import BITS, Asked, rate_row, rows
from labkit.wish.links import Impairment

PACKETS = 4000  # each way: chance moves a loss of 10 % by less than 1.5 %
LEAST_PACKETS, MOST_PACKETS = 100, 200_000
PAUSE_US = 1000.0
SMALL, LARGE = 62, 1250  # bytes, Ethernet header included: whole words behind the checksum
SHARE_OF_RATE = 0.25  # what packets may take of a link's rate without waiting for one another
LONGEST_SECONDS = 8.0  # for packets on a link of a low rate; then there are fewer of them
RATE_SECONDS, OVERLOAD, CATCH_UP_US = 2.0, 2.0, 150_000.0
RATE_PACKETS = 100  # at least, as far as their size allows
QUEUE_SECONDS = 0.2  # in front of a rate; see labkit.remote.steward.impair
LINGER = 0.5

MEASURE_COLUMNS = {
    "link": "string",
    "from": "string",
    "to": "string",
    "quantity": "string",
    "asked": "float64",
    "measured": "float64",
    "unit": "string",
    "deviation": "float64",
    "allowed": "float64",
    "packets": "int64",
    "ok": "boolean",
}

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: a machine's name and guest, its interface, and what was asked there.

    `sends` impairs what the machine sends into the link, `gets` what it is given.
    """

    name: str
    guest: Runs
    interface: str
    sends: Impairment = field(default_factory=Impairment)
    gets: Impairment = field(default_factory=Impairment)


def measure_link(
    link: str,
    ends: Sequence[End],
    *,
    packets: int = PACKETS,
    on_progress: OnProgress | None = None,
) -> pd.DataFrame:
    """One row per quantity and direction: ``asked`` and ``measured``, and whether it is ``ok``.

    ``link``, ``from``, ``to``; ``quantity``: ``delay`` and ``jitter`` in ms, ``loss``,
    ``duplicate`` and ``corrupt`` in %, and where one was asked for ``rate`` in Mbit/s (``unit``);
    ``deviation`` is measured - asked. ``ok`` holds when it is at most ``allowed``: 1 ms or 5 % of
    what was asked, and what chance does with so many ``packets``; it is missing where that cannot
    be told: when nothing arrived, when the machines cannot send as fast as the link's rate, and
    for a jitter that was not asked for, as busy machines have one of their own.

    The delay is what the fastest twentieth of the packets takes, so that busy machines are not
    taken for a slow link; with jitter it is the median. At a segment with more than two ends,
    pairs are measured so that each end sends and receives. `on_progress` is told what is being
    done and which share of all is behind us. Takes about 10 s a pair, and longer on links that
    are slow; the interfaces must be up, and the machines of the micro image.
    """
    rules.integer(packets, "packets", LEAST_PACKETS, MOST_PACKETS)
    if len(ends) < 2:
        rules.invalid("ends", [end.name for end in ends], "two or more")
    tell = on_progress or _nothing
    places = {end: _place(link, end) for end in ends}
    pairs = _pairs(ends)
    found: list[dict[str, Any]] = []
    for number, (one, other) in enumerate(pairs):

        def part(doing: str, share: float, number: int = number) -> None:
            tell(doing, (number + share) / len(pairs))

        both = (places[one], places[other])
        asked = (Asked.of(one.sends, other.gets), Asked.of(other.sends, one.gets))
        found += [{"link": link, **row} for row in _pair(both, asked, packets, part)]
    tell("measured", 1.0)
    return frame(found, MEASURE_COLUMNS)


def _pairs(ends: Sequence[End]) -> list[tuple[End, End]]:
    """Ends by two, so that each is in one at least."""
    pairs = [(ends[n], ends[n + 1]) for n in range(0, len(ends) - 1, 2)]
    return [*pairs, (ends[-1], ends[0])] if len(ends) % 2 else pairs


def _nothing(_doing: str, _share: float) -> None:
    pass


def _place(link: str, end: End) -> Place:
    """Where packets are sent; refuses an interface that is missing or down."""
    folder = f"/sys/class/net/{end.interface}"
    result = end.guest.run(["cat", f"{folder}/address", f"{folder}/flags"])
    what = f"{end.interface} of {end.name}"
    if not result.ok:
        raise LinkError(f"cannot measure link {link}", why=f"there is no {what}")
    mac, flags = result.text.split()
    if not int(flags, 16) & 1:
        fix = f'Set it up first: run("ip link set {end.interface} up").'
        raise LinkError(f"cannot measure link {link}", why=f"{what} is down", fix=fix)
    return Place(end.name, end.guest, end.interface, mac)


def _pair(
    places: tuple[Place, Place], asked: tuple[Asked, Asked], packets: int, tell: OnProgress
) -> Iterator[dict[str, Any]]:
    """The rows of both directions between two machines."""
    names = " and ".join(place.name for place in places)
    linger = LINGER + max(one.longest_seconds for one in asked)
    tell(f"delay and loss between {names}", 0.0)
    light = (_light(asked[0], packets), _light(asked[1], packets))
    sides = exchange(places, light, linger)
    heavy = (_heavy(asked[0]), _heavy(asked[1]))
    loaded = sides
    if heavy[0].count or heavy[1].count:
        tell(f"rate between {names}", 0.6)
        loaded = exchange(places, heavy, linger + QUEUE_SECONDS)
    for first, second in ((0, 1), (1, 0)):
        way = {"from": places[first].name, "to": places[second].name}
        size = light[first].size
        yield from (way | row for row in rows(asked[first], sides[first], sides[second], size))
        if heavy[first].count:
            sent, came = loaded[first], loaded[second]
            yield way | rate_row(asked[first], sent, came, heavy[first].size)


def _light(asked: Asked, packets: int) -> Load:
    """Packets that do not wait for one another, however low the rate."""
    if not asked.rate_bit:
        return Load(packets, SMALL, PAUSE_US)
    pause = max(PAUSE_US, SMALL * BITS / (SHARE_OF_RATE * asked.rate_bit) * 1e6)
    return Load(max(20, min(packets, int(LONGEST_SECONDS * 1e6 / pause))), SMALL, pause)


def _heavy(asked: Asked) -> Load:
    """More than the rate lets through, also of what is left after the loss."""
    if not asked.rate_bit or asked.loss > 0.9:
        return Load(0, SMALL, PAUSE_US)
    size = int(asked.rate_bit * RATE_SECONDS / RATE_PACKETS / BITS)
    size = min(max(size, SMALL), LARGE)
    size -= (size - SMALL) % 4
    a_second = OVERLOAD * asked.rate_bit / (1 - asked.loss) / (size * BITS)
    each = math.ceil(a_second * PAUSE_US / 1e6)
    count = max(math.ceil(a_second * RATE_SECONDS), 10)
    return Load(count, size, each / a_second * 1e6, each, CATCH_UP_US)
