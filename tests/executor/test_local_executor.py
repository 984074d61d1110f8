"""The contract of executors, kept by the one of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from argument_property import ArgumentProperty
from labkit.errors import UsageError
from labkit.executor import Executor
from labkit.local import LocalExecutor
from labkit.testing.contract import ExecutorContract
from labkit.testing.sockets_contract import SocketContract


class TestLocalExecutor(ArgumentProperty, ExecutorContract, SocketContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        home = tmp_path / "home"
        home.mkdir()
        with LocalExecutor({"HOME": str(home)}) as executor:
            yield executor

    @pytest.fixture
    def host(self) -> str:
        return "localhost"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        return str(tmp_path)


def test_another_machine_is_refused() -> None:
    with LocalExecutor() as executor, pytest.raises(UsageError, match="not this machine"):
        executor.run("10.0.10.1", ("true",))
