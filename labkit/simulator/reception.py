"""The simulated ``receive`` program: the answers of labkit.remote.receive on files in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
from typing import Any

from labkit.remote.receive import (
    FRAME,
    MANAGER_GONE,
    POLL_SECONDS,
    SIGN_OF_LIFE,
    ManagerGone,
    Target,
)
from labkit.remote.shared import MIB, Problem
from labkit.simulator.disks import expanded, problem_of, record_sha256, recorded_sha256
from labkit.simulator.files import FileTree
from labkit.simulator.machine import Process, Steps, Wait

SECONDS_PER_BYTE = 1e-8  # a network of 100 MB/s


def receive_program(process: Process) -> Steps[int]:
    """``python3 -IS -c RECEIVE DIR FILE SHA256 SIZE IDLE``."""
    try:
        folder, file, sha256, size, idle = process.argv[4:]
        target = Target(expanded(process.files, folder), file, sha256, int(size))
        reception = _Reception(process, target, float(idle))
    except ValueError as error:
        return process.fail(f"ValueError: {error}")
    try:
        yield from reception.serve()
    except Problem as problem:
        reception.say(state="failed", **problem.facts)
    except ManagerGone:
        return MANAGER_GONE
    except OSError as error:
        facts = problem_of(process.files, error, target.folder).facts
        reception.say(state="failed", **facts)
    return 0


class _Reception:
    """One run of the program. Its steps and their order are those of the real one."""

    def __init__(self, process: Process, target: Target, idle: float) -> None:
        self.process = process
        self.files: FileTree = process.files
        self.target = target
        self.idle = idle

    def say(self, **line: Any) -> None:
        self.process.say(json.dumps(line))

    def serve(self) -> Steps[None]:
        made = not self.files.is_folder(self.target.folder)
        self.files.make_folder(self.target.folder, parents=True)
        try:
            yield from self._lock()
            try:
                if self._is_here():
                    self.say(state="have")
                else:
                    yield from self._copy()
                    self.say(state="done")
            finally:
                self.process.machine.locked.discard(self.target.lock)
                self.files.remove(self.target.lock)
        finally:
            if made:
                with contextlib.suppress(OSError):  # it holds something by now
                    self.files.remove_folder(self.target.folder)

    def _lock(self) -> Steps[None]:
        waited = told = 0.0
        locked = self.process.machine.locked
        while self.target.lock in locked:
            if waited >= told:
                self.say(state="waiting", seconds=round(waited, 1))
                told = waited + SIGN_OF_LIFE
            yield Wait(POLL_SECONDS, for_input=True, is_contended=True)
            if self.process.stdin.ended or self.process.stdin.data:
                raise ManagerGone
            waited += POLL_SECONDS
            # whoever had the lock may have made the folder, and removed it when it gave up
            self.files.make_folder(self.target.folder, parents=True)
        self.files.write(self.target.lock, b"")
        locked.add(self.target.lock)

    def _is_here(self) -> bool:
        target = self.target
        node = self.files.find(target.path)
        if node is None:
            return False
        if node.is_folder:
            reason = "it is not a regular file"
            raise Problem("base-invalid", file=target.file, reason=reason)
        here = recorded_sha256(self.files, target.path, node)
        here = here or hashlib.sha256(self.files.read(target.path)).hexdigest()
        if here != target.sha256:
            raise Problem("base-differs", file=target.file, here=here, wanted=target.sha256)
        record_sha256(self.files, target.path, target.part + ".new")
        return True

    def _copy(self) -> Steps[None]:
        target, part = self.target, self.target.part
        self.files.write(part, b"", append=True)
        content = self.files.read(part)
        start = len(content) // MIB * MIB
        content = content[: start if start <= target.size else 0]
        self.files.write(part, content)
        try:
            self.say(state="need", offset=len(content), free=self.files.free)
            whole = yield from self._frames(bytearray(content))
            got = hashlib.sha256(whole).hexdigest()
            if got != target.sha256:
                raise Problem("corrupt", got=got, wanted=target.sha256)
            self._put_in_place()
        except BaseException as error:
            keep = isinstance(error, ManagerGone | GeneratorExit) or (
                isinstance(error, Problem) and error.facts["code"] == "idle"
            )
            node = self.files.find(part)
            if node is not None and (not keep or not node.size):
                self.files.remove(part)
            raise

    def _frames(self, content: bytearray) -> Steps[bytes]:
        """Write the frames that come until the last; the whole content."""
        size, part = self.target.size, self.target.part
        is_corrupt = self.process.machine.faults.of_content(self.process.machine.name) is not None
        try:
            while True:
                offset, length = FRAME.unpack((yield from self._exactly(FRAME.size)))
                if offset < len(content) or offset + length > size:
                    wanted = self.target.sha256
                    raise Problem("corrupt", got="a frame out of order", wanted=wanted)
                if not length:
                    break
                content.extend(bytes(offset - len(content)))
                while length:
                    data = yield from self._some(length)
                    if is_corrupt:
                        data, is_corrupt = bytes([data[0] ^ 1]) + data[1:], False
                    before = len(content)
                    content += data
                    length -= len(data)
                    if before // MIB != len(content) // MIB:
                        self.files.write(part, bytes(content))
                    yield Wait(len(data) * SECONDS_PER_BYTE)
            content.extend(bytes(size - len(content)))
        finally:
            self.files.write(part, bytes(content))
        return bytes(content)

    def _some(self, limit: int) -> Steps[bytes]:
        """At least one byte, at most `limit`."""
        stdin = self.process.stdin
        if not stdin.data and not stdin.ended:
            yield Wait(self.idle, for_input=True)
        if stdin.data:
            return stdin.take(min(limit, MIB))
        if stdin.ended:
            raise ManagerGone
        raise Problem("idle")

    def _exactly(self, size: int) -> Steps[bytes]:
        data = b""
        while len(data) < size:
            data += yield from self._some(size - len(data))
        return data

    def _put_in_place(self) -> None:
        target = self.target
        self.files.change_mode(target.part, 0o444)
        if not self._is_here():
            self.files.rename(target.part, target.path)
            record_sha256(self.files, target.path, target.part + ".new")
        pattern = re.compile(rf"\.{re.escape(target.file)}\.[0-9a-f]{{16}}\.part")
        for name in self.files.names(target.folder):
            if pattern.fullmatch(name):
                self.files.remove(posixpath.join(target.folder, name))
