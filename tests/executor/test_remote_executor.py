"""The contract of executors, kept by the one over SSH with a real OpenSSH server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from argument_property import ArgumentProperty
from labkit.executor import Executor
from labkit.testing.contract import ExecutorContract
from labkit.testing.sockets_contract import SocketContract
from labkit.testing.sshd import SSHServer
from sshd_server import need_sshd, remote_executor


@pytest.mark.ssh
class TestRemoteExecutor(ArgumentProperty, ExecutorContract, SocketContract):
    @pytest.fixture
    def executor(self, sshd: SSHServer) -> Iterator[Executor]:
        with remote_executor(sshd) as executor:
            yield executor

    @pytest.fixture
    def host(self, sshd: SSHServer) -> str:
        return sshd.host

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        return str(tmp_path)


@pytest.fixture(scope="module")
def dash_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    need_sshd()
    settings = {"ForceCommand": 'exec dash -c "$SSH_ORIGINAL_COMMAND"'}
    with SSHServer(tmp_path_factory.mktemp("sshd-dash"), settings=settings) as server:
        yield server


@pytest.mark.ssh
@pytest.mark.slow
class TestRemoteExecutorWithDash(TestRemoteExecutor):
    """The same where the login shell is a plain POSIX shell and not bash."""

    @pytest.fixture
    def sshd(self, dash_sshd: SSHServer) -> SSHServer:
        return dash_sshd
