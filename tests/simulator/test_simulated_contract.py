"""The simulated executor keeps the promises of every executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from labkit.simulator.executor import SimulatedExecutor
from labkit.testing.contract import ExecutorContract

HOST = "10.0.10.1"


class TestSimulatedExecutor(ExecutorContract):
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
