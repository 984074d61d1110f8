"""``nc``, as busybox has it: one TCP connection, or with -u datagrams; -l listens."""

from __future__ import annotations

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.system import system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net.tcp_connection import Connection

USAGE = """\
BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) multi-call binary.

Usage: nc [-iN] [-wN] [-l] [-p PORT] [-f FILE|IPADDR PORT] [-e PROG]

Open a pipe to IP:PORT or FILE

\t-l\tListen mode, for inbound connects
\t\t(use -ll with -e for persistent server)
\t-p PORT\tLocal port
\t-w SEC\tConnect timeout
\t-i SEC\tDelay interval for lines sent
\t-f FILE\tUse file (ala /dev/ttyS0) instead of network
\t-e PROG\tRun PROG after connect
"""
CHUNK = 1 << 16
MAX_UNSENT = 1 << 17


def nc(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "ln", "pwi")
    except BadUsage as error:
        process.stderr.write(f"nc: {error}\n{USAGE}".encode())
        return 1
    if "l" in options:
        port = options.get("p") or (rest[0] if rest else "")
        return _listen(process, int(port) if port.isdigit() else 0)
    if len(rest) != 2 or not rest[1].isdigit():
        process.stderr.write(USAGE.encode())
        return 1
    wait = number(options["w"]) if "w" in options else 0.0
    return _connect(process, rest[0], int(rest[1]), int(options.get("p", "0")), wait)


def _listen(process: Process, port: int) -> Steps[int]:
    listener = system_of(process).net.tcp.listen(port)
    if listener is None:
        return process.fail("bind: Address already in use")
    try:
        while not listener.accepted:
            yield Wait(float("inf"), signal=listener.changed)
        connection = listener.accepted.popleft()
    finally:
        listener.close()
    return (yield from talk(process, connection))


def _connect(process: Process, host: str, port: int, source: int, wait: float) -> Steps[int]:
    ip = names.resolve(process.files, host)
    if ip is None:
        return process.fail(f"bad address '{host}'")
    net = system_of(process).net
    connection = net.tcp.connect(ip, port, source)
    failed = f"can't connect to remote host ({ip}): "
    if connection is None:
        return process.fail(f"{failed}Network is unreachable")
    problem = yield from established(process, connection, wait)
    if problem == "timed out":
        return process.fail("timed out")
    if problem:
        return process.fail(failed + problem)
    return (yield from talk(process, connection))


def established(process: Process, connection: Connection, wait: float = 0.0) -> Steps[str]:
    """Wait until a connection is there; "" or why it is not."""
    guest = system_of(process).guest
    deadline = guest.now() + wait if wait else float("inf")
    while connection.state in ("SYN_SENT", "SYN_RECEIVED"):
        left = deadline - guest.now()
        if left <= 0:
            connection.abort()
            return "timed out"
        yield Wait(left, signal=connection.changed)
    return connection.error


def talk(process: Process, connection: Connection) -> Steps[int]:
    """Standard input to the peer, what it sends to standard output, until both have ended."""
    try:
        while True:
            if connection.received:
                process.stdout.write(connection.take(CHUNK))
                continue
            if process.stdin.data and connection.waiting < MAX_UNSENT and connection.is_open:
                connection.write(process.stdin.take(CHUNK))
                continue
            if process.stdin.ended and not process.stdin.data:
                connection.finish()
            if connection.has_ended and not connection.received:
                connection.finish()
                return int(bool(connection.error))
            source = None if process.stdin.ended else process.stdin
            yield Wait(float("inf"), signal=connection.changed, source=source)
    finally:
        if connection.is_open:
            connection.finish()
