"""``traceroute``, as the modern one for Linux prints it; hops are asked one after the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.system import system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net import wire
from labkit.simulator.net.wire import Address, Icmp, Packet
from labkit.simulator.waiting import Signal

if TYPE_CHECKING:
    from labkit.simulator.guest.system import System

FIRST_PORT = 33434
WAIT_SECONDS = 5.0
PATIENCE = 3  # times as long as the answers of the same hop took
LEAST_WAIT = 0.2
VERSION = (
    "Modern traceroute for Linux, version 2.1.2\n"
    "Copyright (c) 2016  Dmitry Butskoy,   License: GPL v2 or any later\n"
)
MARKS = {wire.NET: " !N", wire.HOST: " !H", wire.PROTOCOL: " !P", wire.TOO_BIG: " !F"}
MARKS6 = {0: " !N", 3: " !H", 1: " !X"}


def traceroute(process: Process) -> int | Steps[int]:
    words = list(process.argv[1:])
    if "--version" in words or "-V" in words:
        process.stderr.write(VERSION.encode())
        return 0
    try:
        options, rest = read(words, "46nIUTdFAe", "qwmfzNpsi")
        if not rest:
            raise BadUsage('Specify "host" missing argument.')
        version = 6 if "6" in options or process.argv[0].endswith("6") else 0
        ip = names.resolve(process.files, rest[0], version)
        if ip is None:
            process.stderr.write(
                f"{rest[0]}: {names.NOT_RESOLVED}\n"
                f'Cannot handle "host" cmdline arg `{rest[0]}\' on position 1 (argc '
                f"{len(process.argv) - 1})\n".encode()
            )
            return 2
        return Trace(process, options, rest[0], ip).run()
    except BadUsage as error:
        process.stderr.write(f"{error}\n".encode())
        return 2


class Trace:
    """One run."""

    def __init__(self, process: Process, options: dict[str, str], target: str, ip: Address) -> None:
        self._process = process
        self._system: System = system_of(process)
        self._target, self._ip = target, ip
        self._numeric = "n" in options
        self._echo = "I" in options
        self._probes = int(number(options.get("q", "3")))
        self._hops = int(number(options.get("m", "30")))
        self._first = int(number(options.get("f", "1")))
        self._wait = number(options.get("w", str(WAIT_SECONDS)).split(",")[0])
        self._arrived = Signal()
        self._inbox: deque[tuple[float, Packet, Icmp, Packet | None]] = deque()
        self._sent = 0

    def run(self) -> Steps[int]:
        size = 60 if self._ip.version == 4 else 80
        self._process.say(
            f"traceroute to {self._target} ({self._ip}), {self._hops} hops max, {size} byte packets"
        )
        if self._system.net.source_for(self._ip) is None:
            self._process.stderr.write(b"connect: Network is unreachable\n")
            return 1
        watchers = self._system.net.control.watchers
        watchers.append(self._watch)
        try:
            for ttl in range(self._first, self._hops + 1):
                if (yield from self._hop(ttl)):
                    break
        finally:
            watchers.remove(self._watch)
        return 0

    def _watch(self, packet: Packet, message: Icmp, quoted: Packet | None) -> None:
        self._inbox.append((self._system.guest.now(), packet, message, quoted))
        self._arrived.fire()

    def _hop(self, ttl: int) -> Steps[bool]:
        """One line; whether it is the last."""
        line, last, is_over = f"{ttl:2}", None, False
        wait = self._wait
        for _ in range(self._probes):
            began = self._system.guest.now()
            identity = self._send(ttl)
            answer = yield from self._answer(identity, wait)
            if answer is None:
                line += "  *" if last is None and line[2:] == "" else " *"
                continue
            when, packet, message = answer
            if packet.source != last:
                line += f"  {self._name(packet.source)}"
                last = packet.source
            seconds = when - began
            wait = min(self._wait, max(LEAST_WAIT, PATIENCE * seconds))
            line += f"  {seconds * 1000:.3f} ms{self._mark(message)}"
            is_over |= self._is_last(packet, message)
        self._process.say(line)
        return is_over

    def _send(self, ttl: int) -> int:
        net = self._system.net
        source = net.source_for(self._ip)
        self._sent += 1
        if source is None:
            return 0
        data = bytes(0x40 + index for index in range(32))
        if self._echo:
            kind = wire.ECHO_REQUEST if self._ip.version == 4 else wire.ECHO_REQUEST6
            message = Icmp.echo(kind, self._process.pid & 0xFFFF, self._sent, data)
            net.send(message.packet(source, self._ip, ttl))
            return self._sent
        port = FIRST_PORT + self._sent - 1
        datagram = wire.Datagram(40000 + self._process.pid % 20000, port, data)
        net.send(datagram.packet(source, self._ip, ttl))
        return port

    def _answer(self, identity: int, wait: float) -> Steps[tuple[float, Packet, Icmp] | None]:
        deadline = self._system.guest.now() + wait
        while True:
            while self._inbox:
                when, packet, message, quoted = self._inbox.popleft()
                if self._is_ours(message, quoted, identity):
                    return when, packet, message
            left = deadline - self._system.guest.now()
            if left <= 0:
                return None
            yield Wait(left, signal=self._arrived)

    def _is_ours(self, message: Icmp, quoted: Packet | None, identity: int) -> bool:
        if quoted is None:
            kinds = (wire.ECHO_REPLY, wire.ECHO_REPLY6)
            ident = self._process.pid & 0xFFFF
            return (
                self._echo
                and message.type in kinds
                and ((message.ident, message.sequence) == (ident, identity))
            )
        at = 6 if self._echo else 2
        return (
            quoted.destination == self._ip
            and int.from_bytes(quoted.payload[at : at + 2], "big") == identity
        )

    def _is_last(self, packet: Packet, message: Icmp) -> bool:
        exceeded = wire.TIME_EXCEEDED if packet.version == 4 else wire.TIME_EXCEEDED6
        return message.type != exceeded

    def _mark(self, message: Icmp) -> str:
        if self._ip.version == 4 and message.type == wire.UNREACHABLE:
            return MARKS.get(message.code, "")
        if self._ip.version == 6 and message.type == wire.UNREACHABLE6:
            return MARKS6.get(message.code, "")
        return ""

    def _name(self, ip: Address) -> str:
        if self._numeric:
            return str(ip)
        return f"{names.name_of(self._process.files, ip)} ({ip})"
