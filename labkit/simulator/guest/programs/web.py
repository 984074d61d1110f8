"""``httpd`` and ``wget``, as busybox has them: files over HTTP."""

from __future__ import annotations

import posixpath

from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, number, read
from labkit.simulator.guest.programs.netcat import established
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net.tcp import Listener
from labkit.simulator.net.tcp_connection import Connection

FOREVER = float("inf")
CHUNK = 1 << 16
MAX_UNSENT = 1 << 17
NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nContent-type: text/html\r\nConnection: close\r\n\r\n"
    b"<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD>\n<BODY><H1>404 Not Found</H1>\n"
    b"The requested URL was not found\n</BODY></HTML>\n"
)
BAR = 32


def httpd(process: Process) -> int | Steps[int]:
    """``httpd [-f] [-p PORT] [-h FOLDER]``: serves a folder, in the background without -f."""
    try:
        options, _ = read(list(process.argv[1:]), "fiv", "pchur")
    except BadUsage as error:
        return process.fail(str(error))
    system = system_of(process)
    port = int(options.get("p", "80").rpartition(":")[2])
    listener = system.net.tcp.listen(port)
    if listener is None:
        return process.fail("bind: Address already in use")
    folder = process.path(options.get("h", "."))
    serving = _serve(system, listener, folder)
    if "f" in options:
        return serving
    system.run_beside(system.background(process.argv), serving)
    return 0


def _serve(system: System, listener: Listener, folder: str) -> Steps[int]:
    try:
        while True:
            while listener.accepted:
                connection = listener.accepted.popleft()
                one = system.background(("httpd",))
                system.run_beside(one, _answer(system, connection, folder))
            yield Wait(FOREVER, signal=listener.changed)
    finally:
        listener.close()


def _answer(system: System, connection: Connection, folder: str) -> Steps[int]:
    while b"\r\n\r\n" not in connection.received and not connection.has_ended:
        yield Wait(10.0, signal=connection.changed)
    words = bytes(connection.received).split(b"\r\n")[0].decode(errors="replace").split()
    path = posixpath.normpath("/" + (words[1] if len(words) > 1 else "/").partition("?")[0])
    file = folder + path
    if system.files.is_folder(file):
        file = posixpath.join(file, "index.html")
    if not system.files.is_file(file):
        connection.write(NOT_FOUND)
    else:
        data = system.files.read(file)
        head = f"HTTP/1.1 200 OK\r\nContent-type: {_kind(file)}\r\nContent-Length: {len(data)}"
        connection.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + data)
    connection.finish()
    while not connection.has_ended:
        yield Wait(FOREVER, signal=connection.changed)
    return 0


def _kind(path: str) -> str:
    ending = path.rpartition(".")[2]
    kinds = {"html": "text/html", "htm": "text/html", "txt": "text/plain", "css": "text/css"}
    return kinds.get(ending, "application/octet-stream")


def wget(process: Process) -> int | Steps[int]:
    """``wget [-q] [-O FILE] [-T SECONDS] URL``."""
    try:
        options, rest = read(list(process.argv[1:]), "qcSY", "OTPU", ("--spider",))
        wait = number(options.get("T", "0"))
    except BadUsage as error:
        return process.fail(str(error))
    if not rest:
        return process.fail("no URL")
    if rest[0].startswith("https:"):
        return process.fail("https is not simulated")
    return Download(process, rest[0], options, wait).run()


class Download:
    """One run of wget."""

    def __init__(self, process: Process, url: str, options: dict[str, str], wait: float) -> None:
        self._process = process
        place = url.removeprefix("http://")
        self._host, _, path = place.partition("/")
        self._path = f"/{path}"
        self._quiet = "q" in options
        name = posixpath.basename(path) or "index.html"
        self._target = options.get("O", posixpath.join(options.get("P", ""), name))
        self._is_named = "O" in options
        self._wait = wait or 900.0

    def run(self) -> Steps[int]:
        name, _, port = self._host.partition(":")
        ip = names.resolve(self._process.files, name)
        if ip is None:
            return self._process.fail(f"bad address '{name}'")
        number_ = int(port) if port.isdigit() else 80
        self._tell(f"Connecting to {self._host} ({ip}:{number_})")
        connection = system_of(self._process).net.tcp.connect(ip, number_)
        failed = f"can't connect to remote host ({ip}): "
        if connection is None:
            return self._process.fail(f"{failed}Network is unreachable")
        problem = yield from established(self._process, connection, self._wait)
        if problem:
            if problem == "timed out":
                return self._process.fail("download timed out")
            return self._process.fail(failed + problem)
        connection.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: Wget\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        return (yield from self._receive(connection))

    def _tell(self, line: str) -> None:
        if not self._quiet:
            self._process.stderr.write(f"{line}\n".encode())

    def _receive(self, connection: Connection) -> Steps[int]:
        data = bytearray()
        while not connection.has_ended or connection.received:
            data += connection.take(CHUNK)
            if not connection.received and not connection.has_ended:
                yield Wait(self._wait, signal=connection.changed)
        connection.finish()
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode(errors="replace")
        if not status.startswith("HTTP/"):
            return self._process.fail("error getting response")
        if " 200" not in status:
            return self._process.fail(f"server returned error: {status}")
        return self._keep(body)

    def _keep(self, body: bytes) -> int:
        process, target = self._process, self._target
        if target == "-":
            self._tell("writing to stdout")
            process.stdout.write(body)
        else:
            path = process.path(target)
            if not self._is_named and process.files.find(path) is not None:
                return process.fail(f"can't open '{target}': File exists")
            self._tell(f"saving to '{target}'")
            process.files.write(path, body)
        self._tell(f"{target:<20} 100% |{'*' * BAR}| {len(body):5}  0:00:00 ETA")
        self._tell("written to stdout" if target == "-" else f"'{target}' saved")
        return 0
