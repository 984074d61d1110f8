"""A frame as the line that ``tcpdump`` prints for it."""

from __future__ import annotations

from ipaddress import IPv6Address

from labkit.simulator.net import wire
from labkit.simulator.net.wire import Arp, Datagram, Icmp, Packet, Segment

KINDS = {wire.ARP: "ARP (0x0806)", wire.IPV4: "IPv4 (0x0800)", wire.IPV6: "IPv6 (0x86dd)"}
UNREACHABLE = {
    wire.NET: "net {} unreachable",
    wire.HOST: "host {} unreachable",
    wire.PROTOCOL: "{} protocol unreachable",
}
ICMP6 = {
    wire.ECHO_REQUEST6: "echo request",
    wire.ECHO_REPLY6: "echo reply",
    wire.SOLICIT_ROUTER6: "router solicitation",
}


def line_of(frame: bytes, *, with_macs: bool = False) -> str:
    """Without the time in front."""
    kind = int.from_bytes(frame[12:14], "big")
    text = _payload(kind, frame[14:])
    if not with_macs:
        return text
    to = "Broadcast" if frame[:6] == wire.BROADCAST else wire.mac_text(frame[:6])
    what = KINDS.get(kind, f"Unknown (0x{kind:04x})")
    start = f"{wire.mac_text(frame[6:12])} > {to}, ethertype {what}, length {len(frame)}: "
    return start + text.removeprefix("IP ").removeprefix("IP6 ").removeprefix("ARP, ")


def _payload(kind: int, data: bytes) -> str:
    try:
        if kind == wire.ARP:
            return _arp(Arp.decode(data), len(data))
        if kind in (wire.IPV4, wire.IPV6):
            return _packet(Packet.decode(data))
    except wire.Malformed:
        return "[malformed]"
    return f"ethertype 0x{kind:04x}, length {len(data)}"


def _arp(arp: Arp, size: int) -> str:
    if arp.operation == wire.ARP_REQUEST:
        return f"ARP, Request who-has {arp.target} tell {arp.sender}, length {size}"
    return f"ARP, Reply {arp.sender} is-at {wire.mac_text(arp.sender_mac)}, length {size}"


def _packet(packet: Packet) -> str:
    start = "IP" if packet.version == 4 else "IP6"
    ends = f"{packet.source} > {packet.destination}"
    if packet.offset:
        return f"{start} {ends}: {_protocol(packet)}"
    if packet.protocol == wire.TCP:
        return f"{start} {_tcp(packet)}"
    if packet.protocol == wire.UDP:
        datagram = Datagram.decode(packet.payload)
        ends = f"{packet.source}.{datagram.source_port} > "
        ends += f"{packet.destination}.{datagram.destination_port}"
        return f"{start} {ends}: UDP, length {len(datagram.data)}"
    if packet.protocol == wire.ICMP:
        return f"{start} {ends}: ICMP {_icmp(packet)}, length {len(packet.payload)}"
    if packet.protocol == wire.ICMP6:
        return f"{start} {ends}: ICMP6, {_icmp6(packet)}, length {len(packet.payload)}"
    return f"{start} {ends}: {_protocol(packet)}"


def _protocol(packet: Packet) -> str:
    names = {wire.ICMP: "icmp", wire.TCP: "tcp", wire.UDP: "udp"}
    return names.get(packet.protocol, f"ip-proto-{packet.protocol} {len(packet.payload)}")


def _icmp(packet: Packet) -> str:
    message = Icmp.decode(packet.payload)
    if message.type in (wire.ECHO_REQUEST, wire.ECHO_REPLY):
        what = "request" if message.type == wire.ECHO_REQUEST else "reply"
        return f"echo {what}, id {message.ident}, seq {message.sequence}"
    if message.type == wire.TIME_EXCEEDED:
        return "time exceeded in-transit"
    quoted = Packet.decode(message.body)
    if message.code == wire.PORT:
        port = int.from_bytes(quoted.payload[2:4], "big")
        protocol = "tcp" if quoted.protocol == wire.TCP else "udp"
        return f"{quoted.destination} {protocol} port {port} unreachable"
    if message.code == wire.TOO_BIG:
        mtu = int.from_bytes(message.rest[2:], "big")
        return f"{quoted.destination} unreachable - need to frag (mtu {mtu})"
    return UNREACHABLE.get(message.code, "{} unreachable").format(quoted.destination)


def _icmp6(packet: Packet) -> str:
    message = Icmp.decode(packet.payload)
    if message.type in (wire.ECHO_REQUEST6, wire.ECHO_REPLY6):
        return f"{ICMP6[message.type]}, id {message.ident}, seq {message.sequence}"
    if message.type in (wire.SOLICIT6, wire.ADVERTISE6):
        target = IPv6Address(message.body[:16])
        if message.type == wire.SOLICIT6:
            return f"neighbor solicitation, who has {target}"
        return f"neighbor advertisement, tgt is {target}"
    if message.type == wire.TIME_EXCEEDED6:
        return "time exceeded in-transit"
    return ICMP6.get(message.type, f"type-#{message.type}")


def _tcp(packet: Packet) -> str:
    segment = Segment.decode(packet.payload)
    letters = "".join(
        letter
        for bit, letter in (
            (wire.SYN, "S"),
            (wire.FIN, "F"),
            (wire.RST, "R"),
            (wire.PSH, "P"),
            (wire.ACK, "."),
        )
        if segment.flags & bit
    )
    words = f"{packet.source}.{segment.source_port} > "
    words += f"{packet.destination}.{segment.destination_port}: Flags [{letters}]"
    if segment.length or segment.flags & (wire.SYN | wire.RST):
        end = f":{segment.sequence + len(segment.data)}" if segment.data else ""
        words += f", seq {segment.sequence}{end}"
    if segment.flags & wire.ACK:
        words += f", ack {segment.acknowledged}"
    words += f", win {segment.window}"
    if segment.mss:
        words += f", options [mss {segment.mss}]"
    return f"{words}, length {len(segment.data)}"
