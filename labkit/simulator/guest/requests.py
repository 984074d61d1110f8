"""What the host asks of a guest's agent: commands, and files both ways."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
from typing import TYPE_CHECKING

from labkit.remote.steward.lane import pack_fields
from labkit.simulator.guest.frames import PAYLOAD, pairs
from labkit.simulator.guest.system import ENVIRONMENT, FOLDER
from labkit.simulator.machine import Buffer, Process
from labkit.simulator.tasks import Gate, Task

if TYPE_CHECKING:
    from labkit.simulator.guest.agent import Agent, Port

Fields = list[tuple[str, str]]
SHELL = "/bin/sh"
SIGNALLED = 128
SIGTERM = 15


class Request:
    """One thing that was asked for, until its last frame."""

    def __init__(self, agent: Agent, port: Port, token: str, fields: Fields) -> None:
        self.port = port
        self.token = token
        self._agent = agent
        self._guest = agent.guest
        self._fields = dict(fields)
        self._all = fields
        self._window = int(self._fields["window"]) if "window" in self._fields else None
        self._waiting = bytearray()

    is_hungry = False  # whether it waits for input of the host
    is_watched = False  # whether a command that was typed runs

    def begin(self) -> None:
        raise NotImplementedError

    def frame(self, verb: str, payload: bytes) -> None:
        raise NotImplementedError

    def end(self, number: int) -> None:
        """The host wants no more of it."""
        raise NotImplementedError

    def abandon(self) -> None:
        """The host is gone, or the guest: end it without a word."""

    def _last(self, verb: str, **fields: object) -> None:
        self._agent.over(self)
        self.port.tell(verb, self.token, **fields)

    def _fail(self, code: str, text: str = "", number: int = 0) -> None:
        self._last("problem", code=code, text=text, errno=number)

    def _fail_with(self, error: OSError) -> None:
        number = error.errno or 0
        self._fail("file", os.strerror(number), number)


class Outlet:
    """A stream of a command, on its way to the host."""

    def __init__(self, command: Command, verb: str) -> None:
        self.size = 0
        self._command = command
        self._verb = verb

    def write(self, data: bytes, /) -> None:
        self.size += len(data)
        self._command.say(self._verb, data)


class Command(Request):
    """``run``: a program or a line of shell, with its streams."""

    def begin(self) -> None:
        system = self._guest.system
        words = [value for name, value in self._all if name == "arg"]
        argv = tuple(words) if words else (SHELL, "-c", self._fields.get("shell", ""))
        folder = self._fields.get("cwd", FOLDER)
        problem = 0
        if not system.files.is_folder(folder) or system.program(argv[0]) is None:
            problem = errno.ENOENT
        if problem:
            self._last("problem", code="not-started", text=os.strerror(problem), errno=problem)
            return
        environment = dict(ENVIRONMENT)
        for name, value in self._all:
            if name == "env":
                key, _, what = value.partition("=")
                environment[key] = what
        self._queue: list[tuple[str, bytes]] = []
        self._input = 0
        self._began = self._guest.now()
        self._status: int | None = None
        self._why = "exited"
        self._gate = Gate()
        self._start(argv, folder, environment)
        if "timeout" in self._fields:
            seconds = int(self._fields["timeout"]) / 1000
            self._guest.call_later(seconds, lambda: self._stop("timeout", SIGTERM))

    def _start(self, argv: tuple[str, ...], folder: str, environment: dict[str, str]) -> None:
        system = self._guest.system
        self._stdin = Buffer(ended="stdin" not in self._fields)
        self._out, self._err = Outlet(self, "out"), Outlet(self, "err")
        process = self._process = Process(
            system,
            argv,
            self._stdin,
            self._out,
            self._err,
            folder,
            environment,
            next(system.pids),
        )
        self.port.tell("started", self.token, pid=process.pid)
        self._task: Task = system.start_process(process, self._ended, self._gate)

    @property
    def is_hungry(self) -> bool:  # type: ignore[override]
        return not self._stdin.ended and not self._stdin.data and self._status is None

    def say(self, verb: str, data: bytes) -> None:
        """Output, as far as the host takes it now; what comes after the end is dropped."""
        if self.token not in self._agent.open:
            return
        for at in range(0, len(data), PAYLOAD):
            self._queue.append((verb, data[at : at + PAYLOAD]))
        self._flush()

    def frame(self, verb: str, payload: bytes) -> None:
        if verb == "in":
            self._input += len(payload)
            if self._status is None:
                self._stdin.write(payload)
            self.port.send("credit", self.token, b"%d" % len(payload))
        elif verb == "eof":
            self._stdin.end()
        elif verb == "credit" and self._window is not None:
            self._window += int(payload)
            self._flush()

    def end(self, number: int) -> None:
        self._stop("ended", number)

    def abandon(self) -> None:
        self._queue.clear()
        self._agent.guest.system.kill_group(self._process.pid)
        self._task.kill(SIGNALLED + SIGTERM)

    # ---- inside

    def _stop(self, why: str, number: int) -> None:
        if self._status is None:
            self._why = why
            self._agent.guest.system.kill_group(self._process.pid)
            self._task.kill(SIGNALLED + number)

    def _ended(self, status: int) -> None:
        self._status = status
        self._flush()

    def _flush(self) -> None:
        while self._queue:
            verb, data = self._queue[0]
            if self._window is not None:
                if self._window < len(data):
                    self._gate.close()
                    return
                self._window -= len(data)
            del self._queue[0]
            self.port.send(verb, self.token, data)
        self._gate.open()
        if self._status is not None and self.token in self._agent.open:
            self._exit(self._status)

    def _exit(self, status: int) -> None:
        number = status - SIGNALLED if status > SIGNALLED else 0
        self._last(
            "exit",
            status="" if number else status,
            signal=number or "",
            reason=self._why,
            out=self._out.size,
            err=self._err.size,
            input=self._input,
            ms=round((self._guest.now() - self._began) * 1000),
        )


class Upload(Request):
    """``put``: a file, whole and verified or not at all."""

    def begin(self) -> None:
        self._data = bytearray()
        self._path = self._fields["path"]
        folder = posixpath.dirname(self._path) or "/"
        files = self._guest.system.files
        if int(self._fields.get("size", "0")) > files.free:
            self._fail("file", os.strerror(errno.ENOSPC), errno.ENOSPC)
        elif not files.is_folder(folder):
            self._fail("file", os.strerror(errno.ENOENT), errno.ENOENT)
        elif files.is_folder(self._path):
            self._fail("file", os.strerror(errno.EISDIR), errno.EISDIR)
        else:
            self.port.tell("started", self.token)

    def frame(self, verb: str, payload: bytes) -> None:
        if verb == "in":
            self._data += payload
            self.port.send("credit", self.token, b"%d" % len(payload))
        elif verb == "eof":
            self._finish(dict(pairs(payload)))

    def end(self, number: int) -> None:
        self._fail("ended")

    def _finish(self, told: dict[str, str]) -> None:
        data, files = bytes(self._data), self._guest.system.files
        got = hashlib.sha256(data).hexdigest()
        if (str(len(data)), got) != (told["size"], told["sha256"]):
            self._fail("corrupt", "it differs from what was sent")
            return
        part = f"{self._path}.part-{self.token.rpartition('-')[2]}"
        try:
            files.write(part, data)
            files.change_mode(part, int(self._fields.get("mode", "644"), 8))
            files.rename(part, self._path)
        except OSError as error:
            if files.is_file(part):
                files.remove(part)
            self._fail_with(error)
            return
        self._last("done", size=len(data), sha256=got)


class Download(Request):
    """``get``: the bytes of a file."""

    def begin(self) -> None:
        try:
            data = self._guest.system.files.read(self._fields["path"])
        except OSError as error:
            self._fail_with(error)
            return
        self._size, self._hash = len(data), hashlib.sha256(data).hexdigest()
        self._waiting += data
        self.port.send("started", self.token, pack_fields([("size", str(len(data)))]))
        self._flush()

    def frame(self, verb: str, payload: bytes) -> None:
        if verb == "credit" and self._window is not None:
            self._window += int(payload)
            self._flush()

    def end(self, number: int) -> None:
        self._fail("ended")

    def _flush(self) -> None:
        while self._waiting:
            size = min(PAYLOAD, len(self._waiting))
            if self._window is not None:
                size = min(size, self._window)
                if not size:
                    return
                self._window -= size
            self.port.send("out", self.token, bytes(self._waiting[:size]))
            del self._waiting[:size]
        self._last("done", size=self._size, sha256=self._hash)
