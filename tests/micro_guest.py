"""A small client of the guest channel and a bare QEMU, for tests of the micro image."""

from __future__ import annotations

import hashlib
import json
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from labkit.micro import KERNEL_ARGUMENTS, MicroImage

QEMU = shutil.which("qemu-system-x86_64")
PAYLOAD = 65536
FILLER = bytes(PAYLOAD + 256)
WITHIN = 240.0  # seconds; a machine that shares its processors with others may be very slow
LAST = ("exit", "done", "problem", "pong")


def fields(payload: bytes) -> dict[str, str]:
    pairs = (item.decode().partition("=") for item in payload.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def packed(**values: object) -> bytes:
    out = b""
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            out += f"{name}={one}".encode() + b"\0"
    return out


@dataclass
class Answer:
    """What came for one request, up to its last frame."""

    last: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    out: bytes = b""
    err: bytes = b""

    @property
    def status(self) -> str:
        return self.fields.get("status", "")


class Lane:
    """One port of the channel; frames for other requests are kept until they are asked for."""

    def __init__(self, path: Path, *, timeout: float = WITHIN) -> None:
        self.path = path
        self.events: list[tuple[str, str, dict[str, str]]] = []
        self._frames: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self._buffer = bytearray()
        self._count = 0
        self._session = secrets.token_hex(4)
        self.agent = ""
        self.socket = _connect(path, timeout)
        try:
            self.hello = self.greet(timeout)
        except BaseException:
            self.socket.close()
            raise

    def greet(self, timeout: float = WITHIN) -> dict[str, str]:
        """Say hello; what comes before its answer is of an earlier host."""
        token = secrets.token_hex(8)
        self.socket.settimeout(timeout)
        self.socket.sendall(FILLER + f"LK hello {token} 0\n\n".encode())
        mark = f"LK hello {token} ".encode()
        while mark not in self._buffer:
            self._more(timeout)
        del self._buffer[: self._buffer.index(mark)]
        verb, _, payload = self._frame(timeout)
        assert verb == "hello"
        answer = fields(payload)
        self.agent = answer["agent"]
        return answer

    def _more(self, timeout: float) -> None:
        self.socket.settimeout(max(timeout, 0.001))
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the machine has ended")
        self._buffer += data

    def _frame(self, timeout: float) -> tuple[str, str, bytes]:
        end = time.monotonic() + timeout
        while True:
            while self._buffer and self._buffer[0] in b"\0\n":
                del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\0\n"))]
            stop = self._buffer.find(b"\n")
            if stop >= 0:
                magic, verb, token, length = self._buffer[:stop].decode().split(" ")
                assert magic == "LK"
                need = stop + 1 + int(length) + 1
                if len(self._buffer) >= need:
                    payload = bytes(self._buffer[stop + 1 : need - 1])
                    assert self._buffer[need - 1] == 10, "a frame without its end"
                    del self._buffer[:need]
                    return verb, token, payload
            self._more(end - time.monotonic())

    def token(self) -> str:
        self._count += 1
        return f"{self.agent}-{self._session}-{self._count}"

    def send(self, verb: str, token: str, payload: bytes = b"") -> None:
        self.socket.sendall(f"LK {verb} {token} {len(payload)}\n".encode() + payload + b"\n")

    def next(self, token: str, timeout: float = WITHIN) -> tuple[str, bytes]:
        """The next frame for a request."""
        while not self._frames[token]:
            verb, of, payload = self._frame(timeout)
            if verb == "hello":
                self.events.append((verb, of, fields(payload)))
                if of == "-":
                    raise ConnectionResetError("the guest said hello by itself")
            else:
                self._frames[of].append((verb, payload))
        return self._frames[token].pop(0)

    def answer(self, token: str, timeout: float = WITHIN) -> Answer:
        """All that comes for a request."""
        answer = Answer()
        out, err = [], []
        while True:
            verb, payload = self.next(token, timeout)
            if verb == "out":
                out.append(payload)
            elif verb == "err":
                err.append(payload)
            elif verb == "started":
                answer.started = fields(payload)
            elif verb in LAST:
                answer.last, answer.fields = verb, fields(payload)
                answer.out, answer.err = b"".join(out), b"".join(err)
                return answer

    def start(self, verb: str, **values: object) -> str:
        token = self.token()
        self.send(verb, token, packed(**values))
        return token

    def call(self, verb: str, *, within: float = WITHIN, **values: object) -> Answer:
        return self.answer(self.start(verb, **values), within)

    def run(
        self, command: str | Sequence[str], *, within: float = WITHIN, **values: object
    ) -> Answer:
        if isinstance(command, str):
            return self.call("run", within=within, shell=command, **values)
        return self.call("run", within=within, arg=list(command), **values)

    def feed(self, token: str, data: bytes, window: int = 262144) -> None:
        """Send input as the guest takes it."""
        kept: list[tuple[str, bytes]] = []
        for place in range(0, len(data), PAYLOAD):
            piece = data[place : place + PAYLOAD]
            while window < len(piece):
                verb, payload = self.next(token)
                if verb == "credit":
                    window += int(payload)
                    continue
                kept.append((verb, payload))
                if verb in LAST:
                    self._frames[token][:0] = kept
                    return
            window -= len(piece)
            self.send("in", token, piece)
        self._frames[token][:0] = kept

    def put(self, path: str, data: bytes, mode: str = "644", *, size: int | None = None) -> Answer:
        told = {} if size is None else {"size": size}
        token = self.start("put", path=path, mode=mode, **told)
        self.feed(token, data)
        self.send("eof", token, packed(size=len(data), sha256=hashlib.sha256(data).hexdigest()))
        return self.answer(token)

    def close(self) -> None:
        self.socket.close()


def _connect(path: Path, timeout: float) -> socket.socket:
    end = time.monotonic() + timeout
    while True:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(str(path))
        except OSError:
            one.close()
            if time.monotonic() > end:
                raise
            select.select([], [], [], 0.005)
        else:
            return one


class Machine:
    """A QEMU process with the image, as the package's docstring says to start it."""

    def __init__(
        self, image: MicroImage, *, setup: str = "", extra: Sequence[str] = (), lanes: int = 3
    ) -> None:
        assert QEMU is not None
        self.folder = Path(tempfile.mkdtemp(prefix="lkvm"))
        self.console = self.folder / "console"
        self.console.touch()
        self._lanes: dict[int, Lane] = {}
        argv = [QEMU, "-machine", "q35,sata=off,smbus=off,hpet=off", "-m", "128"]
        argv += ["-accel", "tcg,thread=multi,tb-size=32", "-cpu", "qemu64,+rdrand", "-nodefaults"]
        argv += ["-no-user-config", "-display", "none", "-device", "virtio-rng-pci"]
        argv += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        argv += ["-append", KERNEL_ARGUMENTS, "-device", "virtio-serial-pci,id=vser0"]
        for lane in range(lanes):
            argv += ["-chardev", f"socket,id=l{lane},path={self.folder}/l{lane},server=on,wait=off"]
            port = f"virtserialport,bus=vser0.0,chardev=l{lane},name=labkit.{lane}"
            argv += ["-device", port]
        argv += ["-chardev", f"file,id=serial,path={self.console}", "-serial", "chardev:serial"]
        argv += ["-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        if setup:
            (self.folder / "setup").write_text(setup)
            argv += ["-fw_cfg", f"name=opt/labkit/machine,file={self.folder}/setup"]
        self.began = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def lane(self, number: int = 0) -> Lane:
        if number not in self._lanes:
            self._lanes[number] = Lane(self.folder / f"l{number}")
        return self._lanes[number]

    def qmp(self, command: str) -> None:
        with _connect(self.folder / "qmp", WITHIN) as one, one.makefile("rw") as file:
            file.readline()
            for name in ("qmp_capabilities", command):
                file.write(json.dumps({"execute": name}) + "\n")
                file.flush()
                while "return" not in json.loads(file.readline()):
                    pass

    def said(self) -> str:
        return self.console.read_text(errors="replace")

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self.process.terminate()
        try:
            self.process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def wait_for(machine: Machine, text: str, timeout: float = WITHIN) -> None:
    """Return when the console has said a text."""
    end = time.monotonic() + timeout
    while text not in machine.said():
        assert time.monotonic() < end, machine.said()
        select.select([], [], [], 0.05)
