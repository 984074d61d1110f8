"""One small command on a kept connection: labkit against asyncssh and ssh's ControlMaster.

All of them talk to the same OpenSSH server on loopback, in turns. Usage:
``python benchmarks/ssh_command.py [--rounds N] [--commands N]``
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncssh

from labkit.ssh.executor import RemoteExecutor
from labkit.testing.sshd import SSHServer

PROGRAM = "/bin/true"
BOUND = 1.2  # labkit may take this many times as long as asyncssh
Command = Callable[[], None]


@contextmanager
def with_labkit(server: SSHServer) -> Iterator[Command]:
    executor = RemoteExecutor(
        server.user, port=server.port, key_file=server.key_file, known_hosts=server.known_hosts
    )

    def command() -> None:
        executor.run(server.host, (PROGRAM,)).check()

    with executor:
        yield command


@contextmanager
def with_asyncssh(server: SSHServer) -> Iterator[Command]:
    async def connect() -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            server.host,
            server.port,
            username=server.user,
            client_keys=[str(server.key_file)],
            known_hosts=str(server.known_hosts),
            config=None,
        )

    with asyncio.Runner() as runner:
        connection = runner.run(connect())

        def command() -> None:
            runner.run(connection.run(PROGRAM, check=True))

        yield command
        connection.close()
        runner.run(connection.wait_closed())


@contextmanager
def with_control_master(server: SSHServer) -> Iterator[Command]:
    options = {
        "Port": server.port,
        "IdentityFile": server.key_file,
        "UserKnownHostsFile": server.known_hosts,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ControlMaster": "auto",
        "ControlPath": server.folder / "control",
        "ControlPersist": "60",
    }
    ssh = ["ssh", "-F", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
    target = f"{server.user}@{server.host}"

    def command() -> None:
        subprocess.run([*ssh, target, PROGRAM], check=True, stderr=subprocess.DEVNULL)

    yield command
    subprocess.run([*ssh, "-O", "exit", target], check=True, stderr=subprocess.DEVNULL)


METHODS = {
    "labkit": with_labkit,
    "asyncssh": with_asyncssh,
    "ssh ControlMaster": with_control_master,
}


def measure(rounds: int, commands: int) -> dict[str, list[float]]:
    """The seconds of each command of each method; the order of methods changes every round."""
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(SSHServer(folder))
        run = {name: stack.enter_context(method(server)) for name, method in METHODS.items()}
        for command in run.values():  # connecting is not measured
            command()
        for number in range(rounds):
            names = list(METHODS) if number % 2 == 0 else list(reversed(METHODS))
            for name in names:
                for _ in range(commands):
                    started = time.perf_counter()
                    run[name]()
                    seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--commands", type=int, default=10, help="of each method in a round")
    options = parser.parse_args()
    seconds = measure(options.rounds, options.commands)
    base = statistics.median(seconds["asyncssh"])
    print(f"{PROGRAM} on a kept connection, {options.rounds} rounds of {options.commands}")
    print(f"{'method':20}{'median ms':>10}{'asyncssh = 1':>14}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:20}{median * 1000:10.2f}{median / base:14.2f}")
    ratio = statistics.median(seconds["labkit"]) / base
    verdict = "within" if ratio <= BOUND else "OVER"
    print(f"labkit takes {ratio:.2f} times as long as asyncssh: {verdict} the bound of {BOUND}")


if __name__ == "__main__":
    main()
