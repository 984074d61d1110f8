"""Links of a real steward between NICs as QEMU offers them: attached, changed, impaired, seen."""

from __future__ import annotations

import statistics
import time

import pytest

from labkit.errors import InvalidArgument, LinkError, NotSeen
from labkit.links import LINKS_COLUMNS, Links
from labkit.packets import pcap_frame
from labkit.wish.links import Impairment
from steward_host import NIC, StewardHost, address, frame, wait_until


@pytest.fixture
def links(host: StewardHost) -> Links:
    return host.links()


def echo(number: int) -> bytes:
    """An ICMP echo request from 10.0.0.1 to 10.0.0.2."""
    icmp = b"\x08\x00\x00\x00\x00\x07" + number.to_bytes(2, "big")
    header = bytes.fromhex("45000000000100004001000000000000") + bytes(4)
    return frame(2, 1, header[:12] + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + icmp)


def test_frames_stay_on_their_link(host: StewardHost, links: Links) -> None:
    """Two labs side by side, the same addresses in both."""
    with host.nic(1) as a, host.nic(2) as b, host.nic(3) as c, host.nic(4) as d:
        links.set("one", [a.port, b.port])
        links.set("two", [c.port, d.port])
        a.send(frame(0, 1, b"of one"), frame(2, 1, b"end"))
        c.send(frame(0, 1, b"of two"), frame(2, 1, b"end"))
        assert b.receive_all(frame(2, 1, b"end")) == [frame(0, 1, b"of one")]
        assert d.receive_all(frame(2, 1, b"end")) == [frame(0, 1, b"of two")]


def test_qemu_may_come_later_and_come_back(host: StewardHost, links: Links) -> None:
    state = links.set("a", [(1, 0), (2, 0)])
    assert [port.connected for port in state.ports] == [False, False]
    with host.nic(1) as one, host.nic(2) as other:
        one.send(frame(2, 1, b"first"))
        wait_until(lambda: links.attach() == 0, "both to be connected")
        one.send(frame(2, 1, b"second"))
        assert other.receive() in (frame(2, 1, b"first"), frame(2, 1, b"second"))
        other.hang_up()
        _ = other.connection
        one.send(frame(2, 1, b"back"))
        other.receive_all(frame(2, 1, b"back"))
    with host.nic(1) as again:
        again.send(frame(2, 1))
        assert links.attach() == 1


def test_a_link_may_be_changed_into_a_switch_while_it_lives(
    host: StewardHost, links: Links
) -> None:
    with host.nic(1) as a, host.nic(2) as b, host.nic(3) as c:
        links.set("a", [a.port, b.port])
        kept = a.connection
        links.set("a", [a.port, b.port, c.port])
        assert a.connection is kept
        a.send(frame(0, 1, b"to all"))
        assert b.receive() == c.receive() == frame(0, 1, b"to all")
        links.set("a", [a.port, c.port])
        a.send(frame(0, 1, b"to c"))
        assert c.receive() == frame(0, 1, b"to c")
        assert b.connection.recv(1) == b""


def test_a_nic_is_on_one_link_only(links: Links) -> None:
    links.set("a", [(1, 0), (2, 0)])
    with pytest.raises(LinkError, match="is on link a"):
        links.set("b", [(2, 0), (3, 0)])
    assert [state.name for state in links.states()] == ["a"]
    assert links.delete("a")
    assert not links.delete("a")
    links.set("b", [(2, 0), (3, 0)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"ports": [(1, 0), (1, -1)]},
        {"ports": [(65536, 0)]},
        {"ports": [(1, 0, 0)]},
        {"seed": -1},
        {"up": 1},
    ],
)
def test_wrong_arguments_are_refused_here(links: Links, wrong: dict[str, object]) -> None:
    asked: dict[str, object] = {"name": "a", "ports": [(1, 0)], **wrong}
    with pytest.raises(InvalidArgument):
        links.set(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("ports", [[], [(1, 0), (1, 0)]])
def test_wrong_ports_are_refused_there(links: Links, ports: list[tuple[int, int]]) -> None:
    with pytest.raises(LinkError):
        links.set("a", ports)
    assert links.states() == ()


def test_down_is_down_and_up_again_is_up(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port], up=False)
        one.send(frame(2, 1, b"lost"))
        wait_until(lambda: links.states()[0].ports[0].dropped["down"] == 1, "the frame")
        links.set("a", up=True)
        one.send(frame(2, 1, b"there"))
        assert other.receive() == frame(2, 1, b"there")


