"""A real steward on this machine in a folder of its own, and NICs as QEMU would offer them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from labkit import steward
from labkit.links import Links
from labkit.local import LocalExecutor
from labkit.steward import Steward

KEY = "00c0ffee"
WAIT = 20.0  # seconds: how long a test waits for what must come, on a busy machine


def wait_until(holds: Callable[[], object], what: str) -> None:
    """The one place where tests wait for something that nobody tells them."""
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, f"waited {WAIT:g} s for {what}"
        time.sleep(0.01)


def frame(destination: int, source: int, payload: bytes = b"", *, kind: int = 0x0800) -> bytes:
    """An Ethernet frame between stations that are numbered; 0 is everybody."""
    return address(destination) + address(source) + struct.pack("!H", kind) + payload


def address(number: int) -> bytes:
    return b"\xff" * 6 if number == 0 else b"\x52\x54" + number.to_bytes(4, "big")


class NIC:
    """QEMU's side of ``-netdev stream,server=on``: one client at a time, frames behind lengths."""

    def __init__(self, folder: Path, machine: int, nic: int = 0) -> None:
        self.port = (machine, nic)
        self._path = folder / f"m{machine}" / f"n{nic}"
        self._path.parent.mkdir(exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(1)
        self._listener.settimeout(WAIT)
        self._socket: socket.socket | None = None
        self._waiting = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def connection(self) -> socket.socket:
        """The steward's connection, waited for when it is not there yet."""
        if self._socket is None:
            self._socket, _ = self._listener.accept()
            self._socket.settimeout(WAIT)
        return self._socket

    def send(self, *frames: bytes) -> None:
        data = b"".join(struct.pack("!I", len(one)) + one for one in frames)
        self.connection.sendall(data)

    def send_raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive(self, timeout: float = WAIT) -> bytes | None:
        """The next frame, or None when none came in time."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self._waiting) >= 4:
                end = 4 + int.from_bytes(self._waiting[:4], "big")
                if len(self._waiting) >= end:
                    found = bytes(self._waiting[4:end])
                    del self._waiting[:end]
                    return found
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.connection.recv(1 << 16)
            except TimeoutError:
                return None
            finally:
                self.connection.settimeout(WAIT)
            if not data:
                return None
            self._waiting += data

    def receive_all(self, last: bytes) -> list[bytes]:
        """The frames up to a given one, without it."""
        found: list[bytes] = []
        while (one := self.receive()) != last:
            assert one is not None, f"waited in vain behind {len(found)} frames"
            found.append(one)
        return found

    def hang_up(self) -> None:
        """Close the connection; the next one is accepted when it comes."""
        self.connection.close()
        self._socket = None
        self._waiting.clear()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)


class StewardHost:
    """This machine, with a run folder of its own for one test."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.executor = LocalExecutor({"LABKIT_RUN_DIR": str(base)})
        self.folder = base / KEY
        self._stewards: list[Steward] = []

    def ensure(self, key: str = KEY) -> Steward:
        found = steward.ensure(self.executor, "localhost", key)
        self._stewards.append(found)
        return found

    def links(self) -> Links:
        return Links(self.ensure())

    def nic(self, machine: int, nic: int = 0) -> NIC:
        return NIC(self.folder, machine, nic)

    def raw(self) -> socket.socket:
        """A connection to the control socket, for those who do not keep to the protocol."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(WAIT)
        connection.connect(str(self.folder / "control"))
        return connection

    def kill(self, one: Steward) -> None:
        """End a steward without warning, and wait until it is gone."""
        pid = one.facts["pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), f"process {pid} to end")

    def close(self) -> None:
        for one in self._stewards:
            one.close()
            self.kill(one)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@contextlib.contextmanager
def steward_host() -> Iterator[StewardHost]:
    """A host for one test; its path is short, as socket paths must be."""
    base = Path(tempfile.mkdtemp(prefix="lk"))
    host = StewardHost(base)
    try:
        yield host
    finally:
        host.close()
        shutil.rmtree(base)
