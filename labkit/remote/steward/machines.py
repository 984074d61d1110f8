"""The machines of a slice: the verbs that start, list, end and look at them.

``machine-start {index, name, uuid, argv, env?, files?, about?}``: `argv` runs in RUN/mINDEX, which
`files` (name: text) are written to first; the answer comes when QEMU runs and everything listens to
it. `about`, facts of whoever started it, is shown with the machine for as long as it is known.
The bytes of the request, if any, are written to ``seed.iso`` beside the files.
Problems: ``already-running``, ``not-ours`` (another QEMU holds the folder), ``path-too-long``,
``program-missing``, ``qemu-died`` (with its log), ``qemu-silent``.
``machine-stop {index, how: shutdown | off, timeout}`` answers after QEMU is gone.
``machine-note {index, notes}`` keeps more facts with a machine until it is started again; a note
that is null is dropped.
"""

from __future__ import annotations

import json
import os
import re
import signal

from .guest import Guest
from .machine import Machine
from .process import MACHINE_FILE
from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .context import Steward
    from .request import Facts, Request

MAX_INDEX = 65535
MAX_PATH = 107  # bytes of a unix socket's path
LONGEST_NAME = "serial"
MAX_FILES = 1 << 18  # bytes of text beside the machine
MAX_FACTS = 1 << 16  # bytes of `about` and of the notes
KILL_AFTER = 3.0  # seconds for QEMU to end when it was told to
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
SEED_FILE = "seed.iso"
RESERVED = {"pid", "qmp", "serial", "vnc", "g0", "machine.json", "end.json", "qemu.log", SEED_FILE}


