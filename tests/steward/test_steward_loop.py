"""The steward's loop: order of timers, faults that stay where they are, many descriptors."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from labkit.remote.steward.system_loop import SystemLoop


@pytest.fixture
def loop() -> Iterator[SystemLoop]:
    one = SystemLoop()
    yield one
    one.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    for end in (one, other):
        end.settimeout(0)
    yield one, other
    one.close()
    other.close()


def test_timers_come_in_order_and_never_early(loop: SystemLoop) -> None:
    seen: list[tuple[str, bool]] = []
    start = loop.now()

    def note(name: str, due: float) -> None:
        seen.append((name, loop.now() >= due))

    for name, after in (("third", 0.02), ("first", 0.0), ("second", 0.01)):
        due = start + after
        loop.call_at(due, partial(note, name, due))
    loop.call_at(start + 0.03, loop.stop)
    loop.run()
    assert seen == [("first", True), ("second", True), ("third", True)]


def test_cancelled_timers_stay_away_and_cost_no_turn(loop: SystemLoop) -> None:
    seen: list[str] = []
    timer = loop.call_later(0.0, lambda: seen.append("cancelled"))
    timer.cancel()
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert seen == []


def test_a_reader_is_called_while_there_is_something(
    loop: SystemLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    seen: list[bytes] = []
    loop.add_reader(one, lambda: seen.append(one.recv(2)))
    other.send(b"abcd")
    loop.turn(0)
    loop.turn(0)
    loop.turn(0)
    assert seen == [b"ab", b"cd"]


def test_a_reader_that_is_replaced_or_removed_is_not_called(
    loop: SystemLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    seen: list[str] = []
    loop.add_reader(one, lambda: seen.append("old"))
    loop.add_reader(one, lambda: seen.append("new"))
    other.send(b"x")
    loop.turn(0)
    loop.remove(one)
    loop.remove(one)
    loop.turn(0)
    assert seen == ["new"]


def test_the_writer_is_told_of_a_closed_peer_where_nobody_reads(
    loop: SystemLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    seen: list[str] = []
    loop.add_writer(one, lambda: seen.append("write"))
    loop.turn(0)
    other.close()
    loop.turn(0)
    assert seen == ["write", "write"]


def test_a_fault_ends_its_own_descriptor_only(
    loop: SystemLoop,
    pair: tuple[socket.socket, socket.socket],
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = pair
    seen: list[bytes] = []

    def fail() -> None:
        raise ValueError("a part is broken")

    loop.add_reader(one, fail)
    loop.add_reader(other, lambda: seen.append(other.recv(1)))
    other.send(b"x")
    loop.call_soon(fail)
    loop.turn(0)
    one.send(b"y")
    loop.turn(0)
    loop.turn(0)
    assert seen == [b"y"]
    assert capsys.readouterr().err.count("ValueError: a part is broken") == 2


def test_a_signal_is_ordinary_work(loop: SystemLoop) -> None:
    seen: list[str] = []

    def note() -> None:
        seen.append("signal")
        loop.stop()

    before = signal.getsignal(signal.SIGUSR1)
    try:
        loop.add_signal(signal.SIGUSR1, note)
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["signal"]


def test_more_descriptors_than_select_can_count(loop: SystemLoop) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    pairs = [socket.socketpair() for _ in range(600)]
    try:
        seen: list[int] = []
        for number, (one, _) in enumerate(pairs):
            loop.add_reader(one, partial(seen.append, number))
        pairs[599][1].send(b"x")
        loop.turn(0)
        assert pairs[599][0].fileno() > 1023
        assert seen == [599]
    finally:
        for one, other in pairs:
            one.close()
            other.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
