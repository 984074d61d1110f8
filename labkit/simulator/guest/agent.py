"""The agent of a simulated guest: serves the channel as labkit/micro/guest/PROTOCOL.md says."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.remote.steward.lane import pack_fields
from labkit.simulator.guest.frames import FILLER, PAYLOAD, Reader, frame, pairs
from labkit.simulator.guest.requests import Command, Download, Request, Upload
from labkit.simulator.guest.terminals import TerminalCommand

if TYPE_CHECKING:
    from labkit.simulator.guest.guest import Guest
    from labkit.simulator.qemu.process import Plug

WINDOW = 262144
MAX_OPEN = 64
REMEMBERED = 4096
SIGTERM = 15
HALT_SECONDS = 0.5


class Port:
    """One lane to the host."""

    def __init__(self, plug: Plug) -> None:
        self.plug = plug
        self.reader = Reader()

    def send(self, verb: str, token: str, payload: bytes = b"") -> None:
        self.plug.send(frame(verb, token, payload))

    def tell(self, verb: str, token: str, **fields: Any) -> None:
        self.send(verb, token, pack_fields((name, str(value)) for name, value in fields.items()))


class Agent:
    """All ports and the requests that are open on them."""

    def __init__(self, guest: Guest, plugs: list[Plug]) -> None:
        self.guest = guest
        self.id = guest.random.randbytes(8).hex()
        self.open: dict[str, Request] = {}
        self._ports = [Port(plug) for plug in plugs]
        self._runs = False
        self._known: OrderedDict[str, None] = OrderedDict()
        for port in self._ports:
            port.plug.pause(paused=True)

    def start(self) -> None:
        """Serve the ports from now on."""
        self._runs = True
        self.guest.qemu.worker.world.stalled.append(self._is_hungry)
        for port in self._ports:
            port.plug.on_connect = partial(self._meet, port)
            port.plug.on_data = partial(self._read, port)
            if port.plug.is_connected:
                self._meet(port)
        self.listen()

    def stop(self) -> None:
        """The guest is over, and with it all that ran in it."""
        if self._runs:
            self.guest.qemu.worker.world.stalled.remove(self._is_hungry)
        self._runs = False
        requests, self.open = list(self.open.values()), {}
        for request in requests:
            request.abandon()

    def listen(self) -> None:
        """Read, or do not, as the guest can."""
        stands = self.guest.is_frozen or self.guest.is_hung or not self._runs
        for port in self._ports:
            port.plug.pause(paused=stands)

    @property
    def is_watched(self) -> bool:
        """Whether a command that was typed on a terminal runs."""
        return any(request.is_watched for request in self.open.values())

    def over(self, request: Request) -> None:
        self.open.pop(request.token, None)

    # ---- inside

    def _is_hungry(self) -> bool:
        return any(request.is_hungry for request in self.open.values())

    def _meet(self, port: Port) -> None:
        """A host is there: complete what was cut off, and greet it."""
        self._abandon(port)
        port.reader = Reader()
        port.plug.send(FILLER + b"\0")
        self._hello(port, "-")

    def _hello(self, port: Port, token: str) -> None:
        guest = self.guest
        port.tell(
            "hello",
            token,
            version=1,
            boot=guest.boot,
            agent=self.id,
            uptime=f"{guest.uptime:.3f}",
            time=f"{guest.nanoseconds / 1e9:.3f}",
            payload=PAYLOAD,
            window=WINDOW,
        )

    def _abandon(self, port: Port) -> None:
        for request in [one for one in self.open.values() if one.port is port]:
            self.over(request)
            request.abandon()

    def _read(self, port: Port, data: bytes) -> None:
        for verb, token, payload in port.reader.feed(data):
            if verb == "hello":
                self._abandon(port)
                self._hello(port, token)
            elif verb == "ping":
                port.send("pong", token)
            else:
                self._handle(port, verb, token, payload)

    def _handle(self, port: Port, verb: str, token: str, payload: bytes) -> None:
        request = self.open.get(token)
        if verb in ("in", "eof", "credit"):
            if request is not None:
                request.frame(verb, payload)
            return
        if not token.startswith(f"{self.id}-"):
            port.tell("problem", token, code="stale", text="", errno=0)
        elif token in self._known:
            port.tell("problem", token, code="duplicate", text="", errno=0)
        else:
            self._known[token] = None
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._begin(port, verb, token, pairs(payload))

    def _begin(self, port: Port, verb: str, token: str, fields: list[tuple[str, str]]) -> None:
        values = dict(fields)
        run = TerminalCommand if "pty" in values else Command
        kinds: dict[str, type[Request]] = {"run": run, "put": Upload, "get": Download}
        if verb in kinds and len(self.open) >= MAX_OPEN:
            port.tell("problem", token, code="busy", text="", errno=0)
        elif verb in kinds:
            request = self.open[token] = kinds[verb](self, port, token, fields)
            request.begin()
        elif verb in ("end", "signal"):
            found = self.open.get(values.get("request", ""))
            if found is not None:
                found.end(int(values.get("signal", SIGTERM)))
            port.tell("done", token, found=int(found is not None))
        elif verb == "resize":
            port.tell("done", token, found=int(values.get("request", "") in self.open))
        elif verb == "halt":
            port.send("done", token)
            how = self.guest.reboot if values.get("how") == "reboot" else self.guest.power_off
            self.guest.call_later(HALT_SECONDS, how)
        else:
            port.tell("problem", token, code="unknown-verb", text=verb, errno=0)
