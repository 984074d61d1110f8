"""One link in this process: who gets which frame, held to a small model of a learning switch."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.remote.steward.port import MAX_FRAME, MAX_QUEUE, Port
from labkit.remote.steward.switch import MAX_ADDRESSES, Link
from labkit.remote.steward.system_loop import SystemLoop
from steward_host import frame


class Bench:
    """A link with some stations at the other end of its ports."""

    def __init__(self, count: int) -> None:
        self.loop = SystemLoop()
        self.link = Link("bench", self.loop)
        self.stations: list[socket.socket] = []
        self.ports: list[Port] = []
        for number in range(count):
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.settimeout(0)
            port = Port(self.loop, number, 0, "unused")
            self.link.add(port)
            port.use(ours)
            self.ports.append(port)
            self.stations.append(theirs)

    def send(self, station: int, *frames: bytes) -> None:
        self.stations[station].sendall(
            b"".join(struct.pack("!I", len(one)) + one for one in frames)
        )
        self.loop.turn(0)

    def received(self) -> list[list[bytes]]:
        """What each station got since it was last asked."""
        return [self._received(station) for station in self.stations]

    def _received(self, station: socket.socket) -> list[bytes]:
        data, found = bytearray(), []
        try:
            while piece := station.recv(1 << 20):
                data += piece
                self.loop.turn(0)
        except BlockingIOError:
            pass
        while data:
            end = 4 + int.from_bytes(data[:4], "big")
            found.append(bytes(data[4:end]))
            del data[:end]
        return found

    def close(self) -> None:
        for port in self.ports:
            port.close()
        for station in self.stations:
            station.close()
        self.loop.close()


@pytest.fixture
def three() -> Iterator[Bench]:
    bench = Bench(3)
    yield bench
    bench.close()


@pytest.fixture
def two() -> Iterator[Bench]:
    bench = Bench(2)
    yield bench
    bench.close()


class Model:
    """What a learning switch does, said as simply as can be."""

    def __init__(self, ports: int) -> None:
        self._ports = ports
        self._known: dict[int, int] = {}

    def receivers(self, port: int, destination: int, source: int) -> set[int]:
        if source:
            self._known[source] = port
        goal = self._known.get(destination) if destination else None
        return ({goal} if goal is not None else set(range(self._ports))) - {port}


TRAFFIC = st.lists(
    st.tuples(
        st.integers(0, 3), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8)
    ),
    max_size=12,
)


@given(TRAFFIC, st.booleans())
def test_each_frame_goes_where_a_switch_would_send_it(
    traffic: list[tuple[int, list[tuple[int, int]]]], watched: bool
) -> None:
    """Also on the path that captured and impaired frames take."""
    bench, model = Bench(4), Model(4)
    try:
        if watched:
            bench.link.sent_taps.append(lambda _link, _stamp, _frame: None)
            bench.link.settle()
        wanted: list[list[bytes]] = [[], [], [], []]
        count = 0
        for port, pairs in traffic:
            frames = []
            for destination, source in pairs:
                count += 1
                frames.append(frame(destination, source, struct.pack("!I", count)))
                for receiver in model.receivers(port, destination, source):
                    wanted[receiver].append(frames[-1])
            bench.send(port, *frames)
        assert bench.received() == wanted
        assert sum(port.counters["sent_frames"] for port in bench.ports) == count
        received = [port.counters["received_frames"] for port in bench.ports]
        assert received == [len(some) for some in wanted]
    finally:
        bench.close()


@given(st.lists(st.integers(14, 300), min_size=1, max_size=10), st.data())
def test_frames_may_arrive_in_any_pieces(sizes: list[int], data: st.DataObject) -> None:
    bench = Bench(2)
    try:
        frames = [bytes([n]) * size for n, size in enumerate(sizes)]
        stream = b"".join(struct.pack("!I", len(one)) + one for one in frames)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
        edges = [0, *sorted(cuts), len(stream)]
        for start, end in itertools.pairwise(edges):
            bench.stations[0].sendall(stream[start:end])
            bench.loop.turn(0)
        assert bench.received() == [[], frames]
    finally:
        bench.close()


def test_a_cable_passes_everything_whatever_the_addresses(two: Bench) -> None:
    frames = [frame(1, 1), frame(2, 1), frame(0, 0), frame(5, 5, b"\x88" * 1486)]
    two.send(0, *frames)
    assert two.received() == [[], frames]


def test_frames_without_a_header_are_dropped_and_counted(two: Bench, three: Bench) -> None:
    for bench in (two, three):
        bench.send(0, frame(2, 1, b"a"), b"short", b"", frame(2, 1, b"b"))
        assert bench.received()[1] == [frame(2, 1, b"a"), frame(2, 1, b"b")]
        assert bench.ports[0].dropped["runt"] == 2
        assert bench.ports[0].counters["sent_frames"] == 2


def test_the_largest_frame_passes_and_a_larger_one_ends_the_connection(two: Bench) -> None:
    lost: list[str] = []
    two.ports[0].lost = lambda _port, reason: lost.append(reason)
    largest = b"x" * MAX_FRAME
    two.send(0, largest)
    for _ in range(3):
        two.loop.turn(0)
    assert two.received()[1] == [largest]
    two.stations[0].sendall(struct.pack("!I", MAX_FRAME + 1))
    two.loop.turn(0)
    assert lost == ["what it sent is not frames"]
    assert not two.ports[0].connected


def test_a_nic_that_does_not_read_loses_whole_frames_and_nobody_else_any(three: Bench) -> None:
    batch = [frame(0, 1, struct.pack("!I", n) + bytes(1400)) for n in range(100)]
    kept: list[bytes] = []
    for _ in range(20):
        three.send(0, *batch)
        three.loop.turn(0)
        kept += three._received(three.stations[1])
    assert kept == batch * 20
    slow = three.ports[2]
    assert slow.dropped["queue"] > 0
    got = three._received(three.stations[2])
    assert len(got) + slow.dropped["queue"] == 2000
    assert set(got) <= set(batch)
    assert sum(map(len, got)) < MAX_QUEUE + 500_000
    three.send(0, frame(0, 1, b"again"))
    assert three._received(three.stations[2]) == [frame(0, 1, b"again")]


def test_a_station_that_moves_is_found_at_its_new_port(three: Bench) -> None:
    three.send(0, frame(0, 1))
    three.send(1, frame(0, 1))
    three.received()
    three.send(2, frame(1, 3, b"x"))
    assert three.received() == [[], [frame(1, 3, b"x")], []]


def test_addresses_behind_a_lost_port_are_forgotten(three: Bench) -> None:
    three.send(0, frame(0, 1))
    three.received()
    three.link.forget(three.ports[0])
    three.send(2, frame(1, 3, b"x"))
    assert three.received() == [[frame(1, 3, b"x")], [frame(1, 3, b"x")], []]


def test_a_flood_of_addresses_is_bounded(three: Bench) -> None:
    for start in range(1, 2 * MAX_ADDRESSES, 100):
        three.send(0, *(frame(0, number) for number in range(start, start + 100)))
        three.received()
    assert len(three.link.addresses) <= MAX_ADDRESSES


def test_a_link_that_is_down_passes_nothing_and_counts(two: Bench) -> None:
    two.link.set_up(up=False)
    two.send(0, frame(2, 1))
    assert two.received() == [[], []]
    assert two.ports[0].dropped["down"] == 1
    two.link.set_up(up=True)
    two.send(0, frame(2, 1))
    assert two.received() == [[], [frame(2, 1)]]


def test_frames_for_a_machine_that_is_off_are_counted(two: Bench) -> None:
    two.ports[1].close()
    two.send(0, frame(2, 1))
    assert two.ports[1].dropped["off"] == 1