class Machines:
    """All machines of the slice, those of an earlier steward included."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._machines: dict[int, Machine] = {}
        for verb, work in (
            ("machine-start", self._start),
            ("machine-list", self._list),
            ("machine-note", self._note),
            ("machine-qmp", self._qmp),
            ("machine-stop", self._stop),
            ("machine-forget", self._forget),
            ("console-read", lambda request: self._machine(request).console.read(request)),
            ("console-attach", lambda request: self._machine(request).console.attach(request)),
            ("guest-wait", self._wait),
            ("guest-run", lambda request: self._guest(request).run(request)),
            ("guest-put", lambda request: self._guest(request).put(request)),
            ("guest-get", lambda request: self._guest(request).get(request)),
            ("guest-reboot", self._reboot),
        ):
            steward.control.verb(verb, self._told(work))
        steward.running.append(self._running)
        steward.on_homeless.append(self._power_off)
        steward.loop.add_signal(signal.SIGCHLD, self._reap)
        self._find()

    def _running(self) -> list[int]:
        return [index for index, machine in self._machines.items() if machine.state != "dead"]

    def _reap(self) -> None:
        for machine in self._machines.values():
            _ = machine.process.status  # asking for it takes it from the system

    def _find(self) -> None:
        """Take over what an earlier steward has left."""
        host = self._steward.host
        for name in host.names(self._steward.folder):
            match = re.fullmatch(r"m([0-9]{1,5})", name)
            facts = match and host.read_json(os.path.join(self._steward.folder, name, MACHINE_FILE))
            if not match or not facts:
                continue
            machine = Machine(self._steward, int(match.group(1)), facts)
            self._machines[machine.index] = machine
            if machine.process.pid is None:
                machine.recall_end()
            else:
                machine.find(self._found(machine))

    def _power_off(self) -> None:
        for machine in self._machines.values():
            machine.power_off()

    def _found(self, machine: Machine) -> Callable[[str, Facts], None]:
        def note(code: str, facts: Facts) -> None:
            if code:
                self._steward.log("m%d was not taken over: %s %r" % (machine.index, code, facts))

        return note

    # lookups

    def _machine(self, request: Request) -> Machine:
        index = request.integer("index", 0, MAX_INDEX)
        machine = self._machines.get(index)
        if machine is None:
            raise Problem("no-machine", index=index, machines=sorted(self._machines))
        return machine

    def _guest(self, request: Request) -> Guest:
        machine = self._machine(request)
        _refuse_dead(machine)
        return machine.guest

    def _told(self, work: Callable[[Request], None]) -> Callable[[Request], None]:
        """Problems with a machine tell its state and its console's last words."""

        def guarded(request: Request) -> None:
            answer = request.problem

            def problem(code: str, **facts: Any) -> None:
                index = request.arguments.get("index")
                machine = self._machines.get(index) if isinstance(index, int) else None
                if machine is not None:
                    shown = {key: machine.shown()[key] for key in SHOWN}
                    facts = {**shown, **facts}
                answer(code, **facts)

            request.problem = problem  # type: ignore[method-assign]
            work(request)

        return guarded

    # life

    def _start(self, request: Request) -> None:
        index = request.integer("index", 0, MAX_INDEX)
        facts: Facts = {"name": request.text("name"), "uuid": request.text("uuid")}
        facts["argv"] = request.texts("argv")
        facts["env"] = {str(name): str(value) for name, value in request.facts("env").items()}
        facts["about"] = _small(request, "about")
        files = _files(request)
        if not facts["argv"]:
            request.refuse("argv", "a command")
        folder = self._steward.machine_folder(index)
        longest = os.path.join(folder, LONGEST_NAME)
        if len(os.fsencode(longest)) > MAX_PATH:
            raise Problem("path-too-long", path=longest, limit=MAX_PATH)
        known = self._machines.get(index)
        if known is not None and known.state != "dead":
            raise Problem("already-running", **known.shown())
        if self._steward.host.is_held(folder):
            raise Problem("not-ours", folder=folder, reason="its pidfile is locked")
        if not self._steward.host.has_program(facts["argv"][0]):
            raise Problem("program-missing", program=facts["argv"][0])
        if known is not None:
            known.close()
        self._launch(request, index, facts, files)

    def _launch(self, request: Request, index: int, facts: Facts, files: dict[str, str]) -> None:
        folder = self._steward.machine_folder(index)
        try:
            host = self._steward.host
            host.remove(folder)
            host.make_folder(folder)
            for name, text in files.items():
                host.write(os.path.join(folder, name), text.encode(), sure=False)
            if request.data:
                host.write(os.path.join(folder, SEED_FILE), request.data, sure=False)
            machine = Machine(self._steward, index, facts)
            machine.save()
        except OSError as error:
            reason = error.strerror or str(error)
            raise Problem("not-writable", path=folder, reason=reason) from error
        self._machines[index] = machine
        began = self._steward.loop.now()

        def done(code: str, told: Facts) -> None:
            if code:
                request.problem(code, **told)
            else:
                request.ok({**told, "seconds": self._steward.loop.now() - began})

        try:
            machine.start(done)
        except OSError as error:
            machine.recall_end()
            raise Problem(
                "program-missing", program=facts["argv"][0], reason=error.strerror
            ) from error

    def _list(self, request: Request) -> None:
        for machine in self._machines.values():
            if machine.state == "dead" and machine.process.pid is not None:
                # Its QEMU had not locked its pidfile yet when this steward came.
                machine.state = "starting"
                machine.find(self._found(machine))
        request.ok({"machines": [self._machines[i].shown() for i in sorted(self._machines)]})

    def _note(self, request: Request) -> None:
        machine = self._machine(request)
        try:
            machine.note(_small(request, "notes"))
        except OSError as error:
            reason = error.strerror or str(error)
            raise Problem("not-writable", path=machine.folder, reason=reason) from error
        request.ok()

    def _stop(self, request: Request) -> None:
        machine = self._machine(request)
        how = request.text("how", "off")
        timeout = request.number("timeout", 0.0, 3600.0, 30.0)
        if how not in ("off", "shutdown"):
            request.refuse("how", "'off' or 'shutdown'")
        machine.when_dead(lambda: request.ok({"end": machine.end}))
        if request.done:
            return
        if how == "off":
            machine.power_off()
            self._steward.loop.call_later(KILL_AFTER, lambda: self._insist(machine))
            limit = timeout + KILL_AFTER
        else:
            machine.shut_down()
            limit = timeout
        self._steward.loop.call_later(
            limit, lambda: request.problem("stop-timeout", how=how, timeout=timeout)
        )

    def _insist(self, machine: Machine) -> None:
        if machine.state != "dead":
            machine.process.kill()

    def _forget(self, request: Request) -> None:
        index = request.integer("index", 0, MAX_INDEX)
        machine, host = self._machines.get(index), self._steward.host
        folder = self._steward.machine_folder(index)
        if (machine is not None and machine.state != "dead") or host.is_held(folder):
            raise Problem("still-running")
        if machine is not None:
            machine.close()
            del self._machines[index]
        host.remove(folder)
        if host.exists(folder):
            raise Problem("not-writable", path=folder, reason="it could not be removed")
        request.ok()

    def _qmp(self, request: Request) -> None:
        machine = self._machine(request)
        _refuse_dead(machine)
        command, arguments = request.text("execute"), request.facts("arguments")
        if machine.monitor is None:
            raise Problem("qemu-silent")

        def answer(message: Facts) -> None:
            if "error" in message:
                error = message["error"]
                request.problem("qmp-error", kind=error.get("class"), reason=error.get("desc"))
            else:
                request.ok({"return": message["return"]})

        machine.monitor.execute(command, arguments, answer)

    # the guest

    def _wait(self, request: Request) -> None:
        """``guest-wait {timeout}``: parts say what it waits for, ok that the guest answers."""
        machine = self._machine(request)
        _refuse_dead(machine)
        Wait(self._steward, machine, request, request.number("timeout", 0.0, 86400.0, 60.0))

    def _reboot(self, request: Request) -> None:
        machine = self._machine(request)
        _refuse_dead(machine)
        timeout = request.number("timeout", 0.0, 3600.0, 30.0)
        if not machine.reboot(request.ok):
            raise Problem("guest-not-ready")
        machine.when_dead(lambda: request.problem("machine-dead"))
        self._steward.loop.call_later(
            timeout, lambda: request.problem("stop-timeout", how="reboot", timeout=timeout)
        )


