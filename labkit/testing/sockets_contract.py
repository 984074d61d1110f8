"""What every executor promises of `connect`, as tests: for those whose hosts have unix sockets.

Inherit `SocketContract` beside `ExecutorContract`, with the same fixtures. Where the host is not
this machine, give `echo` as well, the path of a socket there that behaves like `EchoServer`, and
`left_over`, the path of one that nobody serves any more.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.errors import (
    ClosedError,
    CommandTimeout,
    ConnectionLost,
    TransferError,
    WorkerUnreachable,
)
from labkit.executor import Connection, Executor
from labkit.testing.contract_fixtures import EVERY_BYTE, ContractFixtures
from labkit.testing.processes import SOON

LEAVE = b"leave"  # what makes the server hang up
DEAF = b"deaf"  # what makes it read no more, until it ends


class EchoServer:
    """Sends back what it is sent, on a unix socket of this machine, to many clients at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._echo, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _echo(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError):
            while (data := client.recv(1 << 16)) and data != LEAVE:
                if data.startswith(DEAF):
                    self._ended.wait(SOON)
                    return
                client.sendall(data)


def read_exactly(connection: Connection, size: int) -> bytes:
    """So many bytes, in as many reads as it takes."""
    data = bytearray()
    while len(data) < size:
        piece = connection.read(size - len(data), SOON)
        assert piece, f"it ended after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def _write_on(connection: Connection, timeout: float) -> None:
    for _ in range(1000):
        connection.write(EVERY_BYTE, timeout)


class SocketContract(ContractFixtures):
    """Connections to unix sockets on a host."""

    @pytest.fixture
    def echo(self) -> Iterator[str]:
        """A socket on the host that echoes; its path is short, as such paths must be."""
        folder = tempfile.mkdtemp(prefix="lk")
        server = EchoServer(f"{folder}/echo")
        yield server.path
        server.close()
        shutil.rmtree(folder)

    @pytest.fixture
    def left_over(self) -> Iterator[str]:
        """The socket on the host of a server that has ended."""
        folder = tempfile.mkdtemp(prefix="lk")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/left")
        yield f"{folder}/left"
        shutil.rmtree(folder)

    def test_bytes_come_back(self, executor: Executor, host: str, echo: str) -> None:
        connection = executor.connect(host, echo)
        for word in (b"one", b"\0", b"two\n"):
            connection.write(word, SOON)
            assert read_exactly(connection, len(word)) == word
        connection.close()

    def test_both_directions_flow_at_once(self, executor: Executor, host: str, echo: str) -> None:
        connection = executor.connect(host, echo)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_exactly, connection, 8 * len(EVERY_BYTE))
            for _ in range(8):
                connection.write(memoryview(EVERY_BYTE), SOON)
            assert reading.result() == EVERY_BYTE * 8
        connection.close()

    def test_each_connection_is_one_of_its_own(
        self, executor: Executor, host: str, echo: str
    ) -> None:
        first, second = executor.connect(host, echo), executor.connect(host, echo)
        first.write(b"first", SOON)
        second.write(b"second", SOON)
        assert read_exactly(second, 6) == b"second"
        first.close()
        second.write(b"still there", SOON)
        assert read_exactly(second, 11) == b"still there"
        second.close()

    def test_the_end_is_the_end(self, executor: Executor, host: str, echo: str) -> None:
        connection = executor.connect(host, echo)
        connection.write(LEAVE, SOON)
        assert connection.read(1, SOON) == b""
        assert connection.read(1, SOON) == b""
        connection.close()
        connection.close()

    def test_writing_to_one_that_has_ended(self, executor: Executor, host: str, echo: str) -> None:
        connection = executor.connect(host, echo)
        connection.write(LEAVE, SOON)
        assert connection.read(1, SOON) == b""
        with pytest.raises((TransferError, ConnectionLost)):
            _write_on(connection, SOON)
        connection.close()

    def test_a_silent_one_times_out_and_goes_on(
        self, executor: Executor, host: str, echo: str
    ) -> None:
        connection = executor.connect(host, echo)
        with pytest.raises(CommandTimeout):
            connection.read(1, 0.1)
        connection.write(b"still there", SOON)
        assert read_exactly(connection, 11) == b"still there"
        connection.close()

    def test_a_write_that_nobody_takes_times_out(
        self, executor: Executor, host: str, echo: str
    ) -> None:
        connection = executor.connect(host, echo)
        connection.write(DEAF, SOON)
        with pytest.raises(CommandTimeout):
            _write_on(connection, 0.3)
        connection.close()

    def test_a_missing_socket(self, executor: Executor, host: str, folder: str) -> None:
        with pytest.raises(WorkerUnreachable, match=r"cannot connect to .*/absent.*No such file"):
            executor.connect(host, f"{folder}/absent")

    def test_a_socket_that_nobody_serves(
        self, executor: Executor, host: str, left_over: str
    ) -> None:
        with pytest.raises(WorkerUnreachable, match="refused"):
            executor.connect(host, left_over)

    def test_a_path_that_is_too_long(self, executor: Executor, host: str, folder: str) -> None:
        with pytest.raises(WorkerUnreachable, match="too long"):
            executor.connect(host, f"{folder}/{'long' * 30}")

    def test_connecting_after_close(self, executor: Executor, host: str, echo: str) -> None:
        executor.close()
        with pytest.raises(ClosedError):
            executor.connect(host, echo)
