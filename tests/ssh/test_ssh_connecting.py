"""Getting into a worker, and all the ways of not getting in, with real OpenSSH servers."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import (
    AuthenticationRefused,
    HostKeyChanged,
    HostKeyUnknown,
    WorkerUnreachable,
)
from labkit.ssh.executor import RemoteExecutor
from labkit.testing.relay import Relay
from labkit.testing.sshd import HOST, SSHServer, free_port, make_key
from sshd_server import MakeServer, remote_executor

pytestmark = pytest.mark.ssh


@pytest.fixture
def pauses() -> list[float]:
    """What the executor would have waited."""
    return []


@pytest.fixture
def relay(sshd: SSHServer) -> Iterator[Relay]:
    with Relay(sshd.port) as relay:
        sshd.trust(relay.port)
        yield relay
        sshd.trust()


def fingerprint(server: SSHServer) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{server.host_key}.pub"], capture_output=True, check=True
    )
    return shown.stdout.decode().split()[1]


def test_fault_18_an_unknown_host_key_fails_at_once_and_names_the_fix(
    sshd: SSHServer, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known hosts"
    with remote_executor(sshd, known_hosts=known_hosts) as executor:
        with pytest.raises(HostKeyUnknown) as caught:
            executor.run(sshd.host, ("true",))
        assert fingerprint(sshd) in str(caught.value)
        fix = str(caught.value).partition("run: ")[2]
        assert fix == f"ssh-keyscan -p {sshd.port} {HOST} >> '{known_hosts}'"
        subprocess.run(["sh", "-c", fix], check=True, stderr=subprocess.DEVNULL)
        assert executor.run(sshd.host, ("true",)).ok


def test_fault_18_a_changed_host_key_fails_at_once_and_names_the_fix(
    fresh_sshd: MakeServer,
) -> None:
    server = fresh_sshd()
    recorded = fingerprint(server)
    server.change_host_key()
    with remote_executor(server) as executor:
        with pytest.raises(HostKeyChanged) as caught:
            executor.run(server.host, ("true",))
        text = str(caught.value)
        assert recorded in text
        assert fingerprint(server) in text
        fix = text.partition("run: ")[2]
        assert f"ssh-keygen -R '[{HOST}]:{server.port}'" in fix
        subprocess.run(["sh", "-c", fix], check=True, capture_output=True)
        assert executor.run(server.host, ("true",)).ok


def test_fault_28_nothing_is_ever_added_to_known_hosts(sshd: SSHServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("# mine\n")
    with remote_executor(sshd, known_hosts=known_hosts) as executor:
        for _ in range(2):
            with pytest.raises(HostKeyUnknown):
                executor.run(sshd.host, ("true",))
    assert known_hosts.read_text() == "# mine\n"


def test_a_key_of_another_kind_than_the_recorded_one_is_a_changed_key(
    fresh_sshd: MakeServer, tmp_path: Path
) -> None:
    server = fresh_sshd()
    kind, key = Path(f"{make_key(tmp_path / 'rsa', kind='rsa')}.pub").read_text().split()[:2]
    server.known_hosts.write_text(f"[{HOST}]:{server.port} {kind} {key}\n")
    with remote_executor(server) as executor, pytest.raises(HostKeyChanged, match="ssh-rsa"):
        executor.run(server.host, ("true",))


def test_the_recorded_kind_of_key_is_asked_for_when_a_server_has_several(
    fresh_sshd: MakeServer, tmp_path: Path
) -> None:
    rsa = make_key(tmp_path / "rsa", kind="rsa")
    server = fresh_sshd(settings={"HostKey ": str(rsa)})
    kind, key = Path(f"{rsa}.pub").read_text().split()[:2]
    server.known_hosts.write_text(f"[{HOST}]:{server.port} {kind} {key}\n")
    with remote_executor(server) as executor:
        assert executor.run(server.host, ("true",)).ok


def test_fault_18_a_refused_key_says_what_was_tried_and_how_to_get_in(
    sshd: SSHServer, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "another")
    with (
        remote_executor(sshd, key_file=key) as executor,
        pytest.raises(AuthenticationRefused) as caught,
    ):
        executor.run(sshd.host, ("true",))
    assert f"key {key}: refused" in str(caught.value)
    assert f"ssh-copy-id -p {sshd.port} {sshd.user}@{HOST}" in str(caught.value)


def test_a_user_that_is_not_there(sshd: SSHServer) -> None:
    with (
        remote_executor(sshd, remote_user="nobody-here") as executor,
        pytest.raises(AuthenticationRefused, match="does not let nobody-here in"),
    ):
        executor.run(sshd.host, ("true",))


def test_a_missing_key_file(sshd: SSHServer, tmp_path: Path) -> None:
    with (
        remote_executor(sshd, key_file=tmp_path / "absent") as executor,
        pytest.raises(AuthenticationRefused, match="there is no such file"),
    ):
        executor.run(sshd.host, ("true",))


def test_a_key_file_that_is_none(sshd: SSHServer, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear worker, please let me in.")
    with (
        remote_executor(sshd, key_file=tmp_path / "letter") as executor,
        pytest.raises(AuthenticationRefused, match="cannot be read"),
    ):
        executor.run(sshd.host, ("true",))


def test_fault_18_a_locked_key_is_never_asked_a_passphrase_for(
    sshd: SSHServer, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "locked", passphrase="secret")
    with (
        remote_executor(sshd, key_file=key) as executor,
        pytest.raises(AuthenticationRefused, match="locked by a passphrase") as caught,
    ):
        executor.run(sshd.host, ("true",))
    assert f"ssh-add {key}" in str(caught.value)


def test_nothing_listening(pauses: list[float]) -> None:
    with (
        RemoteExecutor(port=free_port(), wait=pauses.append) as executor,
        pytest.raises(WorkerUnreachable, match="3 attempts: nothing listens"),
    ):
        executor.run(HOST, ("true",))
    assert sum(pauses) < 2  # what a notebook can wait


def test_a_name_that_does_not_exist(pauses: list[float]) -> None:
    with (
        RemoteExecutor(wait=pauses.append) as executor,
        pytest.raises(WorkerUnreachable, match="name is not known"),
    ):
        executor.run("no-such-worker.invalid", ("true",))
    assert pauses == []


def test_a_server_that_accepts_and_says_nothing(pauses: list[float]) -> None:
    with socket.create_server((HOST, 0)) as mute:
        port = mute.getsockname()[1]
        with (
            RemoteExecutor(port=port, connect_timeout=0.3, wait=pauses.append) as executor,
            pytest.raises(WorkerUnreachable, match=r"no answer from port \d+ within 0.3 s"),
        ):
            executor.run(HOST, ("true",))
    assert pauses == []


def test_a_server_that_is_no_ssh_server(pauses: list[float]) -> None:
    with Relay(free_port()) as relay:
        relay.hang_up_on(100)
        with (
            RemoteExecutor(port=relay.port, wait=pauses.append) as executor,
            pytest.raises(WorkerUnreachable, match=r"5 attempts: .*hung up at once"),
        ):
            executor.run(HOST, ("true",))
        assert relay.connections == 5
    assert len(pauses) == 4


def test_a_server_that_hangs_up_is_asked_again(
    sshd: SSHServer, relay: Relay, pauses: list[float]
) -> None:
    relay.hang_up_on(3)
    with remote_executor(sshd, port=relay.port, wait=pauses.append) as executor:
        assert executor.run(HOST, ("true",)).ok
    assert len(pauses) == 3
    assert relay.connections == 4


def test_a_refusal_is_not_asked_again(
    sshd: SSHServer, relay: Relay, pauses: list[float], tmp_path: Path
) -> None:
    key = make_key(tmp_path / "another")
    with (
        remote_executor(sshd, port=relay.port, key_file=key, wait=pauses.append) as executor,
        pytest.raises(AuthenticationRefused),
    ):
        executor.run(HOST, ("true",))
    with (
        remote_executor(sshd, port=relay.port, known_hosts=tmp_path / "none") as executor,
        pytest.raises(HostKeyUnknown),
    ):
        executor.run(HOST, ("true",))
    assert pauses == []
    assert relay.connections == 2


def waiting(server: socket.socket) -> int:
    """How many connections wait to be accepted."""
    server.setblocking(False)
    for count in itertools.count():
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError


def test_threads_share_one_connection(sshd: SSHServer, relay: Relay) -> None:
    with (
        remote_executor(sshd, port=relay.port) as executor,
        ThreadPoolExecutor(8) as pool,
    ):
        results = list(pool.map(lambda _: executor.run(HOST, ("true",)), range(40)))
    assert all(result.ok for result in results)
    assert relay.connections == 1


def test_threads_share_the_news_that_a_worker_is_unreachable() -> None:
    with (
        socket.create_server((HOST, 0)) as mute,
        RemoteExecutor(port=mute.getsockname()[1], connect_timeout=0.5) as executor,
        ThreadPoolExecutor(8) as pool,
    ):
        calls = [pool.submit(executor.run, HOST, ("true",)) for _ in range(8)]
        for call in calls:
            with pytest.raises(WorkerUnreachable):
                call.result()
        assert waiting(mute) < 8


@pytest.mark.parametrize(
    "settings",
    [{"MaxSessions": "1"}, {"MaxSessions": "2"}, {"MaxStartups": "2:100:2"}],
    ids=lambda settings: " ".join(*settings.items()),
)
def test_a_server_of_narrow_limits_serves_many_threads(
    fresh_sshd: MakeServer, settings: dict[str, str]
) -> None:
    server = fresh_sshd(settings=settings)

    def work(number: int) -> str:
        with remote_executor(server) as executor:
            stream = executor.open(HOST, ("cat",))
            said = shared.run(HOST, ("printf", "%s", str(number))).text
            stream.close()
        return said

    with remote_executor(server) as shared, ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(12))) == [str(number) for number in range(12)]


def test_refused_sessions_of_many_threads_leave_the_connection_whole(
    fresh_sshd: MakeServer,
) -> None:
    """paramiko keeps one exception for all threads, so that a refusal may find its own taken."""
    server = fresh_sshd(settings={"MaxSessions": "1"})
    with remote_executor(server) as executor, ThreadPoolExecutor(5) as pool:

        def client(_: int) -> str:
            return executor.run(HOST, ("sh", "-c", "echo $SSH_CLIENT")).text

        assert len(set(pool.map(client, range(200)))) == 1


def test_a_server_that_allows_no_session_is_told_to_every_thread(fresh_sshd: MakeServer) -> None:
    """Those that wait for a session are no reason for one another to wait on."""
    server = fresh_sshd(settings={"MaxSessions": "0"})
    executor = remote_executor(server, connect_timeout=1.0)
    with executor, ThreadPoolExecutor(3) as pool:
        for call in [pool.submit(executor.run, HOST, ("true",)) for _ in range(3)]:
            with pytest.raises(WorkerUnreachable, match="MaxSessions"):
                call.result(timeout=30)


def test_repr_names_the_user() -> None:
    assert repr(RemoteExecutor("ada", port=2222)) == "<RemoteExecutor ada, port 2222>"


@pytest.mark.parametrize(
    "options",
    [
        {"remote_user": "-oProxyCommand=x"},
        {"port": 0},
        {"port": "22"},
        {"connect_timeout": 0},
        {"connect_attempts": 0},
    ],
)
def test_fault_15_bad_settings_are_refused(options: dict[str, object]) -> None:
    make: Callable[..., RemoteExecutor] = RemoteExecutor
    with pytest.raises(ValueError, match="must be"):
        make(**options)
