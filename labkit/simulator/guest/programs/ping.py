"""``ping``, as iputils has it: what it prints, when it ends, and with which status."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net import wire
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.wire import Address, Icmp, Packet
from labkit.simulator.waiting import Signal

FLAGS, VALUED = "46AaBbDdfhLnOqRrUvV", "cIiFlMmNpQSsTtWw"
VERSION = (
    "ping from iputils 20221126",
    "libcap: yes, IDN: yes, NLS: no, error.h: yes, getrandom(): yes, __fpending(): yes",
)
LINGER_SECONDS = 10.0
TIMESTAMP = 16  # bytes of the data that hold when it was sent
FLOOD_SECONDS = 0.01
UNREACHABLE = {
    wire.NET: "Destination Net Unreachable",
    wire.HOST: "Destination Host Unreachable",
    wire.PROTOCOL: "Destination Protocol Unreachable",
    wire.PORT: "Destination Port Unreachable",
    wire.TOO_BIG: "Frag needed and DF set",
}
UNREACHABLE6 = {
    0: "Destination unreachable: No route",
    3: "Destination unreachable: Address unreachable",
    4: "Destination unreachable: Port unreachable",
}


@dataclass(slots=True)
class Wish:
    """What is to be pinged, and how."""

    target: str
    ip: Address
    count: int = 0
    interval: float = 1.0
    linger: float = LINGER_SECONDS
    deadline: float = 0.0
    size: int = 56
    ttl: int = 64
    quiet: bool = False
    numeric: bool = False
    stamped: bool = False
    flood: bool = False
    whole: bool = False  # must not be fragmented
    interface: Interface | None = None
    source: Address | None = None


@dataclass(slots=True)
class Counts:
    """What came of it so far."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    errors: int = 0
    began: float = 0.0
    last_sent: float = 0.0
    times: list[float] = field(default_factory=list)  # milliseconds


def ping(process: Process) -> int | Steps[int]:
    words = list(process.argv[1:])
    try:
        options, rest = read(words, FLAGS, VALUED)
        if "V" in options:
            process.say(*VERSION)
            return 0
        if len(rest) != 1:
            return process.fail("usage error: Destination address required")
        wish = _wish(system_of(process), options, rest[0], process.argv[0])
    except BadUsage as error:
        return process.fail(str(error))
    except LookupError as error:
        return process.fail(str(error.args[0]), 2)
    return Ping(process, wish).run()


def _wish(system: System, options: dict[str, str], target: str, program: str) -> Wish:
    version = 6 if "6" in options or program.endswith("ping6") else 4 if "4" in options else 0
    ip = names.resolve(system.files, target, version)
    if ip is None:
        other = version and names.resolve(system.files, target)
        why = "Address family for hostname not supported" if other else names.NOT_RESOLVED
        raise LookupError(f"{target}: {why}")
    wish = Wish(target, ip)
    wish.ttl = int(number(options.get("t", str(system.net.settings.ttl)), "argument"))
    wish.count = int(number(options.get("c", "0"), "argument"))
    if "c" in options and wish.count < 1:
        raise BadUsage(f"invalid argument: '{options['c']}': out of range: 1 <= value <= 1000000")
    wish.flood = "f" in options
    default = FLOOD_SECONDS if wish.flood else 1.0
    wish.interval = number(options.get("i", str(default)), "argument")
    wish.linger = number(options.get("W", str(LINGER_SECONDS)), "argument")
    wish.deadline = number(options.get("w", "0"), "argument")
    wish.size = int(number(options.get("s", "56"), "argument"))
    wish.quiet, wish.numeric = "q" in options, "n" in options
    wish.stamped, wish.whole = "D" in options, options.get("M") == "do"
    scope = target.partition("%")[2] or options.get("I", "")
    _choose_source(system, wish, scope)
    return wish


def _choose_source(system: System, wish: Wish, text: str) -> None:
    """``-I``: an interface or an address of ours."""
    if text:
        wish.interface = system.net.interface(text)
        if wish.interface is None:
            ip = names.numeric(text)
            if ip is None:
                raise LookupError(f"SO_BINDTODEVICE {text}: No such device")
            if not system.net.is_own(ip):
                raise LookupError("bind: Cannot assign requested address")
            wish.source = ip
    if wish.source is None:
        wish.source = system.net.source_for(wish.ip, wish.interface)
    if wish.source is None and wish.interface is not None and wish.ip.is_link_local:
        wish.source = wish.interface.link_local.ip
    if wish.source is None:
        raise LookupError("connect: Network is unreachable")


