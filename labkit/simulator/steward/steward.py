"""A simulated steward: the real one's parts, its life, and the program that finds or starts it."""

from __future__ import annotations

import json
import posixpath
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from labkit.remote.steward.context import FILES, MEMORY, Damaged, Steward
from labkit.remote.steward.control import PROTOCOL, Control
from labkit.remote.steward.links import Links
from labkit.remote.steward.machines import Machines
from labkit.remote.steward.request import Problem, Request
from labkit.simulator.machine import Process, Steps
from labkit.simulator.pipes import End, pair
from labkit.simulator.steward.host import SimulatedHost, SimulatedLoop
from labkit.simulator.worker import Worker

PASSIVE = ("console-attach", "capture-start")  # they last, but need no time of their own
FILES_VERBS = ("guest-put", "guest-get")  # as fast as the client
PYTHON = "3.11.2"
Facts = dict[str, Any]


class SimulatedSteward:
    """The steward of one slice on one worker, from its start to its end."""

    def __init__(self, worker: Worker, folder: str, build: str, version: str) -> None:
        """Raises `Damaged` when its memory cannot be read."""
        self.folder = folder
        self._worker = worker
        self._loop = SimulatedLoop(worker)
        self._host = SimulatedHost(worker, folder)
        self._requests: list[tuple[str, Request]] = []
        for stale in FILES:
            self._host.remove(posixpath.join(folder, stale))
        self.control = Control(self._loop, self._log)
        self._steward = Steward(folder, self._loop, self.control, self._host)
        self.facts: Facts = {
            "protocol": PROTOCOL,
            "build": build,
            "version": version,
            "pid": next(worker.pids),
            "uuid": str(uuid.UUID(bytes=self._host.random(16), version=4)),
            "slice": posixpath.basename(folder),
            "folder": folder,
            "started": self._loop.time(),
            "python": PYTHON,
        }
        self.control.verb("hello", self._hello)
        self.control.verb("quit", self._quit)
        Links(self._steward)
        Machines(self._steward)
        for name, work in self.control.verbs.items():
            if name not in PASSIVE:
                self.control.verbs[name] = partial(self._noted, name, work)
        worker.files.write(posixpath.join(folder, "lock"), b"")
        worker.files.write(posixpath.join(folder, "control"), b"")
        worker.files.write(posixpath.join(folder, "steward.json"), json.dumps(self.facts).encode())
        worker.listen(posixpath.join(folder, "control"), self._connected)
        worker.world.busy.append(self._is_busy)
        worker.world.stalled.append(self._is_stalled)

    def kill(self) -> None:
        """End it as the kernel would: without a word, its files as they were."""
        if self._worker.stewards.get(self.folder) is self:
            del self._worker.stewards[self.folder]
            self._worker.hang_up(posixpath.join(self.folder, "control"))
            self._worker.world.busy.remove(self._is_busy)
            self._worker.world.stalled.remove(self._is_stalled)
            self._loop.kill()

    # ---- inside

    def _log(self, text: str) -> None:
        self._steward.log(text)

    def _connected(self) -> End:
        ours, theirs = pair(self._worker.world)
        self.control.serve(self._loop.adopt(ours))
        return theirs

    def _noted(self, name: str, work: Callable[[Request], None], request: Request) -> None:
        """Remember a request that needs time, until it is answered."""
        if not (name == "guest-run" and "pty" in request.arguments):  # somebody types there
            self._requests.append((name, request))
        work(request)

    def _is_busy(self) -> bool:
        self._requests = [(name, one) for name, one in self._requests if not one.done]
        return bool(self._requests)

    def _is_stalled(self) -> bool:
        return any(name in FILES_VERBS or one.room <= 0 for name, one in self._requests)

    def _hello(self, request: Request) -> None:
        machines = self._steward.running_machines()
        request.ok({**self.facts, "time": self._loop.time(), "machines": machines})

    def _quit(self, request: Request) -> None:
        force, forget = request.flag("force"), request.flag("forget")
        machines = self._steward.running_machines()
        if machines and (forget or not force):
            raise Problem("machines-run", machines=machines)
        request.ok()
        for callback in self._steward.on_quit:
            callback()
        self._loop.call_soon(partial(self._end, forget))

    def _end(self, forget: bool) -> None:  # noqa: FBT001 - bound by `partial`
        for name in (*FILES, *(MEMORY if forget else ())):
            self._host.remove(posixpath.join(self.folder, name))
        if forget and not self._worker.files.names(self.folder):
            self._worker.files.remove_folder(self.folder)
        self.kill()


def start_program(process: Process) -> Steps[int]:
    """``python3 -IS -c START KEY BUILD VERSION``, the steward's program on standard input."""
    program = yield from process.read_all()
    worker = process.machine
    assert isinstance(worker, Worker)
    key, build, version = process.argv[4:7]
    folder = posixpath.join(worker.run_folder, key)
    with worker.world.entered():
        answer = _found(worker, folder)
        if answer is None and not program:
            answer = {"ok": True, "state": "absent", "folder": folder}
        elif answer is None:
            answer = _started(worker, folder, program, build, version)
    process.say(json.dumps(answer))
    return 0


def _found(worker: Worker, folder: str) -> Facts | None:
    living = worker.stewards.get(folder)
    if living is None:
        return None
    return {"ok": True, "state": "running", "started": False, "steward": living.facts}


def _started(worker: Worker, folder: str, program: bytes, build: str, version: str) -> Facts:
    try:
        worker.files.make_folder(folder, parents=True)
        worker.files.write(posixpath.join(folder, "start.lock"), b"")
        worker.files.write(posixpath.join(folder, "steward.pyz"), program)
        worker.files.write(posixpath.join(folder, "steward.log"), b"", append=True)
        steward = SimulatedSteward(worker, folder, build, version)
    except OSError as error:
        problem = {"code": "not-writable", "folder": folder, "reason": error.strerror}
        return {"ok": False, "problem": problem}
    except Damaged as damage:
        return {"ok": False, "problem": {"code": "start-failed", "status": 4, "log": str(damage)}}
    worker.stewards[folder] = steward
    return {"ok": True, "state": "running", "started": True, "steward": steward.facts}
