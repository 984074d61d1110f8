"""Captured packets as a table: a plain DataFrame with stable columns, also when it is empty."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from labkit.frames import frame
from labkit.programs.pcap import Packet, packets

PACKETS_COLUMNS = {
    "time": "datetime64[ns, UTC]",
    "link": "string",
    "source": "string",
    "destination": "string",
    "protocol": "string",
    "length": "int64",
    "info": "string",
    "eth_source": "string",
    "eth_destination": "string",
    "eth_type": "Int64",
    "vlan": "Int64",
    "arp_operation": "Int64",
    "arp_sender_ip": "string",
    "arp_target_ip": "string",
    "ip_version": "Int64",
    "ip_source": "string",
    "ip_destination": "string",
    "ip_id": "Int64",
    "ip_ttl": "Int64",
    "ip_protocol": "Int64",
    "icmp_type": "Int64",
    "icmp_code": "Int64",
    "icmp_id": "Int64",
    "icmp_sequence": "Int64",
    "source_port": "Int64",
    "destination_port": "Int64",
    "tcp_sequence": "Int64",
    "tcp_acknowledged": "Int64",
    "tcp_flags": "string",
    "tcp_window": "Int64",
    "payload_length": "Int64",
    "dns_name": "string",
}


def packets_frame(seen: Iterable[tuple[str | None, Packet]]) -> pd.DataFrame:
    """One row per packet, each given with the link it was seen on.

    ``time`` (nanoseconds, UTC, at the switch), ``link``; ``source`` and ``destination`` (IP
    addresses where there are, else MAC addresses), ``protocol`` (the highest that was
    recognised: ``ARP``, ``ICMP``, ``TCP``, ``DNS`` …), ``length`` (bytes on the wire, Ethernet
    header included), ``info`` (a line for people). Then the fields of the headers, missing where
    a packet has no such header: ``eth_*``, ``vlan``, ``arp_*``, ``ip_*`` (IPv4 and IPv6),
    ``icmp_*``, ``source_port`` and ``destination_port`` (TCP and UDP), ``tcp_*`` (sequence
    numbers as sent, ``tcp_flags`` such as ``SYN ACK``), ``payload_length`` (bytes behind the TCP
    or UDP header), ``dns_name`` (what is asked for).
    """
    return frame(({"link": link, **packet.row()} for link, packet in seen), PACKETS_COLUMNS)


def pcap_frame(data: bytes) -> pd.DataFrame:
    """The packets of a pcap file; see `packets_frame`. ``link`` is missing."""
    return packets_frame((None, packet) for packet in packets(data))