class Ping:
    """One run."""

    def __init__(self, process: Process, wish: Wish) -> None:
        self._process = process
        self._system = system_of(process)
        self._wish = wish
        self._counts = Counts()
        self._sent_at: dict[int, float] = {}
        self._answered: set[int] = set()
        self._inbox: deque[tuple[float, Packet, Icmp, Packet | None]] = deque()
        self._arrived = Signal()
        self._ident = process.pid & 0xFFFF
        version = wish.ip.version
        self._request = wire.ECHO_REQUEST if version == 4 else wire.ECHO_REQUEST6
        self._reply = wire.ECHO_REPLY if version == 4 else wire.ECHO_REPLY6

    def run(self) -> Steps[int]:
        watchers = self._system.net.control.watchers
        watchers.append(self._watch)
        try:
            if self._system.net.is_for_all(self._wish.ip) and not self._wish.ip.is_multicast:
                self._process.stderr.write(b"WARNING: pinging broadcast address\n")
            self._say(self._head())
            yield from self._exchange()
        finally:
            watchers.remove(self._watch)
        self._sum_up()
        counts, wish = self._counts, self._wish
        is_short = bool(wish.deadline and wish.count and counts.received < wish.count)
        return int(not counts.received or is_short)

    def _now(self) -> float:
        return self._system.guest.now()

    def _say(self, line: str) -> None:
        self._process.say(line)

    def _head(self) -> str:
        wish, size = self._wish, self._wish.size
        source = ""
        if wish.interface is not None and not wish.target.partition("%")[1]:
            source = f" from {wish.source} {wish.interface.name}:"
        elif wish.interface is None and wish.source is not None and self._is_bound():
            source = f" from {wish.source} :"
        if wish.ip.version == 6:
            shown = wish.target if names.numeric(wish.target) else str(wish.ip)
            return f"PING {wish.target}({shown}){source} {size} data bytes"
        return f"PING {wish.target} ({wish.ip}){source} {size}({size + 28}) bytes of data."

    def _is_bound(self) -> bool:
        return "-I" in self._process.argv

    def _watch(self, packet: Packet, message: Icmp, quoted: Packet | None) -> None:
        if quoted is not None:
            is_ours = quoted.payload[:1] == bytes((self._request,)) and (
                int.from_bytes(quoted.payload[4:6], "big") == self._ident
            )
        else:
            is_ours = message.type == self._reply and message.ident == self._ident
        if is_ours:
            self._inbox.append((self._now(), packet, message, quoted))
            self._arrived.fire()

    # ---- the exchange

    def _exchange(self) -> Steps[None]:
        wish, counts = self._wish, self._counts
        counts.began = self._now()
        end = counts.began + wish.deadline if wish.deadline else math.inf
        while not wish.count or counts.sent < wish.count or wish.deadline:
            if not self._send():
                return
            if (yield from self._listen(min(self._now() + wish.interval, end))):
                return
            if self._now() >= end:
                return
            if wish.count and counts.sent >= wish.count and not wish.deadline:
                break
        rest = counts.last_sent + self._linger() - self._now()
        yield from self._listen(self._now() + max(0.0, rest))

    def _linger(self) -> float:
        """How long to wait for answers to the last one."""
        if not self._counts.received:
            return self._wish.linger
        return max(2 * max(self._counts.times) / 1000, self._wish.interval)

    def _send(self) -> bool:
        wish, counts = self._wish, self._counts
        number = counts.sent + 1
        body = bytes(index & 255 for index in range(wish.size))
        stamp = self._system.guest.nanoseconds // 1000
        head = (stamp // 10**6).to_bytes(8, "little") + (stamp % 10**6).to_bytes(8, "little")
        if wish.size >= TIMESTAMP:
            body = head + body[TIMESTAMP:]
        assert wish.source is not None
        message = Icmp.echo(self._request, self._ident, number, body)
        packet = message.packet(wish.source, wish.ip, wish.ttl)
        counts.sent = number
        counts.last_sent = self._sent_at[number] = self._now()
        if wish.whole and packet.size > self._mtu():
            counts.errors += 1
            self._process.stderr.write(
                f"ping: local error: message too long, mtu={self._mtu()}\n".encode()
            )
            return True
        if wish.flood and not wish.quiet:
            self._process.stdout.write(b".")
        if not self._system.net.send(packet, wish.interface):
            counts.errors += 1
            self._process.stderr.write(b"ping: sendmsg: Network is unreachable\n")
        return True

    def _mtu(self) -> int:
        found = self._system.net.routes.lookup(self._wish.ip)
        return found.interface.mtu if found is not None and found.interface else 65536

    def _listen(self, until: float) -> Steps[bool]:
        """Take what comes until then; whether all has come."""
        while True:
            while self._inbox:
                self._take(*self._inbox.popleft())
            counts, wish = self._counts, self._wish
            if wish.count and counts.received + counts.errors >= wish.count:
                return True
            left = until - self._now()
            if left <= 0:
                return False
            yield Wait(left, signal=self._arrived)

    def _take(self, when: float, packet: Packet, message: Icmp, quoted: Packet | None) -> None:
        wish, counts = self._wish, self._counts
        if quoted is not None:
            counts.errors += 1
            sequence = int.from_bytes(quoted.payload[6:8], "big")
            if wish.flood:
                self._process.stdout.write(b"\bE")
            elif not wish.quiet:
                self._say(self._stamp() + self._error(packet, message, sequence))
            return
        sequence = message.sequence
        sent = self._sent_at.get(sequence)
        if sent is None:
            return
        is_again = sequence in self._answered
        self._answered.add(sequence)
        milliseconds = round((when - sent) * 1e6) / 1000
        counts.times.append(milliseconds)
        if is_again:
            counts.duplicates += 1
        else:
            counts.received += 1
        if wish.flood:
            self._process.stdout.write(b"\b \b" if not wish.quiet else b"")
        elif not wish.quiet:
            size = len(message.body) + 8
            text = f"{size} bytes from {self._name(packet.source)}: icmp_seq={sequence} "
            text += f"ttl={packet.ttl} time={_milliseconds(milliseconds)} ms"
            self._say(self._stamp() + text + " (DUP!)" * is_again)

    def _stamp(self) -> str:
        if not self._wish.stamped:
            return ""
        return f"[{self._system.guest.nanoseconds / 1e9:.6f}] "

    def _name(self, ip: Address) -> str:
        scope = self._wish.target.partition("%")[2]
        text = f"{ip}%{scope}" if scope else str(ip)
        if self._wish.numeric or names.numeric(self._wish.target) is not None:
            return text
        name = names.name_of(self._system.files, ip)
        return text if name == str(ip) else f"{name} ({ip})"

    def _error(self, packet: Packet, message: Icmp, sequence: int) -> str:
        if packet.version == 6:
            what = UNREACHABLE6.get(message.code, "Destination unreachable")
            if message.type == wire.TIME_EXCEEDED6:
                what = "Time exceeded: Hop limit"
        elif message.type == wire.TIME_EXCEEDED:
            what = "Time to live exceeded"
        else:
            what = UNREACHABLE.get(message.code, f"Dest Unreachable, Bad Code: {message.code}")
            if message.code == wire.TOO_BIG:
                mtu = int.from_bytes(message.rest[2:], "big")
                what = f"Frag needed and DF set (mtu = {mtu})"
        return f"From {self._name(packet.source)} icmp_seq={sequence} {what}"

    def _sum_up(self) -> None:
        counts = self._counts
        self._say("")
        self._say(f"--- {self._wish.target} ping statistics ---")
        parts = [f"{counts.sent} packets transmitted", f"{counts.received} received"]
        if counts.duplicates:
            parts.append(f"+{counts.duplicates} duplicates")
        if counts.errors:
            parts.append(f"+{counts.errors} errors")
        loss = (counts.sent - counts.received) * 100 / counts.sent if counts.sent else 0
        parts += [f"{loss:g}% packet loss", f"time {_elapsed(counts)}ms"]
        self._say(", ".join(parts))
        if not counts.times:
            self._say("")
            return
        average = sum(counts.times) / len(counts.times)
        square = sum(value * value for value in counts.times) / len(counts.times)
        deviation = math.sqrt(max(0.0, square - average * average))
        values = (min(counts.times), average, max(counts.times), deviation)
        self._say("rtt min/avg/max/mdev = " + "/".join(f"{value:.3f}" for value in values) + " ms")


def _elapsed(counts: Counts) -> int:
    return round((counts.last_sent - counts.began) * 1000)


def _milliseconds(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"
