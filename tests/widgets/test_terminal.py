"""The terminal between a page and a line: many views, a bounded window, ends, sizes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from IPython.utils.capture import capture_output

from fake_page import PATIENCE, FakeLine, FakePage, ShellLine
from ipython_shell import ipython_shell
from labkit.errors import InvalidArgument, MachineUnknown, UsageError
from labkit.executor import Connection
from labkit_widgets import ByteSource
from labkit_widgets.channel import AWAY, STALE, WINDOW_MESSAGES, View
from labkit_widgets.feed import HISTORY, PAST
from labkit_widgets.terminal import Terminal


class WatchedTerminal(Terminal):
    """A terminal whose messages go to a fake page."""

    def __init__(self, page: FakePage, connect: Callable[[int, int], Connection], **values: Any):
        self._page = page
        super().__init__(connect, name="r1", what="console", **values)
        page.widget = self

    def send(self, content: Any, buffers: Any = None) -> None:
        self._page.receive(content, buffers)


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def page() -> FakePage:
    return FakePage()


@pytest.fixture
def terminal(page: FakePage, line: FakeLine) -> WatchedTerminal:
    return WatchedTerminal(page, lambda _columns, _rows: line)


def test_what_is_said_is_shown_and_what_is_typed_is_sent(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    page.open()
    line.say(b"login: ")
    page.sees(b"login: ")
    page.say("a", "data", b"ana\n")
    assert bytes(line.typed) == b"ana\n"
    terminal.close()
    assert line.closed.wait(PATIENCE)


def test_nothing_is_connected_before_it_is_shown(line: FakeLine) -> None:
    asked: list[int] = []

    def connect(_columns: int, _rows: int) -> FakeLine:
        asked.append(1)
        return line

    terminal = WatchedTerminal(FakePage(), connect)
    assert not asked
    with pytest.raises(UsageError, match="it is not connected"):
        terminal.type("x")


def test_what_is_kept_in_the_notebook_begins_with_the_first_words(line: FakeLine) -> None:
    def connect(_columns: int, _rows: int) -> FakeLine:
        threading.Event().wait(0.1)  # a machine takes its time
        line.say(b"r1:/root# ")
        return line

    terminal = WatchedTerminal(FakePage(), connect)
    with ipython_shell(), capture_output() as shown:
        terminal._ipython_display_()
    live, kept = (one.data["text/plain"] for one in shown.outputs)
    assert live == ""  # a viewer that shows both does not name it twice
    assert kept == "console of r1\n\nr1:/root#"
    terminal.close()


def test_a_silent_line_is_shown_all_the_same(terminal: WatchedTerminal) -> None:
    with ipython_shell(), capture_output() as shown:
        terminal._ipython_display_()
    assert "(nothing was shown)" in shown.outputs[1].data["text/plain"]
    terminal.close()


def test_a_second_view_is_told_the_past_and_both_see_what_follows(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    page.open("a")
    line.say(b"past ")
    page.sees(b"past ", "a")
    page.open("b")
    page.sees(b"past ", "b")
    line.say(b"present")
    page.sees(b"past present", "a")
    page.sees(b"past present", "b")
    page.say("a", "close")
    line.say(b" future")
    page.sees(b"past present future", "b")
    assert page.data("a") == b"past present"
    terminal.close()


def test_a_view_that_does_not_acknowledge_is_sent_a_window_and_no_more(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    page.open()
    line.say(*[b"%05d\n" % number for number in range(1000)])
    page.wait("a", "data", WINDOW_MESSAGES)
    page.open("b")  # handled after all that was sent before
    assert len(page.told("a", "data")) == WINDOW_MESSAGES
    expected = b"".join(b"%05d\n" % number for number in range(1000))
    while page.data("a") != expected:
        got = page.told("a", "data")
        page.say("a", "ack", n=0, m=len(got))
        threading.Event().wait(0.01)
    assert page.data("a") == expected
    assert len(page.told("a", "data")) < 500  # small pieces grew together while it was slow
    terminal.close()


def test_a_source_is_read_no_faster_than_its_quickest_view(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    page.open()
    piece = b"x" * 65536
    line.say(*[piece] * 100)
    page.wait("a", "data", WINDOW_MESSAGES)
    threading.Event().wait(0.3)
    assert line.reads < 30
    read = line.reads
    page.say("a", "ack", n=WINDOW_MESSAGES * 65536, m=WINDOW_MESSAGES)
    page.wait("a", "data", 2 * WINDOW_MESSAGES)
    assert line.reads > read
    terminal.close()


def test_without_a_view_a_source_is_drained_and_a_late_view_gets_the_end(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    terminal.start()
    line.say(*[bytes([65 + number % 26]) * 65536 for number in range(40)], b"the end")
    while line.reads < 41:
        threading.Event().wait(0.01)
    page.open()
    page.sees(b"the end")
    assert len(page.data()) == PAST
    assert len(page.data()) < HISTORY
    terminal.close()


def test_read_only_sends_nothing(page: FakePage, line: FakeLine) -> None:
    terminal = WatchedTerminal(page, lambda _columns, _rows: line, read_only=True)
    page.open()
    page.say("a", "data", b"rm -rf /\n")
    line.say(b"calm")
    page.sees(b"calm")
    assert not line.typed
    terminal.close()


def test_the_end_of_the_line_is_told_and_it_can_be_connected_again(page: FakePage) -> None:
    lines = [FakeLine(), FakeLine()]
    left = iter(lines)
    terminal = WatchedTerminal(page, lambda _columns, _rows: next(left))
    page.open("a")
    lines[0].say(b"first ")
    page.sees(b"first ")
    lines[0].say(b"")
    assert page.wait("a", "closed")["reason"] == "it has ended"
    page.open("b")
    lines[1].say(b"second")
    page.sees(b"first second", "b")
    assert terminal.transcript == "first second"
    terminal.close()


def test_why_it_cannot_be_connected_is_told(page: FakePage) -> None:
    def connect(_columns: int, _rows: int) -> Connection:
        raise MachineUnknown("there is no r1", why="it was forgotten")

    WatchedTerminal(page, connect)
    page.say("a", "open", columns=80, rows=24)
    assert page.wait("a", "closed")["reason"] == "there is no r1: it was forgotten"


def test_a_shell_has_the_size_of_the_view_that_was_sized_last(page: FakePage) -> None:
    line = ShellLine()
    assert isinstance(line, ByteSource)
    opened: list[tuple[int, int]] = []

    def connect(columns: int, rows: int) -> ShellLine:
        opened.append((columns, rows))
        return line

    terminal = WatchedTerminal(page, connect, resizable=True)
    page.open("a", 100, 30)
    assert opened == [(100, 30)]
    page.open("b", 120, 40)
    assert line.sizes == [(120, 40)]
    assert (page.wait("a", "size")["columns"], page.wait("a", "size")["rows"]) == (120, 40)
    page.say("a", "size", columns=90, rows=20)
    assert line.sizes == [(120, 40), (90, 20)]
    assert page.wait("b", "size")["columns"] == 90
    terminal.close()


def test_a_view_that_was_let_go_is_told_so_when_it_comes_back(
    terminal: WatchedTerminal, page: FakePage
) -> None:
    page.say("long-gone", "beat")
    assert page.wait("long-gone", "closed")["reason"] == AWAY


def test_a_view_without_a_sign_of_life_is_stale() -> None:
    now = [0.0]
    view = View("a", lambda: now[0])
    told = []
    for moment in (STALE, STALE + 1):
        now[0] = moment
        told.append(view.is_stale)
    view.heard()
    told.append(view.is_stale)
    assert told == [False, True, False]


def test_messages_that_make_no_sense_harm_nothing(
    terminal: WatchedTerminal, page: FakePage, line: FakeLine
) -> None:
    page.open()
    page.say("a", "dance")
    page.say("b", "ack", n=10, m=1)
    line.say(b"alive")
    page.sees(b"alive")
    terminal.close()


def test_bad_arguments_are_refused(line: FakeLine) -> None:
    with pytest.raises(InvalidArgument, match="connect"):
        Terminal(line, name="r1")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="rows"):
        Terminal(lambda _columns, _rows: line, name="r1", rows=1)
