"""``nuttcp``: how much goes through between two guests, by TCP or with -u by UDP."""

from __future__ import annotations

import math

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.guest.programs.netcat import established
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net.tcp import Listener
from labkit.simulator.net.tcp_connection import Connection
from labkit.simulator.net.wire import Address

CONTROL, DATA = 5000, 5101
BUFFER = 1 << 16
UDP_SIZE = 1024
SCALES = {"K": 1e3, "M": 1e6, "G": 1e9}
SETTLE_SECONDS = 0.3


def nuttcp(process: Process) -> int | Steps[int]:
    """``nuttcp -S`` serves; ``nuttcp [-T SECONDS] [-u] [-R RATE] HOST`` measures."""
    try:
        options, rest = read(list(process.argv[1:]), "S1urtbv", "TRilnwpPN")
    except BadUsage as error:
        return process.fail(str(error))
    system = system_of(process)
    if "S" in options or "1" in options:
        return _start_server(process, system)
    if not rest:
        return process.fail("a host is needed")
    ip = names.resolve(process.files, rest[-1])
    if ip is None:
        return process.fail(f"bad hostname or address: {rest[-1]}")
    seconds = float(options.get("T", "10").rstrip("s"))
    if "u" in options:
        return _udp(process, system, ip, seconds, _rate(options.get("R", "1M")))
    return _tcp(process, system, ip, seconds, _rate(options["R"]) if "R" in options else math.inf)


def _rate(text: str) -> float:
    scale = SCALES.get(text[-1:].upper(), 1e3)
    return float(text.rstrip("kKmMgG")) * scale


# ---- the server


def _start_server(process: Process, system: System) -> int:
    control, data = system.net.tcp.listen(CONTROL), system.net.tcp.listen(DATA)
    if control is None or data is None:
        return process.fail("bind: Address already in use")
    system.run_beside(system.background(process.argv), _serve(system, control, data))
    return 0


def _serve(system: System, control: Listener, data: Listener) -> Steps[int]:
    socket = system.net.udp.open(DATA)
    assert socket is not None
    try:
        while True:
            while data.accepted:
                taker = _take(data.accepted.popleft())
                system.run_beside(system.background(("nuttcp",)), taker)
            while control.accepted:
                connection = control.accepted.popleft()
                count = len(socket.received)
                size = sum(len(one) for _, _, one in socket.received)
                socket.received.clear()
                connection.write(f"{count} {size}\n".encode())
                connection.finish()
            yield Wait(0.05, signal=control.changed)
    finally:
        control.close()
        data.close()
        socket.close()


def _take(connection: Connection) -> Steps[int]:
    while not connection.has_ended:
        connection.take(1 << 20)
        yield Wait(math.inf, signal=connection.changed)
    connection.finish()
    return 0


# ---- the client


def _open(process: Process, system: System, ip: Address, port: int) -> Steps[Connection | None]:
    connection = system.net.tcp.connect(ip, port)
    problem = "Network is unreachable"
    if connection is not None:
        problem = yield from established(process, connection)
    if problem:
        process.stderr.write(f"nuttcp-t: Error: connect: {problem}\n".encode())
        return None
    return connection


def _tcp(process: Process, system: System, ip: Address, seconds: float, rate: float) -> Steps[int]:
    connection = yield from _open(process, system, ip, DATA)
    if connection is None:
        return 1
    began = system.guest.now()
    written, chunk = 0, bytes(BUFFER)
    while (passed := system.guest.now() - began) < seconds and connection.is_open:
        if connection.waiting < BUFFER and written * 8 <= rate * max(passed, 0.001):
            connection.write(chunk)
            written += len(chunk)
        else:
            pause = 0.01 if math.isinf(rate) else 0.001
            yield Wait(min(pause, seconds - passed), signal=connection.changed)
    passed = system.guest.now() - began
    done = written - connection.waiting
    round_trip = connection.round_trip * 1000
    lost = connection.retransmitted
    connection.abort()
    megabytes = done / (1 << 20)
    process.say(
        f"{megabytes:10.4f} MB / {passed:6.2f} sec = {done * 8 / passed / 1e6:9.4f} Mbps "
        f"10 %TX 10 %RX {lost} retrans {round_trip:.2f} msRTT"
    )
    return 0


def _udp(process: Process, system: System, ip: Address, seconds: float, rate: float) -> Steps[int]:
    if (yield from _ask(process, system, ip)) is None:  # forget what came before
        return 1
    socket = system.net.udp.open()
    assert socket is not None
    began, sent, data = system.guest.now(), 0, bytes(UDP_SIZE)
    pause = UDP_SIZE * 8 / rate
    try:
        while sent * pause < seconds:
            socket.send(ip, DATA, data)
            sent += 1
            yield Wait(max(0.0, began + sent * pause - system.guest.now()))
        passed = system.guest.now() - began
        yield Wait(SETTLE_SECONDS)
        answer = yield from _ask(process, system, ip)
    finally:
        socket.close()
    if answer is None:
        return 1
    count, size = answer
    lost = sent - count
    process.say(
        f"{size / (1 << 20):10.4f} MB / {passed:6.2f} sec = {size * 8 / passed / 1e6:9.4f} Mbps "
        f"10 %TX 10 %RX {lost} / {sent} drop/pkt {lost * 100 / sent:.2f} %loss"
    )
    return 0


def _ask(process: Process, system: System, ip: Address) -> Steps[tuple[int, int] | None]:
    """How many datagrams the server has got since it was last asked, and their bytes."""
    connection = yield from _open(process, system, ip, CONTROL)
    if connection is None:
        return None
    while not connection.has_ended:
        yield Wait(math.inf, signal=connection.changed)
    words = bytes(connection.received).split()
    connection.finish()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None