def test_delay_per_direction_is_exact(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port], out={one.port: Impairment(delay_ms=30)})
        there = [one_way(one, other) for _ in range(15)]
        back = [one_way(other, one) for _ in range(15)]
        assert min(there) >= 0.030
        assert statistics.median(there) - statistics.median(back) == pytest.approx(0.030, rel=0.3)


def one_way(sender: NIC, receiver: NIC) -> float:
    start = time.monotonic()
    sender.send(frame(2, 1))
    assert receiver.receive() is not None
    return time.monotonic() - start


def test_loss_is_repeated_by_its_seed_and_counted(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        first, second = lossy_story(links, one, other), lossy_story(links, one, other)
    assert first == second
    assert 600 < len(first) < 800
    assert links.frame()["lost"].tolist() == [2000 - len(first) - len(second), 0]


def lossy_story(links: Links, one: NIC, other: NIC) -> list[bytes]:
    """Which of a thousand frames arrive through a line whose draws begin anew."""
    links.set("a", [one.port, other.port], seed=11, out={one.port: Impairment(loss=0.3)})
    with links.capture("a") as seen:
        one.send(*(frame(2, 1, n.to_bytes(2, "big")) for n in range(1000)))
        wait_until(lambda: len(seen) == 1000, "the frames")
    links.set("a", seed=11, out={})
    end = frame(1, 2, b"end")
    one.send(end)
    return other.receive_all(end)


def test_rate_holds_on_the_wire(host: StewardHost, links: Links) -> None:
    rate, size = 8_000_000, 1000
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port], out={one.port: Impairment(rate_bit=rate)})
        one.send(*[frame(2, 1, bytes(size - 14))] * 200)
        assert other.receive() is not None
        start = time.monotonic()
        for _ in range(100):
            assert other.receive() is not None
        assert 100 * size * 8 / (time.monotonic() - start) == pytest.approx(rate, rel=0.3)


def test_impairments_are_shown_as_they_were_set(links: Links) -> None:
    worse = Impairment(delay_ms=10, jitter_ms=2, loss=0.1, rate_bit=1_000_000)
    state = links.set("a", [(1, 0), (2, 0)], out={(1, 0): worse}, into={(2, 0): worse}, seed=4)
    assert state.out == {(1, 0): worse}
    assert state.into == {(2, 0): worse}
    assert links.states() == (state,)
    assert links.set("a", up=False).out == {(1, 0): worse}
    assert links.set("a", out={}).out == {}


def test_an_impairment_that_is_taken_away_loses_nothing(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port], out={one.port: Impairment(delay_ms=300)})
        one.send(frame(2, 1, b"late"))
        wait_until(lambda: links.states()[0].ports[0].sent_frames == 1, "the frame")
        links.set("a", out={})
        one.send(frame(2, 1, b"soon"))
        assert [other.receive(), other.receive()] == [frame(2, 1, b"soon"), frame(2, 1, b"late")]


def test_the_table_has_its_columns_also_when_empty(host: StewardHost, links: Links) -> None:
    empty = links.frame()
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port])
        one.send(frame(2, 1, b"x" * 86))
        other.receive()
        table = links.frame()
    assert list(empty.columns) == list(table.columns) == list(LINKS_COLUMNS)
    assert empty.dtypes.equals(table.dtypes)
    assert table["sent_bytes"].tolist() == [100, 0]
    assert table["received_frames"].tolist() == [0, 1]
    assert table["connected"].all()


# captures


