"""ICMP and ICMPv6: echoes, and errors to and from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.simulator.net import wire
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Icmp, Packet

if TYPE_CHECKING:
    from labkit.simulator.net.stack import Stack

ERRORS4 = (wire.UNREACHABLE, 4, 5, wire.TIME_EXCEEDED, 12)
QUOTED = {4: 548, 6: 1232}  # bytes of the packet that an error is about
CODES6 = {wire.NET: 0, wire.HOST: 3, wire.PROTOCOL: 1, wire.PORT: 4}
NEIGHBOUR = (wire.SOLICIT6, wire.ADVERTISE6)

# the packet that brought it, the message, and the packet of ours that an error is about
Watcher = Callable[[Packet, Icmp, Packet | None], None]


class Control:
    """Answers echoes, sends errors, and tells `watchers` of what comes for us."""

    def __init__(self, stack: Stack) -> None:
        self.watchers: list[Watcher] = []
        self._stack = stack

    def receive(self, interface: Interface, packet: Packet) -> None:
        message = Icmp.decode(packet.payload)
        is_six = packet.version == 6
        if is_six and message.type in NEIGHBOUR:
            self._stack.resolution.neighbour_message(interface, packet, message)
            return
        if message.type == (wire.ECHO_REQUEST6 if is_six else wire.ECHO_REQUEST):
            self._answer(interface, packet, message)
            return
        self._tell(packet, message)

    def _answer(self, interface: Interface, packet: Packet, message: Icmp) -> None:
        settings, to_all = self._stack.settings, self._stack.is_for_all(packet.destination)
        if packet.version == 4 and (
            settings.is_on("net.ipv4.icmp_echo_ignore_all")
            or (to_all and settings.is_on("net.ipv4.icmp_echo_ignore_broadcasts"))
        ):
            return
        kind = wire.ECHO_REPLY if packet.version == 4 else wire.ECHO_REPLY6
        source = packet.destination
        if to_all:
            own = self._stack.source_for(packet.source, interface)
            if own is None:
                return
            source = own
        reply = Icmp(kind, 0, message.rest, message.body)
        answer = reply.packet(source, packet.source, settings.ttl)
        self._stack.send(answer, interface if packet.source.is_link_local else None)

    def _tell(self, packet: Packet, message: Icmp) -> None:
        quoted: Packet | None = None
        if self._is_error(packet.version, message.type):
            try:
                quoted = Packet.decode(message.body)
            except wire.Malformed:
                return
            self._stack.udp.failed(quoted, message)
            self._stack.tcp.failed(quoted, message)
        for watcher in list(self.watchers):
            watcher(packet, message, quoted)

    @staticmethod
    def _is_error(version: int, kind: int) -> bool:
        return kind in ERRORS4 if version == 4 else kind < 128

    # ---- errors of ours

    def complain(
        self, packet: Packet, kind: int, code: int, interface: Interface | None = None
    ) -> None:
        """Tell the sender what became of a packet, unless that is not done."""
        self._send_error(packet, kind, code, bytes(4), interface)

    def too_big(self, packet: Packet, mtu: int) -> None:
        rest = b"\0\0" + mtu.to_bytes(2, "big")
        if packet.version == 6:
            rest = mtu.to_bytes(4, "big")
        self._send_error(packet, wire.UNREACHABLE, wire.TOO_BIG, rest, None)

    def _send_error(
        self, packet: Packet, kind: int, code: int, rest: bytes, interface: Interface | None
    ) -> None:
        is_error = packet.protocol in (wire.ICMP, wire.ICMP6) and self._is_error(
            packet.version, packet.payload[0] if packet.payload else 0
        )
        if is_error or packet.offset or packet.destination.is_multicast:
            return
        if packet.version == 6:
            kind, code = _six(kind, code)
        stack = self._stack
        is_ours = stack.is_own(packet.source)
        source = packet.source if is_ours else stack.source_for(packet.source, interface)
        if not is_ours and stack.is_own(packet.destination):
            source = packet.destination
        source = source or stack.source_for(packet.source)
        if source is None:
            return
        error = Icmp(kind, code, rest, packet.encode()[: QUOTED[packet.version]])
        answer = error.packet(source, packet.source, stack.settings.ttl)
        if is_ours:  # no packet: the kernel tells the program
            self._tell(answer, error)
        else:
            stack.send(answer)


def _six(kind: int, code: int) -> tuple[int, int]:
    """An error of ICMP as ICMPv6 has it."""
    if kind == wire.TIME_EXCEEDED:
        return wire.TIME_EXCEEDED6, 0
    if code == wire.TOO_BIG:
        return wire.TOO_BIG6, 0
    return wire.UNREACHABLE6, CODES6[code]
