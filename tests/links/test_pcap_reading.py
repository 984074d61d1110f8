"""pcap bytes to rows and tables: any pieces, any byte order, any garbage in the frames."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

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
    query += b"\x00\x01\x00\x01"
    udp = struct.pack("!HHHH", 5353, 53, 8 + len(query), 0) + query
    assert described(ipv4(17, udp)) == ("DNS", "Standard query 0x1234 A www.example.org")
    assert dissect(ipv4(17, udp))["dns_name"] == "www.example.org"
    offer = bytes(16) + IP2 + bytes(216) + b"\x63\x82\x53\x63" + b"\x35\x01\x02\xff"
    udp = struct.pack("!HHHH", 67, 68, 8 + len(offer), 0) + offer
    assert described(ipv4(17, udp)) == ("DHCP", "DHCP Offer 10.0.0.2")


def test_what_machines_say_by_themselves_has_a_name() -> None:
    address = bytes.fromhex("fe800000000000000000000000000001")
    body = b"\x8f\x00" + bytes(6)
    six = struct.pack("!IHBB", 0x60000000, len(body), 58, 1) + address + address + body
    assert described(ethernet(0x86DD, six)) == ("ICMPv6", "Multicast listener report")
    told = described(ethernet(0x88B5, b"x"))
    assert told == ("Ethernet", "type 0x88b5 (a local experiment, such as link.measure)")


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
    assert described(ethernet(0x86DD, six)) == ("ICMPv6", "Neighbor solicitation for fe80::1")


def udp(source: int, destination: int, body: bytes) -> bytes:
    return ipv4(17, struct.pack("!HHHH", source, destination, 8 + len(body), 0) + body)


def tcp(source: int, destination: int, body: bytes) -> bytes:
    return ipv4(6, struct.pack("!HHIIBBHHH", source, destination, 1, 1, 0x50, 24, 9, 0, 0) + body)


def test_dns_answers() -> None:
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, 2, 0, 0)
    name = b"\x03www\x07example\x03org\x00"
    head += name + b"\x00\x01\x00\x01"
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 6) + b"\x03web\xc0\x10"
    found = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + IP2
    said = "Standard query response 0x0007 A www.example.org CNAME web.example.org A 10.0.0.2"
    assert described(udp(53, 4000, head + alias + found)) == ("DNS", said)
    missing = struct.pack("!HHHHHH", 7, 0x8183, 1, 0, 0, 0) + name + b"\x00\x1c\x00\x01"
    said = "Standard query response 0x0007 no such name AAAA www.example.org"
    assert described(udp(53, 4000, missing)) == ("DNS", said)
    circle = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\x00\x01\x00\x01"
    assert described(udp(4000, 53, circle)) == ("DNS", "Standard query 0x0007 A .")


def test_arp_that_asks_for_itself() -> None:
    head = bytes.fromhex("0001080006040001") + MAC1
    announcement = ethernet(0x0806, head + IP1 + bytes(6) + IP1)
    assert described(announcement) == ("ARP", "ARP Announcement for 10.0.0.1")
    probe = ethernet(0x0806, head + bytes(4) + bytes(6) + IP1)
    assert described(probe) == ("ARP", "Who has 10.0.0.1? (ARP Probe)")


def test_routing_protocols() -> None:
    hello = b"\x02\x01\x00\x2c" + IP1 + bytes(4) + bytes(32)
    assert described(ipv4(89, hello)) == ("OSPF", "Hello Packet, router 10.0.0.1, area 0.0.0.0")
    assert described(ipv4(89, b"\x02")) == ("OSPF", "protocol 89 [cut off]")
    response = b"\x02\x02\x00\x00" + bytes(40)
    assert described(udp(520, 520, response)) == ("RIP", "RIPv2 Response, 2 routes")
    marker = b"\xff" * 16
    messages = marker + b"\x00\x17\x02" + bytes(4) + marker + b"\x00\x13\x04"
    assert described(tcp(4000, 179, messages)) == ("BGP", "UPDATE, KEEPALIVE messages")
    bridge = b"\x80\x00" + MAC1
    stp = bytes.fromhex("424203" + "0000" + "00" + "00" + "00") + bridge + bytes(4) + bridge
    frame = MAC2 + MAC1 + struct.pack("!H", 38) + stp + b"\x80\x01" + bytes(8)
    assert described(frame) == ("STP", "Conf of 32768/52:54:00:00:01:00, root, port 0x8001")


def test_the_web() -> None:
    request = tcp(4000, 80, b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n")
    assert described(request) == ("HTTP", "GET /index.html HTTP/1.1")
    assert described(tcp(80, 4000, b"HTTP/1.1 200 OK\r\n"))[1] == "HTTP/1.1 200 OK"
    assert described(tcp(80, 4000, b"\x00\x01 more of a picture"))[1].startswith("80 → 4000 [PSH")
    assert described(tcp(4000, 443, b"\x16\x03\x01\x00\x05\x01")) == ("TLS", "Client Hello")


def test_tunnels_tell_what_is_in_them() -> None:
    inside = ipv4(1, bytes.fromhex("0800000000050003"))
    said = "10.0.0.1 → 10.0.0.2 Echo (ping) request id=5, seq=3, ttl=63"
    vxlan = b"\x08\x00\x00\x00\x00\x00\x2a\x00" + inside
    assert described(udp(50000, 4789, vxlan)) == ("VXLAN", f"VNI 42: ICMP {said}")
    assert described(ipv4(4, inside[14:])) == ("IP-in-IP", f"ICMP {said}")


def test_tags_in_tags_and_fragments_of_ipv6() -> None:
    inner = ipv4(1, bytes.fromhex("0800000000050003"))
    double = inner[:12] + b"\x88\xa8\x00\x64\x81\x00\x00\x07" + inner[12:]
    row = dissect(double)
    assert (row["vlan"], row["protocol"]) == (7, "ICMP")
    source = bytes(15) + b"\x01"
    body = bytes([17, 0]) + struct.pack("!H", 185 << 3) + bytes(4) + bytes(16)
    six = struct.pack("!IHBB", 0x60000000, len(body), 44, 64) + source + source + body
    assert described(ethernet(0x86DD, six)) == ("UDP", "fragment at byte 1480")


PORTS = st.sampled_from([53, 67, 68, 80, 179, 443, 520, 4789])


@given(PORTS, st.binary(max_size=300))
def test_any_payload_has_a_row(port: int, data: bytes) -> None:
    for one in (udp(port, 4000, data), tcp(port, 4000, data), udp(4000, port, data)):
        assert set(dissect(one)) <= set(PACKETS_COLUMNS)


@given(st.binary(max_size=200), st.data())
def test_any_cut_of_a_nested_frame_has_a_row(data: bytes, draw: st.DataObject) -> None:
    """Also where a tunnel is in a tunnel."""
    nested = data
    depth, wrap = draw.draw(st.integers(0, 600)), draw.draw(st.booleans())
    for _ in range(depth):
        nested = udp(50000, 4789, bytes(8) + nested) if wrap else ipv4(4, nested[14:])
    nested = nested[: draw.draw(st.integers(0, len(nested)))]
    assert set(dissect(nested)) <= set(PACKETS_COLUMNS)


@given(st.binary(max_size=400))
def test_any_bytes_are_packets_or_an_error_that_says_so(data: bytes) -> None:
    for prefix in (b"", pcap([])):
        try:
            found = packets(prefix + data)
        except ValueError:
            continue
        assert len(packets_frame([("a", packet) for packet in found])) == len(found)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_reads_what_we_write_as_we_read_it(tmp_path: Path) -> None:
    frames = [
        ethernet(0x0806, bytes.fromhex("0001080006040001") + MAC1 + IP1 + bytes(6) + IP2),
        ipv4(1, bytes.fromhex("0800f7f700050003")),
        tcp(4000, 80, b"GET / HTTP/1.1\r\n"),
    ]
    path = tmp_path / "seen.pcap"
    for nanosecond in (True, False):
        path.write_bytes(pcap(frames, nanosecond=nanosecond))
        command = ("tcpdump", "-nn", "-tt", "-r", str(path))
        read = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = read.stdout.splitlines()
        assert "ARP, Request who-has 10.0.0.2 tell 10.0.0.1" in lines[0]
        assert "10.0.0.1 > 10.0.0.2: ICMP echo request, id 5, seq 3" in lines[1]
        assert "10.0.0.1.4000 > 10.0.0.2.80: Flags [P.]" in lines[2]
        assert len(lines) == len(frames)


def test_the_table_has_its_columns_also_when_empty() -> None:
    empty, full = pcap_frame(pcap([])), pcap_frame(pcap([ipv4(89, b"")]))
    assert list(empty.columns) == list(full.columns) == list(PACKETS_COLUMNS)
    assert empty.dtypes.equals(full.dtypes)
    assert str(full["time"].dtype) == "datetime64[ns, UTC]"
    assert full["time"][0] == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    assert full["tcp_flags"].isna().all()
