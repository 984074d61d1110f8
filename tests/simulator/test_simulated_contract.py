"""The simulated executor keeps the promises of every executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from labkit.simulator.executor import SimulatedExecutor
from labkit.simulator.pipes import End, Sender, pair
from labkit.simulator.world import World
from labkit.testing.contract import ExecutorContract
from labkit.testing.sockets_contract import DEAF, LEAVE, SocketContract

HOST = "10.0.10.1"


def echo_end(world: World) -> End:
    """The client's end of a stream to somebody who behaves like `EchoServer`."""
    ours, theirs = pair(world)
    sender = Sender(theirs)

    def take() -> None:
        data = theirs.recv(1 << 16)
        if data.startswith(DEAF):
            theirs.listen(None)
        elif data in (b"", LEAVE):
            theirs.close()
        else:
            sender.send(data)

    theirs.listen(take)
    return ours


class TestSimulatedExecutor(ExecutorContract, SocketContract):
    @pytest.fixture
    def executor(self, request: pytest.FixtureRequest) -> Iterator[SimulatedExecutor]:
        pace = 1.0 if "ctrl_c" in request.node.name else 0.0
        with SimulatedExecutor(pace=pace) as executor:
            yield executor

    @pytest.fixture
    def host(self) -> str:
        return HOST

    @pytest.fixture
    def folder(self, executor: SimulatedExecutor) -> str:
        executor.worker(HOST).files.make_folder("/tmp/folder")
        return "/tmp/folder"

    @pytest.fixture
    def running(self, executor: SimulatedExecutor) -> Callable[[str], int]:
        processes = executor.worker(HOST).processes

        def count(text: str) -> int:
            return sum(text in " ".join(process.argv) for process in list(processes.values()))

        return count

    @pytest.fixture
    def echo(self, executor: SimulatedExecutor) -> str:
        worker = executor.worker(HOST)
        worker.listen("/tmp/echo", lambda: echo_end(worker.world))
        return "/tmp/echo"

    @pytest.fixture
    def left_over(self, executor: SimulatedExecutor) -> str:
        executor.worker(HOST).files.write("/tmp/left", b"")
        return "/tmp/left"
