"""What the headers of an Ethernet frame say: addresses, protocol, ports, and a line for people.

Cut-off and malformed frames are no errors: a row holds what could be read, and says so.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from typing import Any

from labkit.programs import payload_texts

Row = dict[str, Any]

ETHERTYPES = {
    0x0800: "IPv4",
    0x0806: "ARP",
    0x86DD: "IPv6",
    0x8100: "802.1Q",
    0x8847: "MPLS",
    0x88A8: "802.1ad",
    0x88CC: "LLDP",
}
IP_PROTOCOLS = {
    1: "ICMP",
    2: "IGMP",
    4: "IP-in-IP",
    6: "TCP",
    17: "UDP",
    47: "GRE",
    50: "ESP",
    58: "ICMPv6",
    89: "OSPF",
    112: "VRRP",
}
UDP_PORTS = {53: "DNS", 67: "DHCP", 68: "DHCP", 123: "NTP", 520: "RIP", 4789: "VXLAN"}
TCP_PORTS = {22: "SSH", 53: "DNS", 80: "HTTP", 179: "BGP", 443: "TLS"}
TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
ICMP_TEXTS = {
    (0, 0): "Echo (ping) reply",
    (3, 0): "Destination unreachable (network)",
    (3, 1): "Destination unreachable (host)",
    (3, 3): "Destination unreachable (port)",
    (3, 2): "Destination unreachable (protocol)",
    (3, 4): "Destination unreachable (fragmentation needed)",
    (3, 13): "Destination unreachable (administratively prohibited)",
    (5, 1): "Redirect (host)",
    (8, 0): "Echo (ping) request",
    (11, 0): "Time-to-live exceeded",
    (11, 1): "Fragment reassembly time exceeded",
}
ICMP6_TEXTS = {
    1: "Destination unreachable",
    2: "Packet too big",
    3: "Hop limit exceeded",
    128: "Echo (ping) request",
    129: "Echo (ping) reply",
    130: "Multicast listener query",
    131: "Multicast listener report",
    132: "Multicast listener done",
    133: "Router solicitation",
    134: "Router advertisement",
    135: "Neighbor solicitation",
    136: "Neighbor advertisement",
    137: "Redirect",
    143: "Multicast listener report",
}
IPV6_OPTIONS, IPV6_FRAGMENT = (0, 43, 60), 44  # hop-by-hop, routing, destination options
EXPERIMENT = 0x88B5  # IEEE 802's own number for local experiments
TAGS = (0x8100, 0x88A8)


def dissect(data: bytes) -> Row:
    """The columns of a frame; what it does not have is left out."""
    row: Row = {"protocol": "Ethernet", "info": ""}
    try:
        _ethernet(data, row)
    except (struct.error, IndexError):
        row["info"] = f"{row['info']} [cut off]".lstrip()
    return row


def _mac(data: bytes) -> str:
    return data.hex(":")


def _ethernet(data: bytes, row: Row) -> None:
    destination, source, kind = struct.unpack_from("!6s6sH", data)
    row["eth_destination"] = row["destination"] = _mac(destination)
    row["eth_source"] = row["source"] = _mac(source)
    start = 14
    while kind in TAGS:  # the innermost is the machines' own
        tag, kind = struct.unpack_from("!HH", data, start)
        row["vlan"], start = tag & 0xFFF, start + 4
    if kind < 1536:  # a length: IEEE 802.2
        is_stp = data[start : start + 2] == b"\x42\x42"
        row["protocol"] = "STP" if is_stp else "LLC"
        if is_stp:
            _stp(data[start + 3 :], row)
        return
    row["eth_type"] = kind
    row["protocol"] = ETHERTYPES.get(kind, "Ethernet")
    local = " (a local experiment, such as link.measure)" if kind == EXPERIMENT else ""
    row["info"] = f"type 0x{kind:04x}{local}"
    layer = {0x0806: _arp, 0x0800: _ipv4, 0x86DD: _ipv6}.get(kind)
    if layer:
        layer(data[start:], row)


def _arp(data: bytes, row: Row) -> None:
    kinds, operation, sender, sender_ip, _, target_ip = struct.unpack_from("!6sH6s4s6s4s", data)
    row["arp_operation"] = operation
    if kinds != b"\x00\x01\x08\x00\x06\x04":
        return
    asks, asked = str(ipaddress.IPv4Address(sender_ip)), str(ipaddress.IPv4Address(target_ip))
    row["arp_sender_ip"], row["arp_target_ip"] = asks, asked
    if operation == 1 and asks == asked:
        row["info"] = f"ARP Announcement for {asked}"
    elif operation == 1 and asks == "0.0.0.0":
        row["info"] = f"Who has {asked}? (ARP Probe)"
    elif operation == 1:
        row["info"] = f"Who has {asked}? Tell {asks}"
    else:
        row["info"] = f"{asks} is at {_mac(sender)}"


def _ipv4(data: bytes, row: Row) -> None:
    first, length, number, fragment, ttl, protocol, source, destination = struct.unpack_from(
        "!BxHHHBBxx4s4s", data
    )
    row["ip_version"] = 4
    row["ip_source"] = row["source"] = str(ipaddress.IPv4Address(source))
    row["ip_destination"] = row["destination"] = str(ipaddress.IPv4Address(destination))
    row["ip_id"], row["ip_ttl"], row["ip_protocol"] = number, ttl, protocol
    header = (first & 15) * 4
    if header < 20:
        row["info"] = "malformed header"
        return
    end = length if header <= length <= len(data) else len(data)
    _transport(data[header:end], row, protocol, offset=fragment & 0x1FFF)


def _ipv6(data: bytes, row: Row) -> None:
    _, length, protocol, ttl, source, destination = struct.unpack_from("!IHBB16s16s", data)
    row["ip_version"] = 6
    row["ip_source"] = row["source"] = str(ipaddress.IPv6Address(source))
    row["ip_destination"] = row["destination"] = str(ipaddress.IPv6Address(destination))
    row["ip_ttl"], body = ttl, data[40 : 40 + length]
    offset = 0
    while protocol in (*IPV6_OPTIONS, IPV6_FRAGMENT) and len(body) >= 8:
        if protocol == IPV6_FRAGMENT:
            offset, size = int.from_bytes(body[2:4], "big") >> 3, 8
        else:
            size = 8 + 8 * body[1]
        protocol, body = body[0], body[size:]
    row["ip_protocol"] = protocol
    _transport(body, row, protocol, offset=offset)


def _transport(data: bytes, row: Row, protocol: int, *, offset: int) -> None:
    row["protocol"] = IP_PROTOCOLS.get(protocol, "IP")
    row["info"] = f"protocol {protocol}"
    if offset:
        row["info"] = f"fragment at byte {8 * offset}"
        return
    layer = {1: _icmp, 4: _inner, 6: _tcp, 17: _udp, 58: _icmpv6, 89: _ospf}.get(protocol)
    if layer:
        layer(data, row)


def _inner(data: bytes, row: Row) -> None:
    _tunnel(_ipv4, data, row, "")


def _tunnel(layer: Callable[[bytes, Row], None], data: bytes, row: Row, name: str) -> None:
    """A packet in a packet: told in the line, as the columns are those of the outer one.

    What is in a third one is not looked at, so that no packet leads us ever deeper.
    """
    if "inside" in row:
        return
    inside: Row = {"inside": True, "protocol": "Ethernet", "info": ""}
    try:
        layer(data, inside)
    except (struct.error, IndexError):
        inside["info"] += " [cut off]"
    way = f"{inside.get('source', '?')} → {inside.get('destination', '?')}"
    row["info"] = f"{name}{inside['protocol']} {way} {inside['info']}".rstrip()


def _ospf(data: bytes, row: Row) -> None:
    row["info"] = payload_texts.ospf(data) or row["info"]


def _stp(data: bytes, row: Row) -> None:
    version, kind = struct.unpack_from("!xxBB", data)
    if kind == 0x80:
        row["info"] = "Topology Change Notification"
        return
    root, cost, bridge, port = struct.unpack_from("!5x8sI8sH", data)
    own = "root" if root == bridge else f"root {_bridge(root)}, cost {cost}"
    name = "RST" if version == 2 else "Conf"
    row["info"] = f"{name} of {_bridge(bridge)}, {own}, port 0x{port:04x}"


def _bridge(number: bytes) -> str:
    return f"{int.from_bytes(number[:2], 'big')}/{_mac(number[2:])}"


def _icmp(data: bytes, row: Row) -> None:
    kind, code, number, sequence = struct.unpack_from("!BBxxHH", data)
    row["icmp_type"], row["icmp_code"] = kind, code
    row["info"] = ICMP_TEXTS.get((kind, code), f"type {kind}, code {code}")
    if kind in (0, 8):
        row["icmp_id"], row["icmp_sequence"] = number, sequence
        row["info"] += f" id={number}, seq={sequence}, ttl={row['ip_ttl']}"


def _icmpv6(data: bytes, row: Row) -> None:
    kind, code = struct.unpack_from("!BBxx", data)
    row["icmp_type"], row["icmp_code"] = kind, code
    row["info"] = ICMP6_TEXTS.get(kind, f"type {kind}, code {code}")
    if kind in (128, 129):
        number, sequence = struct.unpack_from("!HH", data, 4)
        row["icmp_id"], row["icmp_sequence"] = number, sequence
        row["info"] += f" id={number}, seq={sequence}, hop limit={row['ip_ttl']}"
    elif kind in (135, 136):
        (target,) = struct.unpack_from("!16s", data, 8)
        row["info"] += f" {'for' if kind == 135 else 'of'} {ipaddress.IPv6Address(target)}"


def _tcp(data: bytes, row: Row) -> None:
    source, destination, sequence, acknowledged, offset, flags, window = struct.unpack_from(
        "!HHIIBBH", data
    )
    names = [name for bit, name in enumerate(TCP_FLAGS) if flags >> bit & 1]
    payload = max(0, len(data) - (offset >> 4) * 4)
    row.update(
        source_port=source,
        destination_port=destination,
        tcp_sequence=sequence,
        tcp_acknowledged=acknowledged,
        tcp_flags=" ".join(names),
        tcp_window=window,
        payload_length=payload,
    )
    row["info"] = (
        f"{source} → {destination} [{', '.join(names)}] Seq={sequence} Ack={acknowledged} "
        f"Win={window} Len={payload}"
    )
    if payload:
        row["protocol"] = _known(TCP_PORTS, source, destination, "TCP")
        body = data[(offset >> 4) * 4 :]
        texts = {"BGP": payload_texts.bgp, "HTTP": payload_texts.http, "TLS": payload_texts.tls}
        if row["protocol"] in texts:
            row["info"] = texts[row["protocol"]](body) or row["info"]


def _udp(data: bytes, row: Row) -> None:
    source, destination, length = struct.unpack_from("!HHHxx", data)
    body = data[8:]
    row.update(source_port=source, destination_port=destination)
    row["payload_length"] = max(0, length - 8)
    row["protocol"] = _known(UDP_PORTS, source, destination, "UDP")
    row["info"] = f"{source} → {destination} Len={row['payload_length']}"
    more: dict[str, Callable[[bytes, Row], None]] = {
        "DNS": _dns,
        "DHCP": _dhcp,
        "RIP": _rip,
        "VXLAN": _vxlan,
    }
    if row["protocol"] in more:
        more[row["protocol"]](body, row)


def _known(ports: dict[int, str], source: int, destination: int, other: str) -> str:
    return ports.get(destination) or ports.get(source) or other


def _dns(data: bytes, row: Row) -> None:
    row["info"], row["dns_name"] = payload_texts.dns(data)


def _dhcp(data: bytes, row: Row) -> None:
    row["info"] = payload_texts.dhcp(data) or row["info"]


def _rip(data: bytes, row: Row) -> None:
    row["info"] = payload_texts.rip(data)


def _vxlan(data: bytes, row: Row) -> None:
    network, frame = payload_texts.vxlan(data)
    _tunnel(_ethernet, frame, row, f"VNI {network}: ")
