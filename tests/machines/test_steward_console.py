"""Consoles: always drained, bounded on disk and in memory, fair to slow watchers."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from labkit.remote.steward.console import Console
from labkit.remote.steward.history import History
from labkit.remote.steward.request import Request
from labkit.remote.steward.system_loop import SystemLoop


class FakeClient:
    """Takes what a request sends; `backlog` is what it has not read."""

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        self.subscribed = False
        self.backlog = 0
        self.sent: list[tuple[dict[str, Any], bytes]] = []

    def send(self, facts: dict[str, Any], data: bytes | memoryview) -> None:
        self.sent.append((facts, bytes(data)))

    def ask(self, **facts: Any) -> Request:
        return Request(self, 1, facts, b"")

    def said(self) -> bytes:
        return b"".join(data for _, data in self.sent)


class Line:
    """A serial line and the console that reads it."""

    def __init__(self, folder: Path) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "serial"))
        server.listen(1)
        self.loop = SystemLoop()
        self.panics: list[int] = []
        self.console = Console(
            self.loop, str(folder), History(str(folder)), lambda: self.panics.append(1)
        )
        self.console.connect()
        self.wire, _ = server.accept()
        server.close()

    def say(self, data: bytes) -> None:
        sender = threading.Thread(target=self.wire.sendall, args=(data,))
        sender.start()
        end = self.console.history.end + self.console.history.lost + len(data)
        while self.console.history.end + self.console.history.lost < end:
            self.loop.turn(1)
        sender.join()

    def close(self) -> None:
        self.console.close()
        self.wire.close()
        self.loop.close()


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_a_watcher_sees_the_past_and_what_follows(line: Line) -> None:
    line.say(b"past ")
    client = FakeClient()
    line.console.attach(client.ask(**{"from": 0}))
    line.say(b"present")
    assert client.said() == b"past present"
    line.close()


def test_a_late_reader_gets_the_last_bytes(line: Line) -> None:
    line.say(b"0123456789")
    client = FakeClient()
    line.console.read(client.ask(limit=4))
    assert client.sent == [({"id": 1, "ok": {"from": 6, "start": 0, "end": 10}}, b"6789")]
    line.close()


def test_a_watcher_that_does_not_read_skips_and_is_told(line: Line) -> None:
    slow, quick = FakeClient(), FakeClient()
    request = slow.ask(**{"from": 0})
    line.console.attach(request)
    line.console.attach(quick.ask(**{"from": 0}))
    slow.backlog = 1 << 30
    total = 12 << 20
    for _ in range(total >> 20):
        line.say(b"x" * (1 << 20))
        quick.sent.clear()
    slow.backlog = 0
    request.breathe()
    facts, data = slow.sent[0]
    assert facts["part"]["skipped"] == line.console.history.start > 0
    assert data[:1] == b"x"
    line.close()


@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_a_flood_is_drained_in_bounded_memory_and_disk(
    line: Line, tmp_path: Path, size: int
) -> None:
    chunk = b"All work and no play makes Jack a dull boy\n" * 24385  # about 1 MiB
    line.say(chunk)
    tracemalloc.start()
    for _ in range(size // len(chunk)):
        line.say(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    history = line.console.history
    assert history.end == (size // len(chunk) + 1) * len(chunk)
    assert peak < 4 << 20
    assert sum(path.stat().st_size for path in tmp_path.glob("console.log*")) < 10 << 20
    assert history.read(history.end - 43, 43)[1] == chunk[-43:]
    line.close()


def test_a_panic_is_seen_even_in_two_pieces(line: Line) -> None:
    line.say(b"[ 1.0] Kernel panic - not ")
    assert not line.panics
    line.say(b"syncing: sysrq")
    line.say(b" and more words")
    assert line.panics == [1]
    line.close()


def test_typing_reaches_the_guest_and_is_bounded(line: Line) -> None:
    assert line.console.type(b"ls\n")
    assert line.wire.recv(10) == b"ls\n"
    assert not line.console.type(b"x" * (1 << 20))
    line.close()


def test_a_watcher_is_told_when_the_line_ends(line: Line) -> None:
    client = FakeClient()
    line.console.attach(client.ask(**{"from": 0}))
    line.say(b"bye")
    line.wire.close()
    line.loop.turn(1)
    assert client.sent[-1][0]["ok"] == {"end": 3}
    line.close()


def test_offsets_outlive_the_reader(tmp_path: Path) -> None:
    history = History(str(tmp_path), size=10)
    for word in (b"0123456789", b"abcdefghij", b"KLMNO"):
        history.append(word)
    assert (history.start, history.end) == (10, 25)
    history.close()
    again = History(str(tmp_path), size=10)
    assert (again.start, again.end, again.read(0, 100)) == (10, 25, (10, b"abcdefghij"))
    assert again.read(20, 100) == (20, b"KLMNO")
    again.append(b"P")
    assert again.read(22, 100) == (22, b"MNOP")
    again.close()
