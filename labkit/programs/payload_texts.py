"""What the payload of a packet says, in a line for people; empty where it is not understood.

Each function may be given any bytes; what is cut off raises `struct.error` or `IndexError`, which
`labkit.programs.frame_headers` turns into a remark.
"""

from __future__ import annotations

import ipaddress
import struct

DNS_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
DNS_STATUS = {1: "format error", 2: "server failure", 3: "no such name", 5: "refused"}
DHCP_TEXTS = {1: "Discover", 2: "Offer", 3: "Request", 4: "Decline", 5: "ACK", 6: "NAK"}
DHCP_TEXTS |= {7: "Release", 8: "Inform"}
DHCP_COOKIE = b"\x63\x82\x53\x63"
OSPF_TEXTS = {1: "Hello Packet", 2: "DB Description", 3: "LS Request", 4: "LS Update"}
OSPF_TEXTS |= {5: "LS Acknowledge"}
RIP_TEXTS = {1: "Request", 2: "Response"}
BGP_TEXTS = {1: "OPEN", 2: "UPDATE", 3: "NOTIFICATION", 4: "KEEPALIVE", 5: "ROUTE-REFRESH"}
TLS_TEXTS = {1: "Client Hello", 2: "Server Hello", 11: "Certificate"}
MAX_LABELS = 40  # of a DNS name; pointers may go in circles
MAX_LINE = 80


def dns(data: bytes) -> tuple[str, str]:
    """The line of a DNS message, and the name it asks for."""
    number, flags, questions, answers = struct.unpack_from("!HHHH", data)
    name, end = _dns_name(data, 12) if questions else (".", 12)
    asked = ""
    if questions:
        (kind,) = struct.unpack_from("!H", data, end)
        asked = f" {_dns_type(kind)} {name}"
        end += 4
    if not flags & 0x8000:
        return f"Standard query 0x{number:04x}{asked}", name
    line = f"Standard query response 0x{number:04x}"
    status = flags & 15
    if status:
        line += f" {DNS_STATUS.get(status, f'status {status}')}"
    return f"{line}{asked}{_dns_answers(data, end, answers)}", name


def _dns_answers(data: bytes, at: int, count: int) -> str:
    """The answers as far as they are there."""
    text = ""
    try:
        for _ in range(min(count, 8)):
            _, at = _dns_name(data, at)
            kind, size = struct.unpack_from("!H6xH", data, at)
            at += 10
            text += f" {_dns_type(kind)}"
            value = data[at : at + size]
            if (kind, len(value)) in ((1, 4), (28, 16)):
                text += f" {ipaddress.ip_address(value)}"
            elif kind in (2, 5, 12):
                text += f" {_dns_name(data, at)[0]}"
            at += size
    except (struct.error, IndexError):
        text += " [cut off]"
    return text


def _dns_type(kind: int) -> str:
    return DNS_TYPES.get(kind, f"type {kind}")


def _dns_name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where it ends; a pointer leads back to an earlier one."""
    labels: list[str] = []
    end = 0
    for _ in range(MAX_LABELS):
        size = data[at]
        if size >= 192:
            end = end or at + 2
            at = (size & 63) << 8 | data[at + 1]
        elif size:
            labels.append(data[at + 1 : at + 1 + size].decode("ascii", "replace"))
            at += 1 + size
        else:
            break
    return ".".join(labels) or ".", end or at + 1


def dhcp(data: bytes) -> str:
    if data[236:240] != DHCP_COOKIE:
        return ""
    address, position = ipaddress.IPv4Address(data[16:20]), 240
    while position + 2 < len(data) and data[position] != 255:
        if data[position] == 53:
            kind = DHCP_TEXTS.get(data[position + 2], f"type {data[position + 2]}")
            return f"DHCP {kind}" + (f" {address}" if int(address) else "")
        position += 1 if data[position] == 0 else 2 + data[position + 1]
    return ""


def ospf(data: bytes) -> str:
    """Version 2, which speaks IPv4, and version 3."""
    version, kind, router, area = struct.unpack_from("!BBxx4s4s", data)
    if version not in (2, 3):
        return ""
    text = OSPF_TEXTS.get(kind, f"type {kind}")
    return f"{text}, router {ipaddress.IPv4Address(router)}, area {ipaddress.IPv4Address(area)}"


def rip(data: bytes) -> str:
    command, version = struct.unpack_from("!BB", data)
    routes = (len(data) - 4) // 20
    text = RIP_TEXTS.get(command, f"command {command}")
    return f"RIPv{version} {text}, {routes} route{'s' * (routes != 1)}"


def bgp(data: bytes) -> str:
    """Only where a message begins."""
    if data[:16] != b"\xff" * 16:
        return ""
    kinds: list[str] = []
    while len(data) >= 19 and len(kinds) < 8:
        size, kind = struct.unpack_from("!HB", data, 16)
        kinds.append(BGP_TEXTS.get(kind, f"type {kind}"))
        data = data[max(19, size) :]
    return f"{', '.join(kinds)} message{'s' * (len(kinds) != 1)}"


def http(data: bytes) -> str:
    """The first line of a request or an answer."""
    line = data[:MAX_LINE].split(b"\r\n", 1)[0].decode("ascii", "replace")
    return line if "HTTP/" in line and line.isprintable() else ""


def tls(data: bytes) -> str:
    kind, version, _, message = struct.unpack_from("!BHHB", data)
    if kind == 22 and version >> 8 == 3:
        return TLS_TEXTS.get(message, "Handshake")
    return "Application Data" if kind == 23 else ""


def vxlan(data: bytes) -> tuple[int, bytes]:
    """The network's number, and the frame inside."""
    (number,) = struct.unpack_from("!I", data, 4)
    return number >> 8, data[8:]