SHOWN = ("name", "state", "boots", "resets", "console_tail", "end")


class Wait:
    """A client that waits for a guest to answer."""

    def __init__(
        self, steward: Steward, machine: Machine, request: Request, timeout: float
    ) -> None:
        self._steward, self._machine, self._request = steward, machine, request
        self._began = steward.loop.now()
        self._deadline = self._began + timeout
        machine.guest.when_ready(self._look)
        self._look()

    def _look(self) -> None:
        request, machine, now = self._request, self._machine, self._steward.loop.now()
        if request.done:
            return
        waited = round(now - self._began, 3)
        if machine.guest.ready:
            request.ok({"boot_id": machine.guest.boot, "boots": machine.boots, "seconds": waited})
            return
        stage = self._stage()
        if machine.state == "dead":
            request.problem("machine-dead", waited=waited)
        elif machine.loops:
            request.problem("guest-loops", waited=waited)
        elif now >= self._deadline:
            request.problem("guest-not-ready", waited=waited, stage=stage)
        else:
            request.part({"waiting_for": stage, "seconds": waited})
            self._steward.loop.call_at(min(now + 1.0, self._deadline), self._look)

    def _stage(self) -> str:
        """What has not happened yet."""
        if self._machine.state in ("paused", "panicked", "dead", "starting"):
            return "the machine is %s" % self._machine.state
        if not self._machine.console.history.end:
            return "the kernel has not said a word yet"
        return "the guest's agent has not answered yet"


def _refuse_dead(machine: Machine) -> None:
    if machine.state == "dead":
        raise Problem("machine-dead")


def _small(request: Request, name: str) -> Facts:
    """Facts that are kept with a machine; they are read again and again, so they are few."""
    facts = request.facts(name)
    if len(json.dumps(facts)) > MAX_FACTS:
        request.refuse(name, "at most %d bytes" % MAX_FACTS)
    return facts


def _files(request: Request) -> dict[str, str]:
    files = request.facts("files")
    size = 0
    for name, text in files.items():
        if not FILE_NAME.fullmatch(name) or name in RESERVED or not isinstance(text, str):
            request.refuse("files", "plain file names and texts")
        size += len(text)
    if size > MAX_FILES:
        request.refuse("files", "at most %d bytes" % MAX_FILES)
    return files
