"""The arithmetic of impairments, on a clock that the test moves: exact, seeded, bounded."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.remote.steward.impair import MAX_HELD, QUEUE_SECONDS, Line, checked
from labkit.remote.steward.request import Problem

TEN_THOUSAND = 10_000


def framed(size: int = 1000, number: int = 0) -> bytes:
    """A frame as QEMU sends it, with its length in front; the number is its first payload."""
    body = bytes(14) + struct.pack("!I", number) + bytes(size - 18)
    return struct.pack("!I", len(body)) + body


def number(frame: bytes) -> int:
    return int(struct.unpack_from("!I", frame, 18)[0])


def arrivals(line: Line) -> list[tuple[float, bytes]]:
    """Let the clock run from arrival to arrival until nothing is under way."""
    found: list[tuple[float, bytes]] = []
    while (due := line.due) is not None:
        found += [(due, frame) for frame in line.pop(due)]
    return found


def through(line: Line, count: int, every: float, size: int = 1000) -> list[tuple[float, int]]:
    """Send numbered frames at an even pace; when each arrived."""
    found: list[tuple[float, int]] = []
    for n in range(count):
        now = n * every
        while (due := line.due) is not None and due <= now:
            found += [(due, number(frame)) for frame in line.pop(due)]
        line.push(now, framed(size, n))
    return found + [(when, number(frame)) for when, frame in arrivals(line)]


@given(st.floats(0.1, 60_000), st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_delay_is_exact_and_keeps_the_order(delay_ms: float, times: list[float]) -> None:
    line = Line({"delay_ms": delay_ms}, seed=1)
    for n, now in enumerate(sorted(times)):
        line.push(now, framed(64, n))
    found = arrivals(line)
    assert [number(frame) for _, frame in found] == list(range(len(times)))
    for (when, _), now in zip(found, sorted(times), strict=True):
        assert when == pytest.approx(now + delay_ms / 1000)


@given(st.floats(0.1, 100), st.floats(0.1, 200), st.integers(0, 1000))
def test_jitter_stays_in_its_bounds_and_never_before_now(
    delay_ms: float, jitter_ms: float, seed: int
) -> None:
    line = Line({"delay_ms": delay_ms, "jitter_ms": jitter_ms}, seed)
    for n in range(50):
        line.push(1.0, framed(64, n))
    low = max(0.0, delay_ms - jitter_ms) / 1000
    for when, _ in arrivals(line):
        assert 1.0 + low <= when <= 1.0 + (delay_ms + jitter_ms) / 1000 + 1e-9


def test_jitter_is_spread_evenly() -> None:
    line = Line({"delay_ms": 50.0, "jitter_ms": 20.0}, seed=3)
    for _ in range(TEN_THOUSAND):
        line.push(0.0, framed(64))
    delays = [when for when, _ in arrivals(line)]
    mean = sum(delays) / len(delays)
    deviation = (sum((one - mean) ** 2 for one in delays) / len(delays)) ** 0.5
    assert mean == pytest.approx(0.050, rel=0.01)
    assert deviation == pytest.approx(0.020 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5])
def test_loss_is_what_was_asked(share: float) -> None:
    line = Line({"loss": share}, seed=7)
    sent = 100_000
    for _ in range(sent):
        line.push(0.0, framed(64))
    arrived = len(line.pop(0.0))
    assert line.dropped["loss"] + arrived == sent
    assert 1 - arrived / sent == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("share", [0.02, 0.25])
def test_duplicates_are_what_was_asked_and_adjacent(share: float) -> None:
    line = Line({"duplicate": share, "delay_ms": 1.0}, seed=7)
    sent = 100_000
    for n in range(sent):
        line.push(0.0, framed(64, n))
    found = [number(frame) for _, frame in arrivals(line)]
    assert found == sorted(found)
    assert len(found) / sent - 1 == pytest.approx(share, rel=0.05)


def test_corruption_turns_one_bit_behind_the_header() -> None:
    line = Line({"corrupt": 0.5}, seed=7)
    original = framed(100)
    for _ in range(TEN_THOUSAND):
        line.push(0.0, original)
    changed = [frame for frame in line.pop(0.0) if frame != original]
    assert len(changed) / TEN_THOUSAND == pytest.approx(0.5, rel=0.05)
    places = set()
    for frame in changed:
        bits = int.from_bytes(frame, "big") ^ int.from_bytes(original, "big")
        assert bits.bit_count() == 1
        places.add(len(frame) - 1 - (bits.bit_length() - 1) // 8)
    assert min(places) == 18  # length 4, Ethernet header 14
    assert max(places) == len(original) - 1


@given(st.integers(0, 14))
def test_corruption_bears_frames_without_payload(size: int) -> None:
    line = Line({"corrupt": 1.0}, seed=1)
    frame = struct.pack("!I", size) + bytes(size)
    line.push(0.0, frame)
    (changed,) = line.pop(0.0)
    assert len(changed) == len(frame)


@pytest.mark.parametrize("rate", [1e5, 1e6, 2e7, 1e9])
@pytest.mark.parametrize("load", [0.5, 2.0])
def test_rate_is_what_was_asked(rate: float, load: float) -> None:
    """Sent at half and at twice the rate; bits of whole frames count."""
    size, seconds = 1250, 10.0
    bits = size * 8
    every = bits / (rate * load)
    count = min(int(seconds / every), 50_000)
    found = through(Line({"rate_bit": rate}, seed=1), count, every, size)
    measured = (len(found) - 1) * bits / (found[-1][0] - found[0][0])
    assert measured == pytest.approx(min(1.0, load) * rate, rel=0.05)
    assert [n for _, n in found] == sorted(n for _, n in found)


def test_the_queue_in_front_of_a_rate_is_bounded() -> None:
    line = Line({"rate_bit": 1e6}, seed=1)
    for _ in range(1000):
        line.push(0.0, framed(1250))  # 10 ms each
    found = arrivals(line)
    assert found[-1][0] == pytest.approx(QUEUE_SECONDS + 0.01, abs=0.0101)
    assert line.dropped["rate"] == 1000 - len(found)


def test_the_slowest_line_passes_single_frames() -> None:
    line = Line({"rate_bit": 1000.0}, seed=1)
    line.push(0.0, framed(1250))
    ((when, _),) = arrivals(line)
    assert when == pytest.approx(10.0)


def test_what_is_under_way_is_bounded() -> None:
    line = Line({"delay_ms": 60_000.0}, seed=1)
    for _ in range(MAX_HELD // 60_000 + 10):
        line.push(0.0, framed(60_000))
    assert line.dropped["overflow"] > 0
    arrivals(line)
    line.push(0.0, framed(60_000))
    assert line.due is not None


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "delay_ms": st.floats(0.1, 100),
        "jitter_ms": st.floats(0.1, 100),
        "loss": st.floats(0.01, 1),
        "duplicate": st.floats(0.01, 1),
        "corrupt": st.floats(0.01, 1),
        "rate_bit": st.floats(1e3, 1e9),
    },
)


@given(SETTINGS, st.integers(0, 2**63), st.lists(st.floats(0, 1), max_size=40))
def test_the_same_seed_tells_the_same_story(
    settings: dict[str, float], seed: int, times: list[float]
) -> None:
    stories = []
    for _ in range(2):
        line = Line(settings, seed)
        for n, now in enumerate(sorted(times)):
            line.push(now, framed(100, n))
        stories.append((arrivals(line), line.dropped))
    assert stories[0] == stories[1]


@given(SETTINGS, st.lists(st.floats(0, 1), max_size=40))
def test_every_frame_arrives_or_is_counted(settings: dict[str, float], times: list[float]) -> None:
    line = Line({**settings, "duplicate": 0.0}, seed=1)
    for now in sorted(times):
        line.push(now, framed(100))
    assert len(arrivals(line)) + sum(line.dropped.values()) == len(times)
    assert line.due is None
    assert line.idle == (not line.settings)


def test_a_change_is_for_those_that_come() -> None:
    line = Line({"delay_ms": 1000.0}, seed=1)
    line.push(0.0, framed(64, 1))
    line.change({})
    assert not line.idle
    line.push(0.1, framed(64, 2))
    assert [(when, number(frame)) for when, frame in arrivals(line)] == [(0.1, 2), (1.0, 1)]
    assert line.idle


def test_a_pulled_cable_loses_what_is_under_way() -> None:
    line = Line({"delay_ms": 1000.0, "rate_bit": 1e6}, seed=1)
    for _ in range(5):
        line.push(0.0, framed())
    assert line.clear() == 5
    assert line.due is None


@pytest.mark.parametrize(
    "facts",
    [
        [],
        {"dealy_ms": 1},
        {"delay_ms": -1},
        {"delay_ms": 60_001},
        {"loss": 1.01},
        {"loss": True},
        {"loss": "0.1"},
        {"loss": float("nan")},
        {"rate_bit": float("inf")},
    ],
)
def test_what_is_no_impairment_is_refused(facts: object) -> None:
    with pytest.raises(Problem):
        checked(facts, "impair")


def test_zero_is_no_impairment() -> None:
    assert checked({"loss": 0, "delay_ms": 0.0, "jitter_ms": 2}, "impair") == {"jitter_ms": 2.0}
