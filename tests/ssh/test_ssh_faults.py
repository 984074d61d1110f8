"""What breaks while commands run: servers, sessions, networks and login shells that misbehave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import (
    CommandError,
    CommandTimeout,
    ConnectionLost,
    InvalidArgument,
    LabkitError,
)
from labkit.ssh.executor import RemoteExecutor
from labkit.testing.contract_fixtures import EVERY_BYTE
from labkit.testing.processes import SOON, count_processes, eventually, unique_seconds
from labkit.testing.relay import Relay
from labkit.testing.sshd import HOST, SSHServer
from sshd_server import MakeServer, remote_executor

pytestmark = pytest.mark.ssh

MIB = 2**20


@pytest.fixture
def server(fresh_sshd: MakeServer) -> SSHServer:
    return fresh_sshd()


@pytest.fixture
def executor(server: SSHServer) -> Iterator[RemoteExecutor]:
    with remote_executor(server) as executor:
        yield executor


@pytest.fixture
def relay(server: SSHServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        server.trust(relay.port)
        yield relay


def in_background(work: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Start `work` in a thread; the returned function waits for it and gives what it raised."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            work()
        except LabkitError as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()

    def wait() -> BaseException | None:
        thread.join(SOON)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return wait


def test_a_session_killed_while_a_command_runs_leaves_its_effect_unknown(
    server: SSHServer, executor: RemoteExecutor
) -> None:
    seconds = unique_seconds()
    result = in_background(lambda: executor.run(HOST, ("sleep", seconds)))
    assert eventually(lambda: count_processes(seconds) > 0)
    server.signal_sessions(signal.SIGKILL)
    error = result()
    assert isinstance(error, ConnectionLost)
    assert "effect is unknown" in str(error)
    assert "no command a second time" in str(error)
    assert eventually(lambda: count_processes(seconds) == 0)
    assert executor.run(HOST, ("printf", "up")).text == "up"


def test_a_server_killed_while_a_command_runs(server: SSHServer, executor: RemoteExecutor) -> None:
    seconds = unique_seconds()
    result = in_background(lambda: executor.run(HOST, ("sleep", seconds)))
    assert eventually(lambda: count_processes(seconds) > 0)
    server.stop()
    assert isinstance(result(), ConnectionLost)
    assert eventually(lambda: count_processes(seconds) == 0)


def test_a_lost_command_is_not_sent_again(
    server: SSHServer, executor: RemoteExecutor, tmp_path: Path
) -> None:
    seconds, log = unique_seconds(), tmp_path / "log"
    script = f"echo started >>'{log}'; sleep {seconds}"
    result = in_background(lambda: executor.run(HOST, ("sh", "-c", script)))
    assert eventually(lambda: count_processes(f"sleep\0{seconds}") > 0)
    server.signal_sessions(signal.SIGKILL)
    assert isinstance(result(), ConnectionLost)
    assert log.read_text() == "started\n"


@pytest.mark.parametrize("size", [0, 1024], ids=["no input", "input"])
def test_a_connection_cut_while_a_command_runs_ends_it(
    server: SSHServer, relay: Relay, size: int
) -> None:
    seconds = unique_seconds()
    with remote_executor(server, port=relay.port) as executor:
        result = in_background(
            lambda: executor.run(HOST, ("sleep", seconds), stdin=EVERY_BYTE[:size])
        )
        assert eventually(lambda: count_processes(f"sleep\0{seconds}") > 0)
        relay.cut()
        assert isinstance(result(), ConnectionLost)
        assert eventually(lambda: count_processes(seconds) == 0)


def test_a_program_that_ignores_the_end_is_killed_after_a_cut(
    server: SSHServer, relay: Relay
) -> None:
    seconds = unique_seconds()
    script = f"trap '' TERM HUP; sleep {seconds} & wait; sleep {seconds}"
    with remote_executor(server, port=relay.port) as executor:
        result = in_background(lambda: executor.run(HOST, ("sh", "-c", script)))
        assert eventually(lambda: count_processes(f"sleep\0{seconds}") > 0)
        relay.cut()
        assert isinstance(result(), ConnectionLost)
        assert eventually(lambda: count_processes(seconds) == 0)


def test_a_program_that_ignores_the_end_is_killed_after_a_timeout(
    executor: RemoteExecutor,
) -> None:
    seconds = unique_seconds()
    script = f"trap '' TERM HUP; sleep {seconds}"
    with pytest.raises(CommandTimeout, match="it was ended"):
        executor.run(HOST, ("sh", "-c", script), timeout=0.3)
    assert eventually(lambda: count_processes(seconds) == 0)


def test_input_cut_off_half_way_never_looks_whole(
    server: SSHServer, relay: Relay, tmp_path: Path
) -> None:
    target, data = tmp_path / "target", EVERY_BYTE * 256
    target.write_text("as before")
    with remote_executor(server, port=relay.port) as executor:
        result = in_background(lambda: executor.put(HOST, str(target), data))
        assert eventually(lambda: any(part.stat().st_size for part in tmp_path.glob(".target*")))
        relay.stall()
        relay.cut()
        assert isinstance(result(), ConnectionLost)
        relay.resume()
        assert executor.get(HOST, str(target)) == b"as before"
    assert eventually(lambda: list(tmp_path.glob(".target*")) == [])


def test_a_connection_that_broke_while_idle_is_replaced_silently(
    server: SSHServer, relay: Relay
) -> None:
    with remote_executor(server, port=relay.port) as executor:
        for _ in range(3):
            assert executor.run(HOST, ("printf", "up")).text == "up"
            relay.cut()
    assert relay.connections == 3


def test_a_server_that_was_restarted_is_found_again(
    server: SSHServer, executor: RemoteExecutor
) -> None:
    assert executor.run(HOST, ("printf", "up")).text == "up"
    server.stop()
    server.start()
    assert executor.run(HOST, ("printf", "up again")).text == "up again"


def test_the_deadline_holds_in_a_silent_network(server: SSHServer, relay: Relay) -> None:
    seconds = unique_seconds()
    with remote_executor(server, port=relay.port, connect_timeout=1) as executor:
        executor.run(HOST, ("true",))
        result = in_background(lambda: executor.run(HOST, ("sleep", seconds), timeout=0.5))
        assert eventually(lambda: count_processes(f"sleep\0{seconds}") > 0)
        relay.stall()
        error = result()
        assert isinstance(error, CommandTimeout)
        assert "did not confirm" in str(error)
        relay.resume()
        assert eventually(lambda: count_processes(seconds) == 0)
        assert executor.run(HOST, ("printf", "up")).text == "up"


def test_the_deadline_holds_when_the_session_stops(server: SSHServer) -> None:
    seconds = unique_seconds()
    with remote_executor(server, connect_timeout=1) as executor:
        result = in_background(lambda: executor.run(HOST, ("sleep", seconds), timeout=0.5))
        assert eventually(lambda: count_processes(f"sleep\0{seconds}") > 0)
        server.signal_sessions(signal.SIGSTOP)
        error = result()
        assert isinstance(error, CommandTimeout)
        assert "did not confirm" in str(error)
        assert executor.run(HOST, ("printf", "up")).text == "up"
        server.signal_sessions(signal.SIGCONT)
    assert eventually(lambda: count_processes(seconds) == 0)


def test_a_kept_connection_that_hangs_is_replaced(server: SSHServer) -> None:
    with remote_executor(server, connect_timeout=0.5) as executor:
        executor.run(HOST, ("true",))
        server.signal_sessions(signal.SIGSTOP)
        assert executor.run(HOST, ("printf", "up")).text == "up"


def test_a_login_that_prints_is_told_apart(server: SSHServer, executor: RemoteExecutor) -> None:
    (server.home / ".bashrc").write_text("echo Welcome; echo -n tail; echo Warning >&2\n")
    result = executor.run(HOST, ("sh", "-c", "printf o; printf e >&2"))
    assert (result.stdout, result.stderr) == (b"o", b"e")
    executor.put(HOST, "~/file", b"content")
    assert executor.get(HOST, "~/file") == b"content"
    stream = executor.open(HOST, ("cat",))
    stream.write(b"x", SOON)
    assert stream.read(10, SOON) == b"x"
    stream.close()


def test_a_login_that_ends_before_the_command_is_recognised(
    server: SSHServer, executor: RemoteExecutor, tmp_path: Path
) -> None:
    (server.home / ".bashrc").write_text("echo This account is locked; exit 3\n")
    for call in (
        lambda: executor.run(HOST, ("touch", str(tmp_path / "x"))),
        lambda: executor.run(HOST, ("cat",), stdin=EVERY_BYTE),
        lambda: executor.open(HOST, ("cat",)),
    ):
        with pytest.raises(CommandError, match=r"did not start.*status 3") as caught:
            call()
        assert "This account is locked" in str(caught.value)
        assert "~/.bashrc" in str(caught.value)
    (server.home / ".bashrc").unlink()
    assert executor.run(HOST, ("printf", "up")).text == "up"
    assert not (tmp_path / "x").exists()


def test_a_login_that_takes_too_long(server: SSHServer, executor: RemoteExecutor) -> None:
    slow = server.home / "slow"
    slow.touch()
    (server.home / ".bashrc").write_text(f"while [ -e '{slow}' ]; do sleep 0.05; done\n")
    marker = f"labkit-{unique_seconds()}"
    with pytest.raises(CommandTimeout, match="did not report its start"):
        executor.run(HOST, ("sh", "-c", f": {marker}; sleep {unique_seconds()}"), timeout=0.3)
    slow.unlink()
    assert eventually(lambda: count_processes(marker) == 0)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_twenty_megabytes_come_whole(executor: RemoteExecutor, stream: str) -> None:
    result = executor.run(HOST, ("sh", "-c", f"head -c {20 * MIB} /dev/zero >&{stream}"))
    assert len(result.stdout) + len(result.stderr) == 20 * MIB


def test_a_command_is_over_when_its_output_is_closed(executor: RemoteExecutor) -> None:
    seconds = unique_seconds()
    detached = f"sleep {seconds} </dev/null >/dev/null 2>&1 & echo $!"
    pid = executor.run(HOST, ("sh", "-c", detached)).text.strip()
    assert count_processes(f"sleep\0{seconds}") == 1
    assert executor.run(HOST, ("kill", pid)).ok
    with pytest.raises(CommandTimeout, match="it was ended"):
        executor.run(HOST, ("sh", "-c", f"sleep {seconds} & echo started"), timeout=0.5)
    assert eventually(lambda: count_processes(seconds) == 0)


def test_hundreds_of_commands_in_threads_lose_no_connection(
    server: SSHServer, relay: Relay
) -> None:
    with remote_executor(server, port=relay.port) as relayed, ThreadPoolExecutor(4) as pool:

        def work(number: int) -> int:
            data = b"" if number % 3 else EVERY_BYTE
            return relayed.run(HOST, ("true",), stdin=data).returncode

        assert set(pool.map(work, range(400))) == {0}
    assert relay.connections == 1
    assert "nonexistent channel" not in server.log


def test_a_missing_program_has_status_127(fresh_sshd: MakeServer, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    server = fresh_sshd(environment={"PATH": str(tmp_path / "bin")})
    with remote_executor(server) as executor:
        result = executor.run(HOST, ("qemu-img", "--version"))
    assert result.returncode == 127
    assert "qemu-img" in result.error_text


def test_a_program_is_no_word_of_the_shell(executor: RemoteExecutor) -> None:
    for word in ("cd", "exit", ":", "if", "{", "!", "alias", "a=b"):
        assert executor.run(HOST, (word, "3")).returncode == 127


def test_an_option_is_no_program(executor: RemoteExecutor) -> None:
    with pytest.raises(InvalidArgument, match="does not begin with '-'"):
        executor.run(HOST, ("-c", "true"))


def test_a_command_too_long_for_one_line_is_refused(executor: RemoteExecutor) -> None:
    with pytest.raises(InvalidArgument, match="send more by stdin"):
        executor.run(HOST, ("printf", "x" * 128 * 1024))
    assert len(executor.run(HOST, ("printf", "%s", "x" * 100 * 1024)).stdout) == 100 * 1024


def test_a_worker_that_runs_nothing(fresh_sshd: MakeServer, tmp_path: Path) -> None:
    refuser = tmp_path / "refuse"
    refuser.write_text("#!/bin/sh\necho This account is not available.\nexit 1\n")
    refuser.chmod(0o755)
    server = fresh_sshd(settings={"ForceCommand": str(refuser)})
    with (
        remote_executor(server) as executor,
        pytest.raises(CommandError, match="account is not available"),
    ):
        executor.run(HOST, ("true",))


def test_a_stream_that_loses_its_connection(server: SSHServer, relay: Relay) -> None:
    seconds = unique_seconds()
    with remote_executor(server, port=relay.port) as executor:
        stream = executor.open(HOST, ("sh", "-c", f"cat; sleep {seconds}"))
        relay.cut()
        with pytest.raises(ConnectionLost):
            stream.read(1, SOON)
        with pytest.raises(ConnectionLost):
            stream.write(EVERY_BYTE, SOON)
        with pytest.raises(ConnectionLost):
            stream.finish(SOON)
        stream.close()
    assert eventually(lambda: count_processes(seconds) == 0)


def test_closing_the_executor_ends_its_streams(executor: RemoteExecutor) -> None:
    seconds = unique_seconds()
    executor.open(HOST, ("sleep", seconds))
    assert eventually(lambda: count_processes(seconds) > 0)
    executor.close()
    assert eventually(lambda: count_processes(seconds) == 0)


def test_closing_the_executor_while_a_command_runs(executor: RemoteExecutor) -> None:
    seconds = unique_seconds()
    result = in_background(lambda: executor.run(HOST, ("sleep", seconds)))
    assert eventually(lambda: count_processes(seconds) > 0)
    executor.close()
    assert isinstance(result(), ConnectionLost)
    assert eventually(lambda: count_processes(seconds) == 0)
