"""The arithmetic of `measure`, fed by the very lines it measures, on clocks that the test makes."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import InvalidArgument, LinkError
from labkit.executor import Result
from labkit.measure import End, measure_link
from labkit.measure.samples import Arrival, Asked, Side, rate_row, read, rows
from labkit.remote.steward.impair import Line
from labkit.wish.links import Impairment

SIZE = 62
NONE = Impairment()


def settings(one: Impairment) -> dict[str, float]:
    fields = ("delay_ms", "jitter_ms", "loss", "duplicate", "corrupt", "rate_bit")
    return {name: float(getattr(one, name)) for name in fields if getattr(one, name)}


def sent_through(
    one: Impairment,
    *,
    count: int = 4000,
    pause: float = 1000.0,
    size: int = SIZE,
    overhead: tuple[float, float] = (250.0, 400.0),
    zero: tuple[float, float] = (5e9, 7e6),
    drift: float = 80e-6,
    seed: int = 1,
) -> tuple[Side, Side]:
    """Both sides of packets that went through a line, between machines that are a bit busy.

    `zero` is what their clocks show at our time 0; `drift`: how much the receiver's runs fast.
    """
    draw = random.Random(seed)
    line = Line(settings(one), seed)
    times: list[tuple[float, int, bool, int]] = []

    def framed(number: int) -> bytes:
        return struct.pack("!I14xII", size, number, ~number & 0xFFFFFFFF) + bytes(size - 22)

    def take(now: float) -> None:
        while (due := line.due) is not None and due <= now:
            for frame in line.pop(due):
                number = int.from_bytes(frame[18:22], "big")
                times.append((due * 1e6, number, frame == framed(number), hash(frame)))

    for number in range(count):
        take(number * pause / 1e6)
        line.push(number * pause / 1e6, framed(number))
    take(math.inf)

    def there(ours: float) -> float:
        return zero[0] + ours

    def here(ours: float) -> float:
        return zero[1] + ours * (1 + drift)

    busy = [draw.uniform(*overhead) + draw.expovariate(1 / 300) for _ in times]
    arrivals = tuple(
        Arrival(
            number if whole else None,
            0 if whole else mark,
            there(number * pause),
            here(when + late),
        )
        for (when, number, whole, mark), late in zip(times, busy, strict=True)
    )
    words = [n * 20_000.0 for n in range(int(count * pause / 20_000) + 30)]
    heard = [when + draw.uniform(300, 450) + draw.expovariate(1 / 500) for when in words]
    sender = Side(
        count,
        count * pause / 1e6,
        (),
        0,
        tuple((there(when), h) for when, h in zip(words, heard, strict=True)),
    )
    heard = [when + draw.uniform(300, 450) + draw.expovariate(1 / 500) for when in words]
    receiver = Side(
        count, 1, arrivals, 0, tuple((here(when), h) for when, h in zip(words, heard, strict=True))
    )
    return sender, receiver


def measured(one: Impairment, **settings: float) -> dict[str, dict[str, object]]:
    asked = Asked.of(one, NONE)
    sender, receiver = sent_through(one, **settings)  # type: ignore[arg-type]
    return {row["quantity"]: row for row in rows(asked, sender, receiver, SIZE)}


@pytest.mark.parametrize("delay", [0.0, 5.0, 20.0, 50.0, 100.0, 1000.0])
@pytest.mark.parametrize("drift", [-300e-6, 0.0, 300e-6])
def test_delay_is_told_whatever_the_clocks_show(delay: float, drift: float) -> None:
    row = measured(Impairment(delay_ms=delay), drift=drift)["delay"]
    assert row["measured"] == pytest.approx(delay, abs=1.0)
    assert row["ok"]


@pytest.mark.parametrize(("began", "ended"), [(0.0, 0.45), (0.55, 1.0), (0.25, 0.6)])
def test_a_machine_that_was_slow_to_speak_for_long_has_the_same_delay(
    began: float, ended: float
) -> None:
    sender, receiver = sent_through(Impairment(delay_ms=20))
    words = list(receiver.clock)
    for number in range(int(began * len(words)), int(ended * len(words))):
        words[number] = (words[number][0], words[number][1] + 80_000)
    slow = replace(receiver, clock=tuple(words))
    row = next(rows(Asked.of(Impairment(delay_ms=20), NONE), sender, slow, SIZE))
    assert row["measured"] == pytest.approx(20, abs=1.0)
    assert row["ok"]


@pytest.mark.parametrize("jitter", [5.0, 20.0, 50.0])
def test_jitter_is_told_apart_from_delay(jitter: float) -> None:
    found = measured(Impairment(delay_ms=60, jitter_ms=jitter))
    assert found["delay"]["measured"] == pytest.approx(60, abs=2.5)
    assert found["jitter"]["measured"] == pytest.approx(jitter, rel=0.1)
    assert found["delay"]["ok"]
    assert found["jitter"]["ok"]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("name", ["loss", "duplicate", "corrupt"])
def test_shares_are_told_apart_from_one_another(name: str, share: float) -> None:
    found = measured(Impairment(**{name: share}), count=40_000)  # type: ignore[arg-type]
    for other in ("loss", "duplicate", "corrupt"):
        wanted = 100 * share if other == name else 0.0
        assert found[other]["measured"] == pytest.approx(wanted, rel=0.15), other
        assert found[other]["ok"]


def test_all_of_them_at_once() -> None:
    worst = Impairment(delay_ms=30, jitter_ms=5, loss=0.2, duplicate=0.1, corrupt=0.05)
    assert [row["ok"] for row in measured(worst, count=20_000).values()] == [True] * 5


@pytest.mark.parametrize("rate", [1e5, 1e6, 5e6, 20e6])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_the_rate_is_that_of_the_middle(rate: float, loss: float) -> None:
    one = Impairment(rate_bit=int(rate), loss=loss, delay_ms=20)
    pause = 1250 * 8 / rate * 1e6 / 1.5 * (1 - loss)
    count = int(3e6 / pause)
    sender, receiver = sent_through(one, count=count, pause=pause, size=1250)
    row = rate_row(Asked.of(one, NONE), sender, receiver, 1250)
    assert row["measured"] == pytest.approx(rate / 1e6, rel=0.05)
    assert row["ok"]


def test_the_rate_is_told_by_busy_machines_too() -> None:
    """The sender stops now and then, and the receiver takes many packets late and together."""
    one = Impairment(rate_bit=5_000_000)
    sender, receiver = sent_through(one, count=1500, pause=1333, size=1250)
    busy = list(receiver.arrivals)
    for start, late in ((100, 150_000), (500, 60_000), (800, 200_000)):
        until = busy[start].received_at + late
        for n, arrival in enumerate(busy[start:], start):
            late_one = replace(arrival, received_at=max(arrival.received_at, until))
            busy[n] = late_one
    for start, gap in ((300, 120_000), (600, 90_000)):
        for n, arrival in enumerate(busy[start:], start):
            busy[n] = replace(arrival, received_at=arrival.received_at + gap)
    row = rate_row(Asked.of(one, NONE), sender, replace(receiver, arrivals=tuple(busy)), 1250)
    assert row["measured"] == pytest.approx(5, rel=0.02)


def test_a_sender_that_is_too_slow_says_nothing_about_the_rate() -> None:
    one = Impairment(rate_bit=100_000_000)
    sender, receiver = sent_through(one, count=1000, pause=1000, size=1250)
    assert rate_row(Asked.of(one, NONE), sender, receiver, 1250)["ok"] is None


@pytest.mark.parametrize(
    ("is_", "was_asked", "quantity"),
    [
        (Impairment(delay_ms=22), Impairment(delay_ms=20), "delay"),
        (Impairment(delay_ms=50, jitter_ms=5), Impairment(delay_ms=50, jitter_ms=10), "jitter"),
        (Impairment(loss=0.05), Impairment(loss=0.01), "loss"),
        (Impairment(loss=0.05), Impairment(), "loss"),
        (Impairment(), Impairment(loss=0.05), "loss"),
        (Impairment(duplicate=0.1), Impairment(), "duplicate"),
        (Impairment(corrupt=0.1), Impairment(corrupt=0.2), "corrupt"),
    ],
)
def test_what_is_not_as_asked_is_not_ok(
    is_: Impairment, was_asked: Impairment, quantity: str
) -> None:
    sender, receiver = sent_through(is_)
    found = {row["quantity"]: row for row in rows(Asked.of(was_asked, NONE), sender, receiver, 62)}
    assert found[quantity]["ok"] is False


def test_nothing_that_arrives_is_a_loss_and_the_rest_unknown() -> None:
    found = measured(Impairment(loss=1.0))
    assert found["loss"]["measured"] == 100.0
    assert found["loss"]["ok"]
    assert [found[name]["ok"] for name in ("delay", "jitter", "corrupt")] == [None] * 3


def test_what_the_receiver_missed_is_no_loss_of_the_link() -> None:
    sender, receiver = sent_through(NONE)
    late = Side(0, 1, receiver.arrivals[100:], 100, receiver.clock)
    found = {row["quantity"]: row for row in rows(Asked.of(NONE, NONE), sender, late, SIZE)}
    assert found["loss"]["measured"] == 0.0


def test_both_ends_add_up() -> None:
    one = Impairment(delay_ms=10, jitter_ms=4, loss=0.5, rate_bit=10_000_000)
    other = Impairment(delay_ms=5, loss=0.5, duplicate=0.1, rate_bit=2_000_000)
    asked = Asked.of(one, other)
    assert (asked.delay_ms, asked.jitter_ms, asked.loss) == (15, 4, 0.75)
    assert asked.duplicate == pytest.approx(0.1)
    assert asked.rate_bit == 2_000_000
    twice = Asked.of(one, one)
    assert 4 < twice.jitter_ms < 8


@given(st.text(alphabet="0123456789. \nabdenrsty", max_size=200))
def test_half_told_stories_are_an_error_or_read(text: str) -> None:
    try:
        read(text, [])
    except (ValueError, IndexError):
        return


class Silent:
    """A guest that has what its test says, and nothing else."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.asked: list[object] = []

    def run(self, command: object, **_settings: object) -> Result:
        self.asked.append(command)
        return self.result


def ends(*results: Result) -> list[End]:
    return [End(f"r{n}", Silent(result), "eth1") for n, result in enumerate(results)]


UP = Result((), 0, b"52:54:00:00:01:00\n0x1003\n")
DOWN = Result((), 0, b"52:54:00:00:01:00\n0x1002\n")
MISSING = Result((), 1, b"", b"No such file or directory\n")
NO_PROGRAM = Result((), 127, b"", b"luajit: No such file\n")


def test_a_missing_interface_is_named() -> None:
    with pytest.raises(LinkError, match="there is no eth1 of r1"):
        measure_link("a", ends(UP, MISSING))


def test_an_interface_that_is_down_is_named_with_what_to_do() -> None:
    with pytest.raises(LinkError, match="eth1 of r0 is down") as caught:
        measure_link("a", ends(DOWN, UP))
    assert "ip link set eth1 up" in str(caught.value.fix)


def test_arguments_are_checked_first() -> None:
    (one,) = ends(UP)
    with pytest.raises(InvalidArgument):
        measure_link("a", [one])
    with pytest.raises(InvalidArgument):
        measure_link("a", ends(UP, UP), packets=5)
    assert isinstance(one.guest, Silent)
    assert one.guest.asked == []
