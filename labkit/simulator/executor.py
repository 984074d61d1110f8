"""The simulated executor: workers in memory behind the same seam as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from labkit import remote, rules
from labkit.executor import (
    DEFAULT_TIMEOUT,
    BaseExecutor,
    Connection,
    Result,
    Stream,
    check_transfer,
    output_too_large,
    show,
    timed_out,
)
from labkit.simulator.clock import SECOND, Clock
from labkit.simulator.connection import SimulatedConnection
from labkit.simulator.faults import (
    CONNECTING,
    EVERYWHERE,
    Fault,
    Faults,
    lost,
    readable,
    refusal,
)
from labkit.simulator.machine import Buffer, Machine, Program, TooMuchOutput
from labkit.simulator.manager import SimulatedManager
from labkit.simulator.qemu.handle import SimulatedMachine, find_machine
from labkit.simulator.running import Running, Stop
from labkit.simulator.stream import SimulatedStream
from labkit.simulator.transcript import Entry, Record, Transcript
from labkit.simulator.worker import Worker
from labkit.simulator.workers import (
    CONNECT_SECONDS,
    ROUND_TRIP_SECONDS,
    SILENCE_SECONDS,
    get_file,
    make_worker,
    put_file,
)
from labkit.simulator.world import World


class SimulatedExecutor(BaseExecutor):
    """Workers with memory, for notebooks, demos and tests: nothing leaves this process.

    Every valid address is a worker, made when it is first used, with 4 cores, 8 GiB of memory,
    20 GiB of disk and the user ``ubuntu``; with `workers` only those are there. Time is simulated:
    a command takes the same few milliseconds on every machine, and a timeout comes at once;
    with ``pace=1.0`` simulated seconds take real ones.

    Workers run the real steward's code on simulated machines, so that everything above `Executor`
    works as it does on real ones: guests boot in two to three simulated seconds, and their network
    speaks in real Ethernet frames. The same script has the same outcome, to the microsecond.

    ::

        executor = SimulatedExecutor()
        executor.fail("10.0.10.1", "unreachable")                    # until healed
        executor.fail("10.0.10.1", "exit", on="qemu-img", stderr="oops", times=1)
        executor.cut(3)                                              # the third command from now
        executor.fail("*", "lost-after", on="steward machine-start") # requests are commands, too
        executor.fail("10.0.10.1", "boot-panic", on="r1")            # the next start of a machine
        executor.fail("10.0.10.1", "missing", on="qemu-system-x86_64")
        executor.machine("10.0.10.1", "r1").die(after=5)             # see `SimulatedMachine`
        executor.kill_steward("10.0.10.1")
        executor.heal()
        executor.worker("10.0.10.1").files.capacity = 2**20          # a small disk
        executor.manager.truncate("/tmp/vm_images/x.img", 1000)
        executor.transcript                                          # what was sent, and what came
    """

    def __init__(self, *, pace: float = 0.0, workers: Iterable[str] | None = None) -> None:
        self.clock = Clock(pace)
        self.world = World(self.clock)
        self.manager = SimulatedManager(self.clock)
        self.faults = Faults()
        self._transcript = Transcript(self.clock)
        self._workers: dict[str, Worker] = {}
        self._known = None if workers is None else tuple(map(rules.host, workers))
        self._connected: set[str] = set()
        self._streams: list[SimulatedStream] = []
        self._connections: list[SimulatedConnection] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        count = len(self._workers)
        return f"<SimulatedExecutor, {count} worker{'s' * (count != 1)}>"

    @property
    def transcript(self) -> list[Entry]:
        """Every command that has ended, in the order in which they were sent."""
        return self._transcript.entries()

    def worker(self, host: str) -> Worker:
        """A worker: its `files`, its `programs`, its size. Safe to change."""
        rules.host(host, "host")
        with self._lock:
            if host not in self._workers:
                self._workers[host] = make_worker(host, self.world, self.faults)
            return self._workers[host]

    # ---- faults

    def fail(
        self,
        host: str,
        fault: str,
        *,
        on: str = "",
        times: int | None = None,
        skip: int = 0,
        status: int = 1,
        stderr: str = "",
        after: int = 0,
    ) -> None:
        """Script a fault on a worker, or with ``"*"`` on all; `labkit.simulator.faults` lists them.

        `on` says at which commands: faults on the way to the worker hit commands whose line in
        the transcript contains it, faults of programs those that begin with it (also when
        another program starts them), and faults of booting machines the machine of that name.
        `times` says how often, without it until `heal`; `skip`
        leaves out the first ones. `status` and `stderr` belong to ``"exit"``, `after` (bytes) to
        ``"cut-transfer"``.
        """
        self.faults.add(Fault(fault, host, on, times, skip, status, stderr, after))

    def cut(self, at: int, *, effect: str = "before") -> None:
        """Break the connection at the `at`-th command from now (1 is the next), on any worker.

        The command has had its effect (``"after"``) or not (``"before"``); its sender cannot know.
        """
        if effect not in ("before", "after"):
            rules.invalid("effect", effect, "'before' or 'after'")
        rules.integer(at, "at", 1, 10**9)
        self.fail(EVERYWHERE, f"lost-{effect}", times=1, skip=at - 1)

    def heal(self, host: str = EVERYWHERE) -> None:
        """Forget the faults scripted for a worker, or all of them. Files stay as they are."""
        self.faults.heal(host)

    # ---- machines

    def machine(self, host: str, name: str) -> SimulatedMachine:
        """A machine that runs on a worker, by its name: to let something happen to it."""
        return find_machine(self.worker(host), name)

    def kill_steward(self, host: str, key: str = "") -> None:
        """End the steward of a slice on a worker, or all, without warning: machines live on."""
        worker = self.worker(host)
        with self.world.entered():
            for steward in list(worker.stewards.values()):
                if key in ("", steward.facts["slice"]):
                    steward.kill()
            self.world.hear()

    # ---- Executor

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        return self._run(host, self._check(host, argv, timeout), stdin, timeout)

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        command = self._check(host, argv, DEFAULT_TIMEOUT)
        record = self._transcript.begin(host, readable(command))
        with record.noting_errors():
            worker, fault = self._reach(record, command, is_stream=True)
        stream = SimulatedStream(worker, command, record, fault)
        with self._lock:
            self._streams = [*(open_ for open_ in self._streams if not open_.is_closed), stream]
        return stream

    def connect(self, host: str, path: str) -> Connection:
        """A connection to a steward."""
        command = self._check(host, remote.program("relay", path), DEFAULT_TIMEOUT)
        record = self._transcript.begin(host, readable(command))
        with record.noting_errors():
            worker, fault = self._reach(record, command, is_stream=True)
            connection = SimulatedConnection(worker, path, self._transcript, fault)
        record.end(0)
        with self._lock:
            self._connections = [*(one for one in self._connections if not one.is_closed)]
            self._connections.append(connection)
        return connection

    def put(self, host: str, path: str, data: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        command = self._check(host, ("put", path), timeout)
        check_transfer("write", path, self._run(host, command, data, timeout, put_file))

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        command = self._check(host, ("get", path), timeout)
        return check_transfer("read", path, self._run(host, command, b"", timeout, get_file))

    def close(self) -> None:
        """Close the executor and its streams; again is fine. The workers' files stay."""
        with self._lock:
            super().close()
            streams, self._streams = self._streams, []
            connections, self._connections = self._connections, []
        for stream in streams:
            stream.close()
        for connection in connections:
            connection.close()

    # ---- inside

    def _run(
        self,
        host: str,
        command: tuple[str, ...],
        stdin: bytes,
        timeout: float,
        program: Program | None = None,
    ) -> Result:
        line = readable(command, stdin)
        record = self._transcript.begin(host, line)
        with record.noting_errors():
            worker, fault = self._reach(record, command, is_stream=False)
            result = _work(worker, command, stdin, timeout, program)
            self._travel(ROUND_TRIP_SECONDS)
            if fault is not None:
                self._forget(host)
                raise lost(host, show(command), command)
        record.end(result.returncode)
        return result

    def _reach(
        self, record: Record, command: tuple[str, ...], *, is_stream: bool
    ) -> tuple[Worker, Fault | None]:
        """The worker, and the fault that will hit the way back; raises when the way is broken."""
        host = record.host
        fault = self.faults.of_connection(host, record.line, is_stream=is_stream)
        is_there = self._known is None or host in self._known
        if not is_there or (fault is not None and fault.kind in CONNECTING):
            kind = fault.kind if fault is not None and is_there else "unreachable"
            self._forget(host)
            self._travel(SILENCE_SECONDS if kind == "unreachable" else CONNECT_SECONDS)
            raise refusal(kind, host)
        with self._lock:
            is_new = is_stream or host not in self._connected
            self._connected.add(host)
        self._travel(CONNECT_SECONDS if is_new else 0)
        if fault is not None and fault.kind == "lost-before":
            self._forget(host)
            raise lost(host, show(command), command)
        return self.worker(host), fault

    def _travel(self, seconds: float) -> None:
        moment = self.clock.moment
        self.clock.move(moment, moment + round(seconds * SECOND))

    def _forget(self, host: str) -> None:
        """The kept connection is gone."""
        with self._lock:
            self._connected.discard(host)


def _work(
    worker: Machine,
    command: tuple[str, ...],
    stdin: bytes,
    timeout: float,
    program: Program | None,
) -> Result:
    """Run a program on a worker to its end, or to its deadline."""
    stdout, stderr = Buffer(), Buffer()
    process = worker.process(command, Buffer(stdin, ended=True), stdout, stderr)
    running = Running(worker, process, program)
    started = running.moment
    try:
        stop = running.advance(started + round(timeout * SECOND))
    except TooMuchOutput:
        raise output_too_large(worker.name, command) from None
    finally:
        running.close()
    if stop is not Stop.ENDED:
        raise timed_out(worker.name, command, timeout, "it was ended")
    assert running.status is not None
    seconds = (running.moment - started) / SECOND
    return Result(
        command, running.status, bytes(stdout.data), bytes(stderr.data), seconds, worker.name
    )
