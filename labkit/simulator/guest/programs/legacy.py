"""The older network programs that busybox brings, such as arp, ifconfig and netstat."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net import wire
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.routes import Route
from labkit.simulator.net.wire import Arp
from labkit.simulator.waiting import Signal


def arp(process: Process) -> int:
    for one in system_of(process).net.neighbours.all():
        if one.ip.version == 4:
            mac = wire.mac_text(one.mac) if one.mac else "<incomplete>"
            kind = " [ether]" if one.mac else ""
            process.say(
                f"{_name(process, one.ip)} ({one.ip}) at {mac}{kind}  on {one.interface.name}"
            )
    return 0


def _name(process: Process, ip: wire.Address) -> str:
    name = names.name_of(process.files, ip)
    return "?" if name == str(ip) else name


def ifconfig(process: Process) -> int:
    system = system_of(process)
    rest = [word for word in process.argv[1:] if word != "-a"]
    if not rest:
        for one in system.net.interfaces:
            if one.is_up or "-a" in process.argv:
                _show(process, one)
        return 0
    interface = system.net.interface(rest[0])
    if interface is None:
        return process.fail(f"{rest[0]}: error fetching interface information: Device not found")
    if len(rest) == 1:
        _show(process, interface)
        return 0
    return _change(process, system, interface, rest[1:])


def _change(process: Process, system: System, interface: Interface, words: list[str]) -> int:
    name, mask = interface.name, ""
    for place, word in enumerate(words):
        if word in ("up", "down"):
            system.net.set_up(interface, up=word == "up")
        elif word == "netmask" and place + 1 < len(words):
            mask = words[place + 1]
    if names.numeric(words[0].partition("/")[0]) is not None:
        text = words[0] if "/" in words[0] else f"{words[0]}/{mask or '24'}"
        system.ip(["address", "flush", "dev", name])
        problem = system.ip(["address", "add", text, "dev", name])
        system.net.set_up(interface, up=True)
        if problem:
            return process.fail(problem)
    return 0


def _show(process: Process, one: Interface) -> None:
    kind = (
        "Local Loopback  " if one.is_loopback else f"Ethernet  HWaddr {one.mac.hex(':').upper()}  "
    )
    lines = [f"{one.name:<9} Link encap:{kind}"]
    for entry in one.of(4):
        cast = "" if one.is_loopback else f"  Bcast:{entry.broadcast or '0.0.0.0'}"
        lines.append(f"          inet addr:{entry.ip}{cast}  Mask:{entry.value.netmask}")
    for entry in one.of(6):
        scope = {"link": "Link", "host": "Host"}.get(entry.scope, "Global")
        lines.append(f"          inet6 addr: {entry.value.with_prefixlen} Scope:{scope}")
    up = "UP " if one.is_up else ""
    kind = "LOOPBACK RUNNING" if one.is_loopback else "BROADCAST RUNNING MULTICAST"
    c = one.counters
    lines += [
        f"          {up}{kind}  MTU:{one.mtu}  Metric:1",
        f"          RX packets:{c.rx_packets} errors:0 dropped:0 overruns:0 frame:0",
        f"          TX packets:{c.tx_packets} errors:0 dropped:0 overruns:0 carrier:0",
        "          collisions:0 txqueuelen:1000 ",
        f"          RX bytes:{c.rx_bytes} ({_size(c.rx_bytes)})  "
        f"TX bytes:{c.tx_bytes} ({_size(c.tx_bytes)})",
        "",
    ]
    process.say(*lines)


def _size(count: int) -> str:
    if count < 1024:
        return f"{count}.0 B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


def route(process: Process) -> int:
    if process.argv[1:2] in (("add",), ("del",)):
        return process.fail("changes are not simulated; use ip route")
    process.say(
        "Kernel IP routing table",
        "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface",
    )
    for one in system_of(process).net.routes.of(4):
        gateway = one.gateway or "0.0.0.0"
        flags = "UG" if one.gateway is not None else "U"
        name = one.interface.name if one.interface is not None else "*"
        network = one.network
        process.say(
            f"{network.network_address!s:<15} {gateway!s:<15} {network.netmask!s:<15} "
            f"{flags:<5} {one.metric:<6} 0        0 {name}"
        )
    return 0


def _routes(process: Process, routes: list[Route]) -> None:
    process.say(
        "Kernel IP routing table",
        "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface",
    )
    for one in routes:
        gateway = one.gateway or "0.0.0.0"
        flags = "UG" if one.gateway is not None else "U"
        name = one.interface.name if one.interface is not None else "*"
        process.say(
            f"{one.network.network_address!s:<15} {gateway!s:<15} {one.network.netmask!s:<15} "
            f"{flags:<8} 0 0          0 {name}"
        )


def netstat(process: Process) -> int:
    try:
        options, _ = read(list(process.argv[1:]), "rnatulpeW", "")
    except BadUsage as error:
        return process.fail(str(error))
    net = system_of(process).net
    if "r" in options:
        _routes(process, net.routes.of(4))
        return 0
    process.say(
        "Active Internet connections (only servers)"
        if "l" in options
        else "Active Internet connections (w/o servers)",
        "Proto Recv-Q Send-Q Local Address           Foreign Address         State       ",
    )
    if "l" in options or "a" in options:
        for port in sorted(net.tcp.listeners):
            local = f"0.0.0.0:{port}"
            process.say(f"tcp        0      0 {local:<23} {'0.0.0.0:*':<23} LISTEN      ")
    if "l" not in options:
        for key, one in net.tcp.connections.items():
            ours, theirs = f"{key[0]}:{key[1]}", f"{key[2]}:{key[3]}"
            start = f"tcp   {len(one.received):6} {one.waiting:6}"
            process.say(f"{start} {ours:<23} {theirs:<23} {one.state:<12}")
    return 0


def nslookup(process: Process) -> int:
    name = process.argv[1] if len(process.argv) > 1 else ""
    process.say(";; connection timed out; no servers could be reached", "")
    process.stderr.write(f"nslookup: can't resolve '{name}': no name server answers\n".encode())
    return 1


def arping(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "fqbDUA", "cwIs")
        count = int(number(options.get("c", "0")))
    except BadUsage as error:
        return process.fail(str(error))
    ip = names.resolve(process.files, rest[0], 4) if rest else None
    system = system_of(process)
    interface = system.net.interface(options.get("I", "eth0"))
    if interface is None or not isinstance(ip, IPv4Address):
        return process.fail("interface and target are needed")
    return _arping(process, system, interface, ip, count)


def _arping(
    process: Process, system: System, interface: Interface, ip: IPv4Address, count: int
) -> Steps[int]:
    near = interface.near(ip)
    own = near.ip if near is not None else IPv4Address(0)
    assert isinstance(own, IPv4Address)
    heard: deque[tuple[float, Arp]] = deque()
    arrived = Signal()

    def tap(frame: bytes) -> None:
        if frame[12:14] == wire.ARP.to_bytes(2, "big"):
            found = Arp.decode(frame[14:])
            if found.operation == wire.ARP_REPLY and found.sender == ip:
                heard.append((system.guest.now(), found))
                arrived.fire()

    process.say(f"ARPING {ip} from {own} {interface.name}")
    interface.taps.append(tap)
    sent = received = 0
    try:
        while not count or sent < count:
            began = system.guest.now()
            request = Arp(wire.ARP_REQUEST, interface.mac, own, bytes(6), ip)
            frame = wire.ethernet(wire.BROADCAST, interface.mac, wire.ARP, request.encode())
            system.net.send_frame(interface, frame)
            sent += 1
            while (left := began + 1.0 - system.guest.now()) > 0:
                yield Wait(left, signal=arrived)
                while heard:
                    when, found = heard.popleft()
                    received += 1
                    process.say(
                        f"Unicast reply from {ip} [{wire.mac_text(found.sender_mac)}] "
                        f"{(when - began) * 1000:.3f}ms"
                    )
    finally:
        interface.taps.remove(tap)
    process.say(f"Sent {sent} probe(s) ({0 if received else sent} broadcast(s))")
    process.say(f"Received {received} response(s) (0 request(s), 0 broadcast(s))")
    return int(not received)
