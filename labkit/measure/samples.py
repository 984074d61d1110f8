"""What packets say about a link: what was asked of a direction, and what is measured of it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, nan, sqrt
from typing import Any

from labkit.wish.links import Impairment

# Quantiles of the packets that travel so fast that no busy machine has held them up.
EARLY, QUARTER = 0.05, 0.25
BITS = 8
CHANCE = 3.0  # standard deviations that chance may take
LEAST_MS, LEAST_SHARE = 1.0, 0.001  # what is no deviation, however little was asked
RELATIVE = 0.05
PIECE, PIECES = 10, 20  # packets at least, and how many pieces: to tell a pace
ENOUGH_OFFERED = 1.1  # times the rate: with less, the sender may be what was measured

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that came, in microseconds of the receiver's and the sender's own clocks.

    `number` is None where it was changed on its way; `mark` then tells it from others.
    """

    number: int | None
    mark: int
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Side:
    """What one machine told: what it sent in which time, what it received, and its clock.

    `clock` are pairs of its time and of our time when we heard of it; `missed`: packets that
    arrived and that it was too slow to take.
    """

    sent: int
    seconds: float
    arrivals: tuple[Arrival, ...]
    missed: int
    clock: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a direction is to do to packets: what its sender's end does, then its receiver's."""

    delay_ms: float
    jitter_ms: float
    loss: float
    duplicate: float
    corrupt: float
    rate_bit: int | None

    @classmethod
    def of(cls, sends: Impairment, gets: Impairment) -> Asked:
        rates = [one.rate_bit for one in (sends, gets) if one.rate_bit]
        return cls(
            delay_ms=sends.delay_ms + gets.delay_ms,
            jitter_ms=_jitter(sends.jitter_ms, gets.jitter_ms),
            loss=1 - (1 - sends.loss) * (1 - gets.loss),
            duplicate=(1 + sends.duplicate) * (1 + gets.duplicate) - 1,
            corrupt=1 - (1 - sends.corrupt) * (1 - gets.corrupt),
            rate_bit=min(rates, default=None),
        )

    @property
    def longest_seconds(self) -> float:
        """How long a packet may be under way, behind a full queue too."""
        return (self.delay_ms + 2 * self.jitter_ms) / 1000 + (0.5 if self.rate_bit else 0.0)


def _jitter(one: float, other: float) -> float:
    """Two even draws in one number: the even draw that spreads its early quarter as widely."""
    if not (one and other):
        return one or other
    steps = [step / 20 - 1 for step in range(41)]
    return _spread([one * first + other * second for first in steps for second in steps])


def _spread(values: Sequence[float]) -> float:
    """The jitter of an even draw with these values, told from their early quarter."""
    return (_quantile(values, QUARTER) - _quantile(values, EARLY)) / (QUARTER - EARLY) / 2


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[ceil(share * len(values)) - 1]


def read(text: str, clock: Sequence[tuple[float, float]]) -> Side:
    """What `probe.lua` said."""
    sent, seconds, missed = 0, 0.0, 0
    arrivals = []
    for line in text.splitlines():
        word, *rest = line.split()
        if word == "sent":
            sent, seconds = int(rest[0]), float(rest[1]) / 1e6
        elif word == "end":
            missed = int(rest[0])
        elif word == "bad":
            arrivals.append(Arrival(None, int(rest[0]), nan, float(rest[1])))
        elif word.isdigit():
            arrivals.append(Arrival(int(word), 0, float(rest[0]), float(rest[1])))
    return Side(sent, seconds, tuple(arrivals), missed, tuple(clock))


class _Clock:
    """Turns a machine's time into ours: words travel with delay, and the fastest with the least.

    Its clock may run a little fast or slow, and words may be late for long, never early. So it is
    the line that no word lies below, where it is nearest to all of them.
    """

    def __init__(self, heard: Sequence[tuple[float, float]]) -> None:
        hull = _lower_hull((there, here - there) for there, here in heard)
        middle = statistics.fmean(there for there, _ in heard)
        (self._at, self._offset), (end, last) = next(
            (edge for edge in itertools.pairwise(hull) if edge[1][0] >= middle),
            (hull[-1], hull[-1]),
        )
        self._drift = (last - self._offset) / (end - self._at) if end > self._at else 0.0

    def ours(self, there: float) -> float:
        return there + self._offset + (there - self._at) * self._drift


def travel_ms(sender: Side, receiver: Side) -> list[float]:
    """How long each whole packet was under way."""
    there, here = _Clock(sender.clock), _Clock(receiver.clock)
    return [
        (here.ours(one.received_at) - there.ours(one.sent_at)) / 1000
        for one in receiver.arrivals
        if one.number is not None
    ]


def rows(asked: Asked, sender: Side, receiver: Side, size: int) -> Iterator[dict[str, Any]]:
    """The rows of one direction, but for its rate; the packets did not wait for one another."""
    yield from _time_rows(asked, sender, receiver, size)
    yield from _share_rows(asked, sender.sent, receiver)


def _time_rows(asked: Asked, sender: Side, receiver: Side, size: int) -> Iterator[dict[str, Any]]:
    bits_ms = size * BITS / asked.rate_bit * 1000 if asked.rate_bit else 0.0
    travels = [one - bits_ms for one in travel_ms(sender, receiver)]
    few = len(travels) < 1 / EARLY
    share = 0.5 if asked.jitter_ms else EARLY
    delay = nan if few else _quantile(travels, share)
    jitter = nan if few else _spread(travels)
    spread = CHANCE * 2.5 * asked.jitter_ms / sqrt(max(1, len(travels)))
    for name, wish, found in (
        ("delay", asked.delay_ms, delay),
        ("jitter", asked.jitter_ms, jitter),
    ):
        allowed = max(LEAST_MS, RELATIVE * wish) + spread
        row = _row(name, wish, found, "ms", allowed, len(travels))
        if name == "jitter" and not wish and not row["ok"]:
            row["ok"] = None  # busy machines have a jitter of their own
        yield row


def _share_rows(asked: Asked, sent: int, receiver: Side) -> Iterator[dict[str, Any]]:
    arrivals = receiver.arrivals
    came = {(one.number, one.mark) for one in arrivals}
    bad = sum(number is None for number, _ in came)
    lost = 1 - (len(came) + receiver.missed) / sent if sent else nan
    repeated = len(arrivals) / len(came) - 1 if came else nan
    changed = bad / len(came) if came else nan
    for name, wish, found, of in (
        ("loss", asked.loss, lost, sent),
        ("duplicate", asked.duplicate, repeated, len(came)),
        ("corrupt", asked.corrupt, changed, len(came)),
    ):
        chance = CHANCE * sqrt(max(0.0, wish * (1 - min(1.0, wish))) / max(1, of))
        allowed = max(LEAST_SHARE, RELATIVE * wish, chance)
        yield _row(name, 100 * wish, 100 * found, "%", 100 * allowed, of)


def rate_row(asked: Asked, sender: Side, receiver: Side, size: int) -> dict[str, Any]:
    """The row of a direction's rate; more was sent than that."""
    assert asked.rate_bit
    wish = asked.rate_bit / 1e6
    times = sorted(one.received_at for one in receiver.arrivals)
    pace = _pace(times)
    found = size * BITS / pace if pace else nan  # bits a µs: Mbit/s
    offered = sender.sent * size * BITS / 1e6 / max(sender.seconds, 1e-6)
    offered *= (1 - asked.loss) * (1 + asked.duplicate)
    row = _row("rate", wish, found, "Mbit/s", RELATIVE * wish, len(times))
    # The sender was too slow, or the receiver too busy to take everything.
    if not row["ok"] and (offered < ENOUGH_OFFERED * wish or receiver.missed):
        row["ok"] = None
    return row