def test_a_capture_sees_every_frame_of_its_link_only(host: StewardHost, links: Links) -> None:
    with host.nic(1) as a, host.nic(2) as b, host.nic(3) as c, host.nic(4) as d:
        links.set("one", [a.port, b.port])
        links.set("two", [c.port, d.port])
        a.send(echo(0))
        b.receive()
        with links.capture("one") as seen:
            a.send(*(echo(n) for n in range(1, 101)))
            b.send(frame(1, 2))
            c.send(echo(999))
            assert d.receive() is not None
            a.receive()
            for _ in range(100):
                assert b.receive() is not None
    assert len(seen.packets) == 101
    pings = seen.packets[seen.packets["protocol"] == "ICMP"]
    assert pings["icmp_sequence"].tolist() == list(range(1, 101))
    assert set(pings["source"]) == {"10.0.0.1"}
    assert set(seen.packets["link"]) == {"one"}
    assert pcap_frame(seen.pcap).drop(columns="link").equals(seen.packets.drop(columns="link"))
    assert seen.dropped == 0


def test_several_links_are_merged_in_order(host: StewardHost, links: Links) -> None:
    with host.nic(1) as a, host.nic(2) as b, host.nic(3) as c, host.nic(4) as d:
        links.set("one", [a.port, b.port])
        links.set("two", [c.port, d.port])
        with links.capture("one", "two") as seen:
            for n in range(5):
                a.send(echo(n))
                assert b.receive() is not None
                c.send(echo(n + 100))
                assert d.receive() is not None
    table = seen.packets
    assert table["link"].tolist() == ["one", "two"] * 5
    assert table["icmp_sequence"].tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]
    assert table["time"].is_monotonic_increasing


def test_a_capture_is_read_while_it_runs(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2):
        links.set("a", [one.port, (2, 0)])
        with links.capture("a") as seen:
            one.send(echo(1))
            row = seen.assert_seen("icmp", within="20s", icmp_sequence=1)
            assert row["destination"] == "10.0.0.2"
            assert len(seen.packets) == 1
            with pytest.raises(
                NotSeen, match=r"no TCP packet, destination_port 80 on a within 0.01 s"
            ):
                seen.assert_seen("tcp", within=0.01, destination_port=80)
        seen.stop()
        assert seen.assert_seen("ip", within=0.01) == row
        assert seen.assert_seen(lambda each: each["length"] > 20, within=0.01) == row


def test_what_is_lost_was_sent_but_not_delivered(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port], out={one.port: Impairment(loss=1.0)})
        with links.capture("a") as sent, links.capture("a", where="delivered") as delivered:
            one.send(echo(1))
            other.send(frame(1, 2))
            assert one.receive() is not None
            sent.assert_seen("icmp", within="20s")
    assert len(sent.packets) == 2
    assert delivered.packets["source"].tolist() == ["52:54:00:00:00:02"]


def test_a_capture_keeps_as_much_of_a_frame_as_it_should(host: StewardHost, links: Links) -> None:
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port])
        with links.capture("a", snaplen=20) as seen:
            one.send(frame(2, 1, b"x" * 500))
            other.receive()
    (row,) = seen.packets.itertuples()
    assert row.length == 514
    assert len(seen.pcap) == 24 + 16 + 20


def test_a_capture_of_no_link_is_refused(links: Links) -> None:
    with pytest.raises(Exception, match="unknown link"):
        links.capture("nowhere").start()


def test_a_file_is_written_where_no_client_stays(host: StewardHost, links: Links) -> None:
    client = host.ensure()
    path = host.base / "seen.pcap"
    with host.nic(1) as one, host.nic(2) as other:
        links.set("a", [one.port, other.port])
        begun = client.call("capture-start", links=["a"], path=str(path), nanosecond=False).facts
        client.close()
        for n in range(10):
            one.send(echo(n))
            other.receive()
        ended = host.ensure().call("capture-stop", capture=begun["capture"]).facts
    assert (ended["packets"], ended["dropped"]) == (10, 0)
    assert pcap_frame(path.read_bytes())["icmp_sequence"].tolist() == list(range(10))
    assert path.stat().st_mode & 0o777 == 0o600


def test_addresses_that_were_learnt_are_shown(host: StewardHost, links: Links) -> None:
    with host.nic(1) as a, host.nic(2) as b, host.nic(3):
        links.set("a", [(1, 0), (2, 0), (3, 0)])
        a.send(frame(0, 1))
        b.receive()
        facts = host.ensure().call("link-list").facts["links"][0]["addresses"]
    assert facts == {address(1).hex(":"): [1, 0]}
