"""A program on a simulated worker whose input and output are streamed."""

from __future__ import annotations

from labkit.errors import CommandTimeout, ConnectionLost
from labkit.executor import Result, output_too_large, show, stream_ended, timed_out
from labkit.simulator.clock import SECOND
from labkit.simulator.faults import Fault, lost
from labkit.simulator.machine import Buffer, Machine
from labkit.simulator.running import Running, Stop
from labkit.simulator.transcript import Record

PIPE = 1 << 18  # bytes under way to a program that does not read
GRACE_SECONDS = 0.02  # what a program gets done between two writes


class SimulatedStream:
    """The program moves only while it is read from, written to or waited for."""

    def __init__(
        self, worker: Machine, command: tuple[str, ...], record: Record, fault: Fault | None
    ) -> None:
        self._worker, self._command, self._record = worker, command, record
        self._stdin, self._stdout, self._stderr = Buffer(), Buffer(), Buffer()
        process = worker.process(command, self._stdin, self._stdout, self._stderr)
        self._running = Running(worker, process)
        self._started = self._running.moment
        self._running.advance(self._started)  # it is there now, and has done nothing yet
        self._loses_end = fault is not None and fault.kind == "lost-after"
        self._room = fault.after if fault is not None and fault.kind == "cut-transfer" else None
        self._lost: ConnectionLost | None = None
        self.is_closed = False

    def __repr__(self) -> str:
        return f"<SimulatedStream {self._worker.name}: {self._record.line}>"

    def read(self, size: int, timeout: float) -> bytes:
        stop = self._advance(timeout, enough=1, idle=True)
        if not self._stdout.data and stop is not Stop.ENDED:
            raise self._late(timeout)
        return self._stdout.take(size)

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        self._advance(GRACE_SECONDS)
        self._refuse_when_ended()
        for piece in self._pieces(bytes(data)):
            self._stdin.data += piece
            self._advance(timeout if len(self._stdin.data) > PIPE else GRACE_SECONDS)
            if len(self._stdin.data) > PIPE:
                self._refuse_when_ended()
                raise self._late(timeout)
        if self._room == 0:
            self._break()

    def finish(self, timeout: float) -> Result:
        self._stdin.ended = True
        with self._record.noting_errors():
            stop = self._advance(timeout, enough=self._stdout.limit)
            if stop is Stop.ENOUGH:
                raise output_too_large(self._worker.name, self._command)
            if stop is not Stop.ENDED:
                raise self._late(timeout)
        status = self._running.status
        assert status is not None
        self._record.end(status)
        return Result(
            self._command,
            status,
            self._stdout.take(-1),
            bytes(self._stderr.data),
            (self._running.moment - self._started) / SECOND,
            self._worker.name,
        )

    def close(self) -> None:
        self.is_closed = True
        self._running.close()
        self._record.end(self._running.status)

    # ---- inside

    def _advance(self, seconds: float, *, enough: int = PIPE, idle: bool = False) -> Stop:
        """Let the program run for a while; it stops when nobody takes what it prints."""
        if self._lost is not None:
            raise self._lost
        running, before = self._running, len(self._stdout.data)
        running.catch_up(lambda: len(self._stdout.data) >= PIPE)
        deadline = running.moment + round(seconds * SECOND)
        stop = running.advance(deadline, lambda: len(self._stdout.data) >= enough, idle=idle)
        if stop is Stop.ENDED and self._loses_end:
            del self._stdout.data[before:]  # the answer that was under way
            self._break()
        return stop

    def _late(self, timeout: float) -> CommandTimeout:
        return timed_out(self._worker.name, self._command, timeout, "it still runs")

    def _pieces(self, data: bytes) -> list[bytes]:
        """The data in pieces that fit the way, up to where it is scripted to break."""
        if self._room is not None:
            data = data[: self._room]
            self._room -= len(data)
        return [data[at : at + PIPE] for at in range(0, len(data), PIPE)] or [b""]

    def _refuse_when_ended(self) -> None:
        if self._running.status is not None:
            raise stream_ended(self._worker.name, self._command)

    def _break(self) -> None:
        """The connection is gone: the program reads what has arrived, and then its end."""
        self._stdin.ended = True
        self._running.advance(self._running.moment + round(GRACE_SECONDS * SECOND))
        self._running.close()
        self._record.end(None, ConnectionLost.code)
        self._lost = lost(self._worker.name, show(self._command), self._command)
        raise self._lost
