"""The steward's process: takes the slice's lock, makes its parts, works until it is told to quit.

``python3 -IS steward.pyz RUN_DIR [READY_FD [BUILD [VERSION]]]``. Once it listens, it writes its
facts as a line of JSON to READY_FD; if it ends before, its reason is in RUN/steward.log.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

from .context import FILES, MEMORY, Damaged, Steward
from .control import PROTOCOL, Control
from .host import Host
from .links import Links
from .machines import Machines
from .request import Problem
from .system_loop import SystemLoop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .request import Facts, Request

LOCK_SECONDS = 2.0  # for somebody who only asks whether it is held
HOME_SECONDS = 5.0
MAX_LOG = 1 << 20
RUNNING, DAMAGED = 3, 4  # exit status: another steward has the lock; state.json is not readable


def take_lock(folder: str) -> int:
    """Hold RUN/lock for as long as this process lives; -1 when another one does."""
    path = os.path.join(folder, "lock")
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                os.close(lock)
                return -1
            time.sleep(0.02)  # nothing else runs yet
            continue
        if is_file(path, lock):
            return lock
        os.close(lock)  # its holder has just ended for good, and removed it
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)


def is_file(path: str, descriptor: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Log:
    """Standard error is RUN/steward.log; it starts anew at `MAX_LOG`, keeping one older file."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "steward.log")

    def turn_over(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            return  # a full disk: what was to be said waits, or is lost
        if os.fstat(2).st_size < MAX_LOG or not os.path.exists(self._path):
            return
        os.replace(self._path, self._path + ".1")
        file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)


class Life:
    """Who this steward is, and how it ends."""

    def __init__(
        self, steward: Steward, loop: SystemLoop, lock: int, build: str, version: str
    ) -> None:
        self._steward = steward
        self._loop = loop
        self._lock = lock
        self._forget = False
        number = os.urandom(16).hex()
        self.facts: Facts = {
            "protocol": PROTOCOL,
            "build": build,
            "version": version,
            "pid": os.getpid(),
            "uuid": "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:])),
            "slice": os.path.basename(steward.folder),
            "folder": steward.folder,
            "started": time.time(),
            "python": sys.version.split()[0],
        }
        steward.control.verb("hello", self._hello)
        steward.control.verb("quit", self._quit)
        loop.add_signal(signal.SIGTERM, loop.stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        steward.loop.call_later(HOME_SECONDS, self._look_home)

    def _hello(self, request: Request) -> None:
        machines = self._steward.running_machines()
        request.ok({**self.facts, "time": time.time(), "machines": machines})

    def _quit(self, request: Request) -> None:
        force, forget = request.flag("force"), request.flag("forget")
        machines = self._steward.running_machines()
        if machines and (forget or not force):
            raise Problem("machines-run", machines=machines)
        request.ok()
        for callback in self._steward.on_quit:
            callback()
        self._forget = forget
        self._loop.call_soon(self._loop.stop)

    def _look_home(self) -> None:
        """Where the run folder was removed under us, all ends: nobody would ever find it again."""
        if not self._is_home and not self._steward.running_machines():
            self._loop.stop()
            return
        if not self._is_home:
            for callback in self._steward.on_homeless:
                callback()
        self._steward.loop.call_later(HOME_SECONDS, self._look_home)

    @property
    def _is_home(self) -> bool:
        return is_file(os.path.join(self._steward.folder, "lock"), self._lock)

    def announce(self, ready: int) -> None:
        """Say that clients can come: in RUN/steward.json, and to who started us."""
        text = json.dumps(self.facts).encode()
        path = os.path.join(self._steward.folder, "steward.json")
        with open(path + ".part", "wb") as file:
            file.write(text)
        os.replace(path + ".part", path)
        if ready >= 0:
            os.write(ready, text + b"\n")
            os.close(ready)

    def end(self) -> None:
        """Leave nothing that looks alive, and of a forgotten slice nothing at all.

        Clients are let go last, so that they know that all is done.
        """
        if self._is_home:
            self._remove(FILES)
        if self._is_home and self._forget:
            self._remove(MEMORY)
            try:
                os.rmdir(self._steward.folder)
            except OSError:
                self._steward.log("%s is not empty" % self._steward.folder)
        self._steward.control.close()

    def _remove(self, names: tuple[str, ...]) -> None:
        for name in names:
            path = os.path.join(self._steward.folder, name)
            if os.path.lexists(path):
                os.unlink(path)


def main(arguments: list[str]) -> int:
    folder = os.path.abspath(arguments[1])
    ready = int(arguments[2]) if len(arguments) > 2 else -1
    build, version = (*arguments[3:5], "", "")[:2]
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # start.py sets it for us, not for machines
    os.umask(0o077)
    os.chdir(folder)
    lock = take_lock(folder)
    if lock < 0:
        sys.stderr.write("another steward serves %s\n" % folder)
        return RUNNING
    for stale in FILES:  # of a steward that was killed
        if os.path.lexists(os.path.join(folder, stale)):
            os.unlink(os.path.join(folder, stale))
    _sharpen_timers()
    log = Log(folder)
    loop = SystemLoop()
    try:
        steward = Steward(folder, loop, Control(loop, lambda text: steward.log(text)), Host())
    except Damaged as damage:
        sys.stderr.write("%s; move it away to start without the links it holds\n" % damage)
        return DAMAGED
    steward.on_log.append(log.turn_over)
    sys.excepthook = _noted(steward)
    life = Life(steward, loop, lock, build, version)
    Links(steward)
    Machines(steward)
    steward.control.listen(os.path.join(folder, "control"))
    life.announce(ready)
    try:
        loop.run()
    finally:
        life.end()
    return 0


def _noted(steward: Steward) -> Callable[..., None]:
    """What to do with a fault that the loop has caught: it goes to the log, which stays bounded."""

    def note(*fault: Any) -> None:
        sys.__excepthook__(*fault)
        steward.log("went on after this fault")

    return note


def _sharpen_timers() -> None:
    """Wake up when asked instead of up to 50 microseconds later."""
    try:
        with open("/proc/self/timerslack_ns", "w") as file:
            file.write("1")
    except OSError:
        pass  # an old kernel: delays are exact to 0.1 ms all the same


if __name__ == "__main__":
    sys.exit(main(sys.argv))
