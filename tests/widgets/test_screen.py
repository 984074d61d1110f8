"""The screen between a page and a machine: a connection for each view, asked ahead, bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from fake_page import PATIENCE, FakeLine, FakePage
from labkit.errors import MachineError
from labkit.executor import Connection
from labkit_widgets.channel import WINDOW_MESSAGES
from labkit_widgets.screen import AHEAD, Screen

REQUEST = bytes([3, 0, 0, 0, 0, 0, 2, 208, 1, 144])  # a whole picture of 720 by 400
CHANGES = bytes([3, 1]) + REQUEST[2:]


class WatchedScreen(Screen):
    """A screen whose messages go to a fake page."""

    def __init__(self, page: FakePage, connect: Callable[[], Connection], **values: Any):
        self._page = page
        super().__init__(connect, name="r1", **values)
        page.widget = self

    def send(self, content: Any, buffers: Any = None) -> None:
        self._page.receive(content, buffers)


@pytest.fixture
def page() -> FakePage:
    return FakePage()


def test_each_view_has_a_connection_of_its_own(page: FakePage) -> None:
    lines: list[FakeLine] = []

    def connect() -> FakeLine:
        lines.append(FakeLine())
        return lines[-1]

    screen = WatchedScreen(page, connect)
    page.open("a")
    page.open("b")
    lines[0].say(b"for a")
    lines[1].say(b"for b")
    page.sees(b"for a", "a")
    page.sees(b"for b", "b")
    page.say("a", "close")
    assert lines[0].closed.wait(PATIENCE)
    lines[1].say(b", on")
    page.sees(b"for b, on", "b")
    assert not lines[1].closed.is_set()
    screen.close()
    assert lines[1].closed.wait(PATIENCE)


def test_more_is_asked_for_at_once_while_the_page_keeps_up_and_never_unasked(
    page: FakePage,
) -> None:
    line = FakeLine()
    screen = WatchedScreen(page, lambda: line)
    page.open()
    line.say(b"RFB 003.008\n")
    page.sees(b"RFB")
    assert not line.typed  # the page has asked for nothing yet
    page.say("a", "data", REQUEST)
    assert bytes(line.typed) == REQUEST
    for number in range(WINDOW_MESSAGES - 1):
        line.say(b"update %d;" % number)
    page.wait("a", "data", WINDOW_MESSAGES)
    threading.Event().wait(0.1)
    asked = bytes(line.typed).count(CHANGES)
    assert 1 <= asked < AHEAD < WINDOW_MESSAGES
    assert len(line.typed) == len(REQUEST) + asked * len(CHANGES)
    page.say("a", "ack", n=100, m=WINDOW_MESSAGES)
    line.say(b"another")
    page.sees(b"another")
    threading.Event().wait(0.1)
    later = bytes(line.typed).count(CHANGES)
    assert later > asked  # what was owed, and one for the answer
    assert len(line.typed) == len(REQUEST) + later * len(CHANGES)
    screen.close()


def test_a_machine_without_a_screen_says_so(page: FakePage) -> None:
    def connect() -> Connection:
        raise MachineError("cannot open the screen of r1", why="it has no screen")

    WatchedScreen(page, connect)
    page.say("a", "open")
    assert "it has no screen" in page.wait("a", "closed")["reason"]


def test_the_picture_is_kept_and_a_missing_one_explained() -> None:
    screen = Screen(FakeLine, name="r1", picture=lambda: b"\x89PNG")
    assert screen._static() == {"text/plain": "screen of r1", "image/png": b"\x89PNG"}

    def gone() -> bytes:
        raise MachineError("cannot take a picture of r1", why="it is dead")

    kept = Screen(FakeLine, name="r1", picture=gone)._static()
    assert kept == {"text/plain": "screen of r1: cannot take a picture of r1: it is dead"}
