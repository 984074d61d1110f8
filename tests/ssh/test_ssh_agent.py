"""Keys that an agent holds, or that lie in the home folder, with a real ssh-agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import AuthenticationRefused
from labkit.testing.processes import eventually
from labkit.testing.sshd import SSHServer, make_key
from sshd_server import MakeServer, remote_executor

pytestmark = pytest.mark.ssh


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder on this side."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent without keys."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        assert eventually(path.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
        process.terminate()


def add(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL)


@pytest.mark.usefixtures("agent")
def test_a_key_of_the_agent_gets_in(sshd: SSHServer) -> None:
    add(sshd.key_file)
    with remote_executor(sshd, key_file=None) as executor:
        assert executor.run(sshd.host, ("true",)).ok


@pytest.mark.usefixtures("agent")
def test_the_agent_opens_a_locked_key(fresh_sshd: MakeServer, tmp_path: Path) -> None:
    server, key = fresh_sshd(), make_key(tmp_path / "key")
    server.authorize(key)
    add(key)
    lock = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)]
    subprocess.run(lock, check=True, stdout=subprocess.DEVNULL)
    with remote_executor(server, key_file=key) as executor:
        assert executor.run(server.host, ("true",)).ok


@pytest.mark.usefixtures("agent")
def test_too_many_keys_of_the_agent(sshd: SSHServer, tmp_path: Path) -> None:
    for number in range(8):
        add(make_key(tmp_path / f"key{number}"))
    with (
        remote_executor(sshd, key_file=None) as executor,
        pytest.raises(AuthenticationRefused, match="hung up after so many keys"),
    ):
        executor.run(sshd.host, ("true",))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_in_the_home_folder_gets_in(fresh_sshd: MakeServer, home: Path, kind: str) -> None:
    server = fresh_sshd()
    server.authorize(make_key(home / ".ssh" / f"id_{kind}", kind=kind))
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts.read_text())
    with remote_executor(server, key_file=None, known_hosts=None) as executor:
        assert executor.run(server.host, ("true",)).ok


def test_no_key_at_all(sshd: SSHServer) -> None:
    with (
        remote_executor(sshd, key_file=None) as executor,
        pytest.raises(AuthenticationRefused, match=r"agent: none is running.*ssh-copy-id"),
    ):
        executor.run(sshd.host, ("true",))
