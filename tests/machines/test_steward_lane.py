"""Lanes: frames come whole whatever the cuts, and after any rubbish once greeted again."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.remote.steward.lane import FILLER, PAYLOAD, Lane, pack_fields, unpack_fields
from labkit.remote.steward.system_loop import SystemLoop


class FakeGuest:
    """The other end of a lane, and what came out of the lane."""

    def __init__(self, folder: Path) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "l0"))
        server.listen(1)
        self.loop = SystemLoop()
        self.frames: list[tuple[str, str, bytes]] = []
        self.hellos: list[dict[str, str]] = []
        self.lane = Lane(self.loop, str(folder / "l0"), self._frame, self._hello)
        self.lane.connect()
        self.wire, _ = server.accept()
        server.close()
        self.wire.settimeout(5)

    def _frame(self, _lane: Lane, verb: str, token: str, payload: memoryview) -> None:
        self.frames.append((verb, token, bytes(payload)))

    def _hello(self, _lane: Lane, fields: dict[str, str]) -> None:
        self.hellos.append(fields)

    def say(self, data: bytes, pieces: int = 1) -> None:
        """Send, in pieces, and let the lane read all of it."""
        size = max(1, -(-len(data) // pieces))
        for start in range(0, len(data), size):
            self.wire.sendall(data[start : start + size])
            for _ in range(8):
                self.loop.turn(0)

    def greet(self, number: int = 1, agent: str = "a1") -> None:
        self.say(frame("hello", f"{self.lane._session}{number}", pack_fields([("agent", agent)])))

    def heard(self) -> bytes:
        self.wire.settimeout(0)
        data = b""
        try:
            while True:
                self.loop.turn(0)
                data += self.wire.recv(1 << 20)
        except BlockingIOError:
            return data

    def close(self) -> None:
        self.lane.close()
        self.wire.close()
        self.loop.close()


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuest:
    return FakeGuest(tmp_path)


def frame(verb: str, token: str, payload: bytes = b"") -> bytes:
    return b"LK %s %s %d\n%s\n" % (verb.encode(), token.encode(), len(payload), payload)


@given(
    st.lists(st.tuples(st.sampled_from(["out", "err", "exit"]), st.binary(max_size=300))),
    st.integers(1, 40),
)
def test_frames_come_whole_however_they_are_cut(
    frames: list[tuple[str, bytes]], pieces: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        guest = FakeGuest(Path(folder))
        guest.greet()
        guest.say(b"".join(frame(verb, "a1-1", data) for verb, data in frames), pieces)
        assert guest.frames == [(verb, "a1-1", data) for verb, data in frames]
        guest.close()


@given(st.binary(max_size=2000))
def test_after_any_rubbish_a_greeting_begins_anew(rubbish: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        guest = FakeGuest(Path(folder))
        guest.say(b"LK out a1-1 60000\n" + rubbish, 3)  # cut off by a reboot
        guest.say(FILLER + frame("hello", "-"), 2)
        guest.greet(2)
        guest.say(frame("pong", "a1-9"))
        assert guest.lane.agent == "a1"
        assert guest.frames[-1] == ("pong", "a1-9", b"")
        guest.close()


def test_nothing_counts_before_the_greeting(guest: FakeGuest) -> None:
    guest.say(frame("out", "old-1", b"of an earlier steward"))
    guest.greet()
    assert guest.frames == []
    assert guest.hellos == [{"agent": "a1"}]
    guest.close()


def test_a_late_answer_to_an_earlier_greeting_is_taken(guest: FakeGuest) -> None:
    guest.lane._greet()
    guest.lane._greet()
    guest.greet(1)
    assert guest.lane.agent == "a1"
    guest.close()


def test_an_answer_from_before_a_reboot_is_not_taken(guest: FakeGuest) -> None:
    guest.lane.start_over()
    guest.greet(1)
    assert guest.lane.agent == ""
    guest.greet(2)
    assert guest.lane.agent == "a1"
    guest.close()


def test_large_payloads_pass(guest: FakeGuest) -> None:
    guest.greet()
    payload = bytes(range(256)) * (PAYLOAD // 256)
    guest.say(frame("out", "a1-1", payload), 9)
    assert guest.frames == [("out", "a1-1", payload)]
    guest.close()


def test_the_lane_greets_by_its_time(guest: FakeGuest) -> None:
    heard = guest.heard()
    assert heard.startswith(bytes(PAYLOAD + 256 - 16))  # whatever was cut off is completed
    assert f"\0LK hello {guest.lane._session}1 ".encode() in heard
    guest.close()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    )
)
def test_fields_survive(fields: dict[str, str]) -> None:
    assert unpack_fields(pack_fields(fields.items())) == fields


def test_a_greeting_by_the_agent_we_know_means_nothing(guest: FakeGuest) -> None:
    guest.greet()
    guest.heard()
    guest.say(frame("hello", "-", pack_fields([("agent", "a1")])))
    assert (guest.lane.agent, guest.heard()) == ("a1", b"")
    guest.say(frame("hello", "-", pack_fields([("agent", "a2")])))
    assert guest.lane.agent == ""
    guest.close()
