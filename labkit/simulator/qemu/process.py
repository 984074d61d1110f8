"""A simulated QEMU process: its sockets, its monitor's state, and the guest that runs in it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from functools import partial

from labkit.remote.steward.process import LOG_FILE
from labkit.simulator.faults import Fault
from labkit.simulator.guest.guest import Guest
from labkit.simulator.net.gateway import Gateway
from labkit.simulator.net.nic import Nic
from labkit.simulator.pipes import End, Sender, pair
from labkit.simulator.qemu.command import parse
from labkit.simulator.qemu.monitor import Monitor
from labkit.simulator.worker import Worker

LISTEN_SECONDS = 0.04  # until it serves its sockets
END_SECONDS = 0.005
KILLED = 9


class Plug:
    """A socket that QEMU serves to one client at a time."""

    def __init__(self, worker: Worker, path: str) -> None:
        self.path = path
        self.sender: Sender | None = None
        self.on_connect: Callable[[], None] = _nothing
        self.on_data: Callable[[bytes], None] = _ignore
        self._worker = worker
        self._is_paused = False
        worker.listen(path, self._accept)
        worker.files.write(path, b"")

    @property
    def is_connected(self) -> bool:
        return self.sender is not None

    @property
    def backlog(self) -> int:
        """Bytes that wait for the client."""
        return 0 if self.sender is None else self.sender.backlog

    def send(self, data: bytes) -> None:
        """Send to the client, if there is one."""
        if self.sender is not None:
            self.sender.send(data)

    def pause(self, *, paused: bool) -> None:
        """Read nothing for a while."""
        self._is_paused = paused
        if self.sender is not None:
            self.sender.end.listen(None if paused else self._read)

    def close(self) -> None:
        self._worker.hang_up(self.path)
        if self.sender is not None:
            self.sender.end.close()
            self.sender = None

    def _accept(self) -> End:
        if self.sender is not None:
            raise BlockingIOError("it has a client")
        ours, theirs = pair(self._worker.world)
        self.sender = Sender(ours)
        ours.listen(None if self._is_paused else self._read)
        self.on_connect()
        return theirs

    def _read(self) -> None:
        if self.sender is None:
            return
        data = self.sender.end.recv(1 << 16)
        if data:
            self.on_data(data)
        else:
            self.sender.end.close()
            self.sender = None


def _nothing() -> None:
    pass


def _ignore(_data: bytes) -> None:
    pass


class Qemu:
    """One process, from its start to its end; `status` is how it ended."""

    def __init__(self, worker: Worker, folder: str, argv: Sequence[str]) -> None:
        self.worker = worker
        self.folder = folder
        self.options = parse(argv)
        self.pid = next(worker.pids)
        self.status: int | None = None
        self.is_paused = self.options.halted
        self.is_prelaunch = self.options.halted
        self.guest: Guest | None = None
        self.boots = 0
        self.plugs: list[Plug] = []
        self.monitor: Monitor | None = None
        self.nics: dict[str, Nic] = {}
        self.fault: Fault | None = None
        self._log = posixpath.join(folder, LOG_FILE)
        worker.files.write(self._log, b"")
        worker.qemus[folder] = self
        worker.world.call_later(LISTEN_SECONDS, self._serve)

    def __repr__(self) -> str:
        return f"<Qemu {self.options.name} on {self.worker.name}>"

    @property
    def uuid(self) -> str:
        return self.options.uuid

    @property
    def is_alive(self) -> bool:
        return self.status is None

    # ---- beginning

    def _serve(self) -> None:
        if not self.is_alive:
            return
        missing = self._missing()
        if missing:
            self.say(missing)
            self.end(1)
            return
        options, worker = self.options, self.worker
        if options.pidfile:
            worker.files.write(self.path(options.pidfile), f"{self.pid}\n".encode())
        self.monitor = Monitor(self, self.plug(options.monitor))
        self.serial = self.plug(options.serial)
        self.lanes = [self.plug(path) for path, _ in options.lanes]
        for path, mac in options.nics:
            self.add_nic(path, mac)
        if options.gateway:
            self._gateway = Gateway(worker.world, self.plug(options.gateway), options.address)
        if not self.options.halted:
            self.boot()

    def _missing(self) -> str:
        """QEMU's own words where a file is not there, or the guest has no room."""
        for path in filter(None, (self.options.kernel, self.options.initrd)):
            if not self.has_file(path):
                what = "kernel" if path == self.options.kernel else "initrd"
                return f"qemu-system-x86_64: could not load {what} '{path}'"
        for path in self.options.disks:
            if not self.has_file(path):
                return (
                    f"qemu-system-x86_64: -drive file={path}: "
                    f"Could not open '{path}': No such file or directory"
                )
        return ""

    def has_file(self, path: str) -> bool:
        return self.worker.files.is_file(posixpath.join(self.folder, path))

    def path(self, name: str) -> str:
        return posixpath.join(self.folder, name)

    def plug(self, name: str) -> Plug:
        plug = Plug(self.worker, self.path(name))
        self.plugs.append(plug)
        return plug

    @property
    def guest_plugs(self) -> list[Plug]:
        """The sockets the guest reads from: all but the monitor's."""
        return self.plugs[1:]

    def add_nic(self, path: str, mac: str) -> None:
        nic = self.nics[path] = Nic(self.plug(path), mac)
        if self.guest is not None:
            self.guest.plug_in(nic)

    def remove_nic(self, path: str) -> None:
        nic = self.nics.pop(path)
        if self.guest is not None:
            self.guest.unplug(nic)
        for plug in [plug for plug in self.plugs if plug.path == self.path(path)]:
            plug.close()
            self.plugs.remove(plug)

    # ---- running

    def boot(self) -> None:
        """Start the guest anew."""
        if self.guest is not None:
            self.guest.stop()
        self.boots += 1
        self.guest = Guest(self, self.boots)
        self.guest.begin()

    def reset(self, reason: str) -> None:
        """As by the reset button, or by the guest itself."""
        if self.is_alive and self.monitor is not None:
            self.monitor.event("RESET", {"guest": reason.startswith("guest"), "reason": reason})
            self.boot()

    def pause(self) -> None:
        if not self.is_paused:
            self.is_paused = True
            self._freeze()

    def resume(self) -> None:
        was_prelaunch, self.is_prelaunch = self.is_prelaunch, False
        if self.is_paused:
            self.is_paused = False
            if was_prelaunch:
                self.boot()
            self._freeze()

    def _freeze(self) -> None:
        frozen = self.is_paused
        if self.guest is not None:
            self.guest.freeze(frozen=frozen)
        if self.monitor is not None:
            self.monitor.event("STOP" if frozen else "RESUME", {})

    # ---- ending

    def shut_down(self, reason: str) -> None:
        """End in order, and say why."""
        if self.is_alive and self.monitor is not None:
            data = {"guest": reason.startswith("guest"), "reason": reason}
            self.monitor.event("SHUTDOWN", data)
            self.worker.world.call_later(END_SECONDS, partial(self.end, 0))

    def kill(self, number: int = KILLED) -> None:
        """End it by a signal."""
        self.end(-number)

    def end(self, status: int) -> None:
        if not self.is_alive:
            return
        self.status = status
        del self.worker.qemus[self.folder]
        if self.guest is not None:
            self.guest.stop()
        for plug in self.plugs:
            plug.close()

    def say(self, line: str) -> None:
        """A line in its log."""
        self.worker.files.write(self._log, f"{line}\n".encode(), append=True)
