"""pcap bytes to rows and tables: any pieces, any byte order, any garbage in the frames."""

from __future__ import annotations

import struct

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.packets import PACKETS_COLUMNS, packets_frame, pcap_frame
from labkit.programs.frame_headers import dissect
from labkit.programs.pcap import Packet, Reader, packets

MAC1, MAC2 = bytes.fromhex("525400000100"), bytes.fromhex("525400000200")
IP1, IP2 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def ethernet(kind: int, payload: bytes) -> bytes:
    return MAC2 + MAC1 + struct.pack("!H", kind) + payload


def ipv4(protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 63, protocol, 0)
    return ethernet(0x0800, head + IP1 + IP2 + payload)


def pcap(frames: list[bytes], *, order: str = "<", nanosecond: bool = True) -> bytes:
    magic = 0xA1B23C4D if nanosecond else 0xA1B2C3D4
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for n, one in enumerate(frames):
        data += struct.pack(f"{order}IIII", 1_700_000_000, n, len(one), len(one) + 4) + one
    return data


FRAMES = st.lists(st.binary(max_size=80), max_size=6)


@given(FRAMES, st.sampled_from("<>"), st.booleans(), st.data())
def test_pieces_of_any_size_give_the_same_packets(
    frames: list[bytes], order: str, nanosecond: bool, data: st.DataObject
) -> None:
    whole = pcap(frames, order=order, nanosecond=nanosecond)
    unit = 1 if nanosecond else 1000
    wanted = [
        Packet(1_700_000_000 * 10**9 + n * unit, len(one) + 4, one) for n, one in enumerate(frames)
    ]
    reader, found, rest = Reader(), [], whole
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += reader.feed(rest[:size])
        rest = rest[size:]
    assert found == packets(whole) == wanted


@given(FRAMES.filter(bool), st.integers(1, 16))
def test_a_record_that_is_cut_off_is_left_out(frames: list[bytes], cut: int) -> None:
    found = packets(pcap(frames)[:-cut])
    assert [one.data for one in found] == frames[: len(found)]
    assert len(found) < len(frames)


@pytest.mark.parametrize(
    "data", [b"x" * 24, pcap([])[:20] + struct.pack("<I", 113), pcap([]) + b"\xff" * 16]
)
def test_what_is_no_pcap_of_ethernet_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not "):
        packets(data)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_row(data: bytes) -> None:
    row = dissect(data)
    assert set(row) <= set(PACKETS_COLUMNS)
    assert isinstance(row["protocol"], str)
    assert len(packets_frame([("a", Packet(0, len(data), data))])) == 1


@given(
    st.sampled_from([0x0800, 0x0806, 0x86DD, 0x8100, 0x8847, 40]),
    st.sampled_from([1, 6, 17, 58, 89]),
    st.binary(max_size=300),
)
def test_any_bytes_behind_a_header_have_a_row(kind: int, protocol: int, data: bytes) -> None:
    for one in (ethernet(kind, data), ipv4(protocol, data)):
        assert set(dissect(one)) <= set(PACKETS_COLUMNS)


def described(frame: bytes) -> tuple[str, str]:
    row = dissect(frame)
    return row["protocol"], row["info"]


def test_arp() -> None:
    head = bytes.fromhex("0001080006040001")
    row = dissect(ethernet(0x0806, head + MAC1 + IP1 + bytes(6) + IP2))
    assert row["info"] == "Who has 10.0.0.2? Tell 10.0.0.1"
    assert (row["arp_operation"], row["arp_sender_ip"]) == (1, "10.0.0.1")
    head = bytes.fromhex("0001080006040002")
    reply = ethernet(0x0806, head + MAC1 + IP1 + MAC2 + IP2)
    assert described(reply) == ("ARP", "10.0.0.1 is at 52:54:00:00:01:00")


def test_ping() -> None:
    row = dissect(ipv4(1, bytes.fromhex("0800000000050003")))
    assert (row["protocol"], row["source"], row["destination"]) == ("ICMP", "10.0.0.1", "10.0.0.2")
    assert row["info"] == "Echo (ping) request id=5, seq=3, ttl=63"
    assert (row["ip_ttl"], row["ip_id"], row["icmp_sequence"]) == (63, 7, 3)


def test_tcp_handshake() -> None:
    syn = struct.pack("!HHIIBBHHH", 40000, 80, 100, 0, 0x50, 0x02, 64240, 0, 0)
    row = dissect(ipv4(6, syn))
    assert (row["protocol"], row["tcp_flags"], row["payload_length"]) == ("TCP", "SYN", 0)
    assert row["info"] == "40000 → 80 [SYN] Seq=100 Ack=0 Win=64240 Len=0"
    data = struct.pack("!HHIIBBHHH", 40000, 80, 101, 9, 0x50, 0x18, 64240, 0, 0) + b"GET /"
    row = dissect(ipv4(6, data))
    assert (row["protocol"], row["tcp_flags"], row["payload_length"]) == ("HTTP", "PSH ACK", 5)


def test_padding_behind_a_short_packet_is_no_payload() -> None:
    ack = struct.pack("!HHIIBBHHH", 40000, 80, 101, 9, 0x50, 0x10, 64240, 0, 0)
    assert dissect(ipv4(6, ack) + bytes(6))["payload_length"] == 0


def test_dns_and_dhcp() -> None:
    query = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + b"\x03www\x07example\x03org\x00"
    udp = struct.pack("!HHHH", 5353, 53, 8 + len(query), 0) + query
    assert described(ipv4(17, udp)) == ("DNS", "Query 0x1234 www.example.org")
    offer = bytes(16) + IP2 + bytes(216) + b"\x63\x82\x53\x63" + b"\x35\x01\x02\xff"
    udp = struct.pack("!HHHH", 67, 68, 8 + len(offer), 0) + offer
    assert described(ipv4(17, udp)) == ("DHCP", "DHCP Offer 10.0.0.2")


def test_vlan_tag_fragment_and_ipv6() -> None:
    inner = ipv4(89, b"\x02\x01" + bytes(20))
    tagged = inner[:12] + struct.pack("!HH", 0x8100, 0x2064) + inner[12:]
    row = dissect(tagged)
    assert (row["vlan"], row["protocol"]) == (100, "OSPF")
    later = bytearray(ipv4(17, bytes(16)))
    later[20:22] = struct.pack("!H", 185)
    assert described(bytes(later)) == ("UDP", "fragment at byte 1480")
    target = bytes.fromhex("fe800000000000000000000000000001")
    body = b"\x87\x00\x00\x00" + bytes(4) + target
    six = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + target + target + body
    assert described(ethernet(0x86DD, six)) == ("ICMPv6", "Neighbor solicitation fe80::1")


def test_the_table_has_its_columns_also_when_empty() -> None:
    empty, full = pcap_frame(pcap([])), pcap_frame(pcap([ipv4(89, b"")]))
    assert list(empty.columns) == list(full.columns) == list(PACKETS_COLUMNS)
    assert empty.dtypes.equals(full.dtypes)
    assert str(full["time"].dtype) == "datetime64[ns, UTC]"
    assert full["time"][0] == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    assert full["tcp_flags"].isna().all()
