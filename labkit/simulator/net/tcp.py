"""TCP of a simulated guest: listeners, connections by their ends, resets for what is nobody's."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from labkit.simulator.net import wire
from labkit.simulator.net.tcp_connection import Connection
from labkit.simulator.net.wire import Address, Icmp, Packet, Segment
from labkit.simulator.waiting import Signal

if TYPE_CHECKING:
    from labkit.simulator.net.stack import Stack

FIRST_PORT = 32768
Key = tuple[Address, int, Address, int]  # ours, theirs


class Listener:
    """A port that is listened on; connections that are made wait in `accepted`."""

    def __init__(self, tcp: Tcp, port: int) -> None:
        self.port = port
        self.accepted: deque[Connection] = deque()
        self.changed = Signal()
        self._tcp = tcp

    def close(self) -> None:
        self._tcp.listeners.pop(self.port, None)


class Tcp:
    """All connections and listeners."""

    def __init__(self, stack: Stack) -> None:
        self.listeners: dict[int, Listener] = {}
        self.connections: dict[Key, Connection] = {}
        self._stack = stack

    def listen(self, port: int) -> Listener | None:
        """None when the port is taken."""
        if port in self.listeners:
            return None
        listener = self.listeners[port] = Listener(self, port)
        return listener

    def connect(self, to: Address, port: int, source_port: int = 0) -> Connection | None:
        """Begin to connect; None when there is no way there."""
        source = self._stack.source_for(to)
        if source is None:
            return None
        if not source_port:
            used = {key[1] for key in self.connections}
            first = FIRST_PORT + self._stack.random.randrange(20000)
            source_port = next(number for number in range(first, 65536) if number not in used)
        connection = self._make((source, source_port, to, port))
        connection.open()
        return connection

    def receive(self, packet: Packet) -> None:
        segment = Segment.decode(packet.payload)
        key = (packet.destination, segment.destination_port, packet.source, segment.source_port)
        connection = self.connections.get(key)
        if connection is not None:
            connection.receive(segment)
            return
        listener = self.listeners.get(segment.destination_port)
        if listener is not None and segment.flags & (wire.SYN | wire.ACK | wire.RST) == wire.SYN:
            self._make(key, listener).accept(segment)
        elif not segment.flags & wire.RST:
            self._reset(packet, segment)

    def _make(self, key: Key, listener: Listener | None = None) -> Connection:
        ours, our_port, theirs, their_port = key

        def transmit(segment: Segment) -> None:
            packet = segment.packet(ours, theirs, self._stack.settings.ttl)
            self._stack.send(packet)

        def is_over() -> None:
            self.connections.pop(key, None)

        def is_made(connection: Connection) -> None:
            if listener is not None:
                listener.accepted.append(connection)
                listener.changed.fire()

        ports, random = (our_port, their_port), self._stack.random
        connection = Connection(
            ports,
            (ours, theirs),
            self._stack.times,
            transmit,
            is_made,
            is_over,
            random.randrange(1 << 32),
        )
        self.connections[key] = connection
        return connection

    def _reset(self, packet: Packet, segment: Segment) -> None:
        """Nobody has such a connection here."""
        ack = segment.sequence + segment.length
        has_ack = bool(segment.flags & wire.ACK)
        answer = Segment(
            segment.destination_port,
            segment.source_port,
            segment.acknowledged if has_ack else 0,
            0 if has_ack else ack,
            wire.RST if has_ack else wire.RST | wire.ACK,
            0,
        )
        self._stack.send(answer.packet(packet.destination, packet.source, self._stack.settings.ttl))

    def failed(self, quoted: Packet, message: Icmp) -> None:
        """An error came for a segment of ours: it ends a connection that is being made."""
        if quoted.protocol != wire.TCP or len(quoted.payload) < 4:
            return
        ports = [int.from_bytes(quoted.payload[at : at + 2], "big") for at in (0, 2)]
        key = (quoted.source, ports[0], quoted.destination, ports[1])
        connection = self.connections.get(key)
        if connection is None or message.type not in (wire.UNREACHABLE, wire.UNREACHABLE6):
            return
        is_net = quoted.version == 4 and message.code == wire.NET
        connection.fail("Network is unreachable" if is_net else "No route to host")
