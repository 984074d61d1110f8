"""A client's connection to a simulated steward; each request on it is a command that may fail."""

from __future__ import annotations

import json
import time

from labkit.errors import CommandTimeout, ConnectionLost, LabkitError, WorkerUnreachable
from labkit.executor import stream_ended, timed_out
from labkit.remote.steward.control import HEADER
from labkit.simulator.faults import CONNECTING, Fault, lost, refusal
from labkit.simulator.pipes import End
from labkit.simulator.transcript import Record, Transcript
from labkit.simulator.worker import Worker

MAX_ARRIVED = 1 << 20  # bytes that wait for a client who does not read


class SimulatedConnection:
    """Bytes to a steward and from it. Whoever reads drives the simulated world.

    Requests are told to the transcript and to the faults as ``steward VERB NAME``, with the name
    of the link or the number of the machine that they are about.
    """

    def __init__(
        self, worker: Worker, path: str, transcript: Transcript, fault: Fault | None
    ) -> None:
        self.is_closed = False
        self._worker = worker
        self._world = worker.world
        self._path = path
        self._transcript = transcript
        self._room = fault.after if fault is not None and fault.kind == "cut-transfer" else None
        self._arrived = bytearray()
        self._has_ended = False
        self._broken: LabkitError | None = None
        self._records: dict[int, Record] = {}
        self._last: int | None = None  # the request whose answer will be lost
        self._frames = bytearray()
        with self._world.entered():
            self._end: End | None = self._open()
            self._world.audience.append(self)
            self._world.hear()

    def __repr__(self) -> str:
        return f"<SimulatedConnection {self._worker.name}:{self._path}>"

    def read(self, size: int, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        with self._world.condition:
            while not self._arrived:
                if self._broken is not None:
                    raise self._broken
                if self._has_ended or self.is_closed:
                    return b""
                if self._world.drive():
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._late(timeout)
                self._world.condition.wait(min(left, 60.0))
            data = bytes(self._arrived[:size])
            del self._arrived[:size]
            return data

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._world.entered():
            rest = memoryview(data)
            self._meet_faults(bytes(data))
            if self._room is not None and len(rest) > self._room:
                rest = rest[: self._room]
            self._world.writers += 1
            try:
                while rest:
                    rest = rest[self._send(rest, deadline, timeout) :]
            finally:
                self._world.writers -= 1
            self._world.hear()
            if self._room == 0:
                self._break(lost(self._worker.name, f"relay {self._path}", self._command()))

    def _send(self, data: memoryview, deadline: float, timeout: float) -> int:
        """Send as much as there is room for; the steward makes more of it."""
        if self._end is None or self._has_ended:
            raise stream_ended(self._worker.name, self._command())
        try:
            count = self._end.send(data)
        except BrokenPipeError:
            raise stream_ended(self._worker.name, self._command()) from None
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise self._late(timeout) from None
            if not self._world.drive():
                self._world.condition.wait(0.01)
            return 0
        if self._room is not None:
            self._room -= count
        return count

    def close(self) -> None:
        with self._world.entered():
            if not self.is_closed:
                self.is_closed = True
                self._let_go()
                self._world.audience.remove(self)
                self._world.hear()

    # ---- what the world does

    def publish(self) -> bool:
        """Take what has come, for the one who reads."""
        before, had_ended = len(self._arrived), self._has_ended
        self._take()
        return len(self._arrived) > before or self._has_ended != had_ended

    def _take(self) -> None:
        end = self._end
        while end is not None and end.readable and len(self._arrived) < MAX_ARRIVED:
            data = end.recv(1 << 18)
            if not data:
                self._has_ended = True
                self._let_go()
                return
            if not self._note_answers(data):
                return
            self._arrived += data

    # ---- inside

    def _open(self) -> End:
        try:
            return self._worker.connect(self._path)
        except OSError as error:
            host, path = self._worker.name, self._path
            raise WorkerUnreachable(
                f"cannot connect to {path} on {host}", why=error.strerror or str(error), path=path
            ) from error

    def _let_go(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end.close()
        for record in self._records.values():
            record.end(None, ConnectionLost.code)
        self._records.clear()

    def _break(self, error: LabkitError) -> None:
        self._broken = error
        self._let_go()
        self._world.condition.notify_all()

    def _command(self) -> tuple[str, ...]:
        return ("relay", self._path)

    def _late(self, timeout: float) -> CommandTimeout:
        return timed_out(self._worker.name, self._command(), timeout, "it still runs")

    def _meet_faults(self, data: bytes) -> None:
        """A frame is one write; when it is a request, its way may be broken."""
        if self._broken is not None:
            raise self._broken
        line, number = _line(data)
        if not line:
            return
        record = self._records[number] = self._transcript.begin(self._worker.name, line)
        fault = self._worker.faults.of_connection(self._worker.name, line, is_stream=False)
        if fault is None:
            return
        host = self._worker.name
        if fault.kind == "lost-after":
            self._last = number
            return
        error: LabkitError = lost(host, line, self._command())
        if fault.kind in CONNECTING:
            error = refusal(fault.kind, host)
        record.end(None, ConnectionLost.code)
        self._break(error)
        raise lost(host, line, self._command())

    def _note_answers(self, data: bytes) -> bool:
        """Write down which requests were answered; False when the connection broke there."""
        self._frames += data
        while len(self._frames) >= HEADER.size:
            text, size = HEADER.unpack_from(self._frames)
            end = HEADER.size + text + size
            if len(self._frames) < end:
                break
            facts = json.loads(self._frames[HEADER.size : HEADER.size + text])
            del self._frames[:end]
            number = facts.get("id")
            if "ok" in facts or "problem" in facts:
                if number is not None and number == self._last:
                    self._break(lost(self._worker.name, f"relay {self._path}", self._command()))
                    return False
                record = self._records.pop(number, None)
                if record is not None:
                    record.end(int("problem" in facts), facts.get("problem", {}).get("code", ""))
        return True


def _line(data: bytes) -> tuple[str, int]:
    """How a request reads in the transcript, and its number; "" for what is none."""
    if len(data) < HEADER.size:
        return "", 0
    text, _ = HEADER.unpack_from(data)
    try:
        facts = json.loads(data[HEADER.size : HEADER.size + text])
    except ValueError:
        return "", 0
    if not isinstance(facts, dict) or "do" not in facts:
        return "", 0
    about = facts.get("link", facts.get("index", ""))
    return f"steward {facts['do']} {about}".rstrip(), int(facts.get("id", 0))
