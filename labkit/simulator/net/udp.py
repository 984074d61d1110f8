"""UDP sockets of a simulated guest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.simulator.net import wire
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Address, Datagram, Icmp, Packet
from labkit.simulator.waiting import Signal

if TYPE_CHECKING:
    from labkit.simulator.net.stack import Stack

FIRST_PORT = 32768
MAX_WAITING = 256


class UdpSocket:
    """Datagrams in `received` as (address, port, data); `changed` tells of them and of errors."""

    def __init__(self, udp: Udp, port: int) -> None:
        self.port = port
        self.received: deque[tuple[Address, int, bytes]] = deque()
        self.error = ""
        self.changed = Signal()
        self._udp = udp

    def send(
        self,
        to: Address,
        port: int,
        data: bytes,
        *,
        ttl: int = 64,
        interface: Interface | None = None,
    ) -> bool:
        """False when there is no way there."""
        return self._udp.send(self.port, to, port, data, ttl, interface)

    def close(self) -> None:
        self._udp.close(self)


class Udp:
    """The sockets by port; what comes for none is told to its sender."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._sockets: dict[int, UdpSocket] = {}
        self.hooks: dict[int, Callable[[Interface, Packet, Datagram], None]] = {}

    def open(self, port: int = 0) -> UdpSocket | None:
        """A socket on a port, or on any; None when the port is taken."""
        if not port:
            port = next(
                number
                for number in range(FIRST_PORT + self._stack.random.randrange(20000), 65536)
                if number not in self._sockets
            )
        if port in self._sockets:
            return None
        socket = self._sockets[port] = UdpSocket(self, port)
        return socket

    def ports(self) -> list[int]:
        return sorted(self._sockets)

    def close(self, socket: UdpSocket) -> None:
        self._sockets.pop(socket.port, None)

    def send(
        self,
        source_port: int,
        to: Address,
        port: int,
        data: bytes,
        ttl: int,
        interface: Interface | None,
    ) -> bool:
        source = self._stack.source_for(to, interface)
        if source is None:
            return False
        packet = Datagram(source_port, port, data).packet(source, to, ttl)
        return self._stack.send(packet, interface)

    def receive(self, interface: Interface, packet: Packet) -> None:
        datagram = Datagram.decode(packet.payload)
        hook = self.hooks.get(datagram.destination_port)
        if hook is not None:
            hook(interface, packet, datagram)
            return
        socket = self._sockets.get(datagram.destination_port)
        if socket is None:
            if not self._stack.is_for_all(packet.destination):
                self._stack.control.complain(packet, wire.UNREACHABLE, wire.PORT)
            return
        if len(socket.received) < MAX_WAITING:
            socket.received.append((packet.source, datagram.source_port, datagram.data))
            socket.changed.fire()

    def failed(self, quoted: Packet, message: Icmp) -> None:
        """An error came for a datagram of ours."""
        if quoted.protocol != wire.UDP or len(quoted.payload) < 4:
            return
        socket = self._sockets.get(int.from_bytes(quoted.payload[:2], "big"))
        if socket is not None and message.type in (wire.UNREACHABLE, wire.UNREACHABLE6):
            socket.error = "Connection refused"
            socket.changed.fire()