def _pace(times: Sequence[float]) -> float:
    """The time from packet to packet while nothing holds them up; 0 where there are too few.

    Machines that are busy for a moment send nothing, or take many packets late and together. So
    it is the median of short pieces.
    """
    size = max(PIECE, len(times) // PIECES)
    pieces = [times[at : at + size] for at in range(0, len(times) - size + 1, size)]
    return statistics.median(map(_steady, pieces)) if pieces else 0.0


def _steady(times: Sequence[float]) -> float:
    """The pace of a piece: packets may be late and never early, so their lower hull shows it."""
    (first, began), (last, ended) = max(
        itertools.pairwise(_lower_hull(enumerate(times))), key=lambda edge: edge[1][0] - edge[0][0]
    )
    return (ended - began) / (last - first)


def _lower_hull(points: Iterable[Point]) -> list[Point]:
    """The points that no line between two others passes below; they come from left to right."""
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_right(one: Point, middle: Point, other: Point) -> bool:
    run, rise = middle[0] - one[0], middle[1] - one[1]
    return run * (other[1] - one[1]) <= rise * (other[0] - one[0])


def _row(
    quantity: str, asked: float, measured: float, unit: str, allowed: float, packets: int
) -> dict[str, Any]:
    deviation = measured - asked
    return {
        "quantity": quantity,
        "asked": asked,
        "measured": measured,
        "unit": unit,
        "deviation": deviation,
        "allowed": allowed,
        "packets": packets,
        "ok": None if measured != measured else abs(deviation) <= allowed,
    }
