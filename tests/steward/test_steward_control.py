"""Clients that do not keep to the protocol, are slow or leave: never to the harm of others."""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import CommandTimeout, StewardProblem
from labkit.steward import Steward
from steward_host import StewardHost, frame, steward_host, wait_until
from thorough import examples


def packed(facts: object, data: bytes = b"") -> bytes:
    text = json.dumps(facts).encode()
    return struct.pack("!II", len(text), len(data)) + text + data


def answer(connection: socket.socket) -> tuple[dict[str, object], bytes]:
    text, size = struct.unpack("!II", exactly(connection, 8))
    facts: dict[str, object] = json.loads(exactly(connection, text))
    return facts, exactly(connection, size)


def exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the steward closed the connection"
        data += piece
    return bytes(data)


def is_closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.fixture
def client(host: StewardHost) -> Steward:
    return host.ensure()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "too large"),
        (struct.pack("!II", 1 << 30, 0), "too large"),
        (struct.pack("!II", 2, 1 << 30) + b"{}", "too large"),
        (struct.pack("!II", 3, 0) + b"\xff\xfe\xfd", "JSON"),
        (struct.pack("!II", 100_000, 0) + b"[" * 100_000, "JSON"),
        (packed([1, 2]), "not an object"),
        (packed({"do": "hello"}), "'id'"),
        (packed({"id": True, "do": "hello"}), "'id'"),
        (packed({"id": "1", "do": "hello"}), "'id'"),
    ],
)
def test_what_is_no_frame_is_named_and_ends_that_connection(
    host: StewardHost, client: Steward, sent: bytes, reason: str
) -> None:
    with host.raw() as rude:
        rude.sendall(sent)
        facts, _ = answer(rude)
        assert facts["id"] is None
        problem = facts["problem"]
        assert isinstance(problem, dict)
        assert problem["code"] == "bad-frame"
        assert reason in problem["reason"]
        assert is_closed(rude)
    assert client.call("hello").facts["machines"] == []


def test_any_garbage_leaves_it_alive() -> None:
    with steward_host() as host:
        client = host.ensure()

        @settings(max_examples=examples(60))
        @given(st.lists(st.binary(max_size=80), max_size=4))
        def throw(pieces: list[bytes]) -> None:
            with host.raw() as rude:
                for piece in pieces:
                    try:
                        rude.sendall(piece)
                    except BrokenPipeError:
                        break

        throw()
        assert client.call("hello").facts["machines"] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
VERBS = st.sampled_from(
    ["link-set", "link-list", "link-delete", "capture-start", "capture-stop", "subscribe", "x"]
)
NAMES = st.sampled_from(["link", "ports", "impair", "up", "seed", "links", "snaplen", "capture"])


def test_any_arguments_get_exactly_one_answer() -> None:
    with steward_host() as host:
        client = host.ensure()

        @settings(max_examples=examples(150))
        @given(VERBS, st.dictionaries(NAMES, VALUES))
        def ask(verb: str, facts: dict[str, object]) -> None:
            with host.raw() as rude:
                rude.sendall(packed({**facts, "id": 1, "do": verb}))
                while "part" in (got := answer(rude)[0]):
                    rude.sendall(packed({"id": 1, "cancel": True}))
                assert got["id"] == 1
                assert ("ok" in got) != ("problem" in got)
                problem = got.get("problem", {})
                assert isinstance(problem, dict)
                assert problem.get("code") != "steward-fault"

        ask()
        assert client.call("hello").facts["machines"] == []


def test_a_frame_may_come_byte_by_byte(host: StewardHost, client: Steward) -> None:
    with host.raw() as slow:
        for byte in packed({"id": 7, "do": "hello"}):
            slow.send(bytes([byte]))
        assert answer(slow)[0]["id"] == 7
    assert client.call("hello")


def test_half_a_frame_and_gone(host: StewardHost, client: Steward) -> None:
    with host.raw() as rude:
        rude.sendall(packed({"id": 1, "do": "hello"})[:-3])
    assert client.call("hello")


def test_many_requests_at_once_are_told_apart(client: Steward) -> None:
    calls = [client.start("link-set", link=f"l{n}", ports=[[n, 0]]) for n in range(50)]
    names = [call.result().facts["link"] for call in calls]
    assert names == [f"l{n}" for n in range(50)]


