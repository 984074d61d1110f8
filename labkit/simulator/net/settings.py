"""The network settings of a simulated guest that sysctl shows and changes."""

from __future__ import annotations

DEFAULTS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ip_default_ttl": "64",
    "net.ipv4.icmp_echo_ignore_all": "0",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.conf.all.forwarding": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.forwarding": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "0",
    "net.ipv6.conf.default.forwarding": "0",
}
TWINS = {
    "net.ipv4.ip_forward": "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.all.forwarding": "net.ipv4.ip_forward",
}
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class NetworkSettings:
    """Names and values; those that are one setting in the kernel change together."""

    def __init__(self) -> None:
        self.values = dict(DEFAULTS)

    def set(self, name: str, value: str) -> None:
        self.values[name] = value
        if name in TWINS:
            self.values[TWINS[name]] = value

    def is_on(self, name: str) -> bool:
        return self.values[name] != "0"

    def forwards(self, version: int) -> bool:
        return self.is_on(FORWARDING[version])

    @property
    def ttl(self) -> int:
        text = self.values["net.ipv4.ip_default_ttl"]
        return int(text) if text.isdigit() else 64
