"""The client's side of a connection that breaks: frames are whole or the last, errors are true."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.calls import Facts, Link
from labkit.errors import (
    ClosedError,
    CommandTimeout,
    ConnectionLost,
    StewardProblem,
    TransferError,
    WorkerUnreachable,
)
from labkit.remote.steward.control import HEADER
from steward_host import wait_until

ANYTHING = 20.0
HOW_WRITES_END: list[Exception] = [
    CommandTimeout("cannot write", why="nobody reads"),
    TransferError("cannot write", why="the program has ended"),
    ConnectionLost("the connection broke", why="reset"),
    ClosedError("the stream is closed", fix="Open a new one."),
]


class Wire:
    """A connection whose other end is the test; a write may be made to end in the middle."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = threading.Event()
        self.fault: BaseException | None = None
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self._arriving: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""

    def read(self, size: int, timeout: float) -> bytes:
        if not self._rest:
            self._rest = self._arriving.get()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        assert not self.closed.is_set(), "a write to a closed connection"
        self.entered.set()
        assert self.go_on.wait(ANYTHING)
        if self.fault is not None:
            self.written += data[: len(data) // 2]
            raise self.fault
        self.written += data

    def close(self) -> None:
        self.closed.set()
        self._arriving.put(b"")

    def answer(self, facts: Facts, data: bytes = b"") -> None:
        text = json.dumps(facts).encode()
        self._arriving.put(HEADER.pack(len(text), len(data)) + text + data)

    def frames(self) -> list[dict[str, Any]]:
        """The whole frames that were written; fails on anything behind them."""
        found, rest = [], bytes(self.written)
        while rest:
            text, size = HEADER.unpack_from(rest)
            found.append(json.loads(rest[HEADER.size : HEADER.size + text]))
            rest = rest[HEADER.size + text + size :]
        return found


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def link(wire: Wire) -> Iterator[Link]:
    link = Link(wire, "the steward", lambda _event: None)
    yield link
    wire.go_on.set()
    link.close()


@pytest.mark.parametrize("fault", HOW_WRITES_END, ids=lambda fault: type(fault).__name__)
def test_a_write_that_fails_ends_the_connection(wire: Wire, link: Link, fault: Exception) -> None:
    wire.fault = fault
    with pytest.raises(ConnectionLost, match="unknown"):
        link.start("link-list", {}, b"")
    assert wire.closed.is_set()
    assert not link.alive


def test_ctrl_c_in_a_write_ends_the_connection(wire: Wire, link: Link) -> None:
    wire.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        link.start("link-list", {}, b"")
    assert wire.closed.is_set()


def test_who_waits_to_write_writes_nothing_behind_half_a_frame(wire: Wire, link: Link) -> None:
    wire.go_on.clear()
    wire.fault = HOW_WRITES_END[0]
    errors: list[Exception] = []

    def ask() -> None:
        try:
            link.start("link-list", {}, b"")
        except (ConnectionLost, WorkerUnreachable) as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert wire.entered.wait(ANYTHING)
    wire.go_on.set()
    for thread in threads:
        thread.join()
    # One was cut off, and must be called unknown; of the others nothing was sent.
    assert sorted(type(error).__name__ for error in errors) == [
        "ConnectionLost",
        *["WorkerUnreachable"] * 7,
    ]


def test_a_connection_that_stays_open_is_told(link: Link) -> None:
    with pytest.raises(CommandTimeout, match="the steward has not ended"):
        link.wait_closed(0.01)


def test_what_waits_for_answers_is_told_of_the_loss(wire: Wire, link: Link) -> None:
    waiting = link.start("capture-start", {}, b"")
    wire.fault = HOW_WRITES_END[0]
    with pytest.raises(ConnectionLost):
        link.start("link-list", {}, b"")
    with pytest.raises(ConnectionLost):
        waiting.result(ANYTHING)
    with pytest.raises(ConnectionLost):
        waiting.send(b"input")


def test_nothing_is_sent_on_a_connection_that_is_known_to_be_gone(wire: Wire, link: Link) -> None:
    wire.close()
    wait_until(lambda: not link.alive, "the reader to see the end")
    with pytest.raises(WorkerUnreachable, match="hung up"):
        link.start("link-list", {}, b"")
    assert wire.frames() == []


@pytest.mark.parametrize("fault", HOW_WRITES_END, ids=lambda fault: type(fault).__name__)
def test_cancelling_never_raises_for_a_lost_connection(
    wire: Wire, link: Link, fault: Exception
) -> None:
    call = link.start("capture-start", {}, b"")
    wire.fault = fault
    call.cancel()
    call.cancel()
    with pytest.raises(ConnectionLost):
        call.result(ANYTHING)


def test_a_timeout_is_told_as_such_also_when_it_cannot_be_cancelled(wire: Wire, link: Link) -> None:
    call = link.start("capture-start", {}, b"")
    wire.fault = HOW_WRITES_END[0]
    with pytest.raises(CommandTimeout) as caught:
        call.result(0.25)
    assert caught.value.context["timeout"] == 0.25


def test_parts_that_came_are_read_though_they_cannot_be_credited(wire: Wire, link: Link) -> None:
    call = link.start("guest-get", {}, b"")
    for _ in range(4):
        wire.answer({"id": 1, "part": {}}, bytes(400_000))
    wire.fault = HOW_WRITES_END[1]
    parts = call.parts(ANYTHING)
    assert [len(next(parts).data) for _ in range(4)] == [400_000] * 4
    with pytest.raises(ConnectionLost):
        next(parts)


def test_an_ended_request_says_no_more(wire: Wire, link: Link) -> None:
    call = link.start("hello", {}, b"")
    wire.answer({"id": 1, "ok": {}})
    call.result(ANYTHING)
    call.cancel()
    assert [frame.get("do") for frame in wire.frames()] == ["hello"]


def test_input_that_finds_no_room_in_time_cancels_it(wire: Wire, link: Link) -> None:
    call = link.start("guest-put", {}, b"")
    with pytest.raises(CommandTimeout, match="was cancelled"):
        call.send(bytes(3 << 20), timeout=0.1)
    assert wire.frames()[-1] == {"id": 1, "cancel": True}


def test_a_refusal_ends_what_waits_for_room(wire: Wire, link: Link) -> None:
    call = link.start("guest-put", {}, b"")
    wire.answer({"id": 1, "problem": {"code": "guest-refused"}})
    with pytest.raises(StewardProblem, match="guest refused"):
        call.send(bytes(3 << 20), timeout=ANYTHING)


@given(st.integers(0, 12), st.integers(1, 6))
def test_frames_are_whole_up_to_the_cut(cut: int, threads: int) -> None:
    """Whichever of many requests is cut off, nothing stands behind it."""
    wire = Wire()
    link = Link(wire, "the steward", lambda _event: None)
    counter = iter(range(10_000))

    def ask(send: Callable[[], object]) -> None:
        for _ in range(4):
            if next(counter) == cut:
                wire.fault = HOW_WRITES_END[0]
            try:
                send()
            except (ConnectionLost, WorkerUnreachable):
                return

    workers = [
        threading.Thread(target=ask, args=(lambda: link.start("link-list", {}, b""),))
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    link.close()
    if wire.fault is None:
        assert len(wire.frames()) == 4 * threads
    else:
        assert wire.closed.is_set()