def test_an_id_in_use_is_refused(host: StewardHost, client: Steward) -> None:
    client.call("link-set", link="a", ports=[[1, 0]])
    with host.raw() as rude:
        rude.sendall(packed({"id": 1, "do": "capture-start", "links": ["a"]}))
        assert "part" in answer(rude)[0]
        rude.sendall(packed({"id": 1, "do": "hello"}))
        assert "in use" in str(answer(rude)[0]["problem"])


def test_too_many_running_requests_are_refused_each(host: StewardHost, client: Steward) -> None:
    client.call("link-set", link="a", ports=[[1, 0]])
    with host.raw() as greedy:
        for number in range(70):
            asked = {"id": number, "do": "capture-start", "links": ["a"]}
            greedy.sendall(packed(asked))
        answers = [answer(greedy)[0] for _ in range(70)]
    assert sum("part" in one for one in answers) == 64
    wait_until(lambda: not client.call("capture-list").facts["captures"], "the captures to end")


def test_input_that_nobody_asked_for_is_a_problem(client: Steward) -> None:
    client.call("link-set", link="a", ports=[[1, 0]])
    call = client.start("capture-start", links=["a"])
    call.send(b"hello")
    with pytest.raises(StewardProblem, match="takes no input"):
        call.result()
    assert client.call("capture-list").facts["captures"] == []


def test_cancelling_ends_it_on_the_other_side(client: Steward) -> None:
    client.call("link-set", link="a", ports=[[1, 0]])
    call = client.start("capture-start", links=["a"])
    assert len(client.call("capture-list").facts["captures"]) == 1
    call.cancel()
    with pytest.raises(StewardProblem, match="cancelled"):
        call.result()
    assert client.call("capture-list").facts["captures"] == []


def test_a_timeout_cancels_it(client: Steward) -> None:
    client.call("link-set", link="a", ports=[[1, 0]])
    call = client.start("capture-start", links=["a"])
    with pytest.raises(CommandTimeout, match="cancelled"):
        call.result(0.05)
    assert client.call("capture-list").facts["captures"] == []


def test_events_go_to_those_who_listen(host: StewardHost, client: Steward) -> None:
    heard: list[object] = []
    told = threading.Event()

    def listen(event: object) -> None:
        heard.append(event)
        told.set()

    client.listen(listen)
    with host.nic(1) as one:
        client.call("link-set", link="a", ports=[[1, 0]])
        one.hang_up()
        assert told.wait(20)
    (event,) = heard[:1]
    assert isinstance(event, dict)
    assert (event["kind"], event["link"], event["index"]) == ("port-lost", "a", 1)


def test_a_client_that_does_not_read_is_let_go_and_others_served(
    host: StewardHost, client: Steward
) -> None:
    """It asks for ever more, and never takes an answer."""
    for number in range(200):
        client.call("link-set", link=f"link{number}", ports=[[number, 0]])
    request = packed({"id": 1, "do": "link-list"})
    with host.raw() as deaf:
        deaf.settimeout(20)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            ask_for_ever(deaf, request)
        assert client.call("hello", timeout=20)
    log = (host.folder / "steward.log").read_text()
    assert "did not read" in log


def ask_for_ever(connection: socket.socket, request: bytes) -> None:
    while True:
        connection.sendall(request * 50)


def test_a_slow_reader_of_a_capture_costs_bounded_memory(
    host: StewardHost, client: Steward
) -> None:
    pid = client.facts["pid"]
    with host.nic(1) as one, host.nic(2), host.raw() as slow:
        client.call("link-set", link="a", ports=[[1, 0], [2, 0]])
        slow.sendall(packed({"id": 1, "do": "capture-start", "links": ["a"]}))
        answer(slow)
        before = resident(pid)
        batch = [frame(2, 1, bytes(1400))] * 100
        for _ in range(300):  # 42 MB
            one.send(*batch)
        sent = 30_000
        wait_until(lambda: seen(client) == sent, "the frames to be switched")
        assert resident(pid) - before < 24_000_000
        assert client.call("hello", timeout=20)
        slow.sendall(packed({"id": 2, "do": "capture-stop", "capture": 1}))
        slow.sendall(packed({"id": 1, "took": 1 << 30}))
        while "ok" not in (got := answer(slow)[0]):
            slow.sendall(packed({"id": 1, "took": 1 << 30}))
    totals = got["ok"]
    assert isinstance(totals, dict)
    assert totals["packets"] + totals["dropped"] == sent
    assert totals["dropped"] > 0


def seen(client: Steward) -> int:
    count: int = client.call("link-list").facts["links"][0]["ports"][0]["sent_frames"]
    return count


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
