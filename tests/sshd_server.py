"""Fixtures with real OpenSSH servers: `sshd` for all to share, `fresh_sshd` to break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labkit.testing.sshd import PACKAGE, SSHServer, find_sshd

if TYPE_CHECKING:
    from labkit.ssh.executor import RemoteExecutor

MakeServer = Callable[..., SSHServer]


def need_sshd() -> None:
    """Skip where there is no sshd, saying what to install."""
    if find_sshd() is None:
        pytest.skip(f"sshd is missing: apt-get install {PACKAGE}")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    """One server for all tests that leave it as it is."""
    need_sshd()
    with SSHServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def fresh_sshd(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers that a test may break, with the arguments of `SSHServer`."""
    need_sshd()
    with ExitStack() as servers:

        def make(**options: Any) -> SSHServer:
            folder = tmp_path / f"sshd{len(list(tmp_path.glob('sshd*')))}"
            folder.mkdir()
            return servers.enter_context(SSHServer(folder, **options))

        yield make


def remote_executor(server: SSHServer, **options: Any) -> RemoteExecutor:
    """An executor that gets into the server."""
    from labkit.ssh.executor import RemoteExecutor  # paramiko is slow to import

    settings = {
        "port": server.port,
        "key_file": server.key_file,
        "known_hosts": server.known_hosts,
        **options,
    }
    return RemoteExecutor(settings.pop("remote_user", server.user), **settings)
