"""What every executor promises, as tests: inherit `ExecutorContract` and give it an executor.

::

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def executor(self):
            with MyExecutor() as executor:
                yield executor

        @pytest.fixture
        def host(self):
            return "10.0.10.1"

        @pytest.fixture
        def folder(self):
            return "/tmp/somewhere"  # a folder on the host that may be written to

Only these programs are asked for: true, false, printf, cat, sleep, head -c N /dev/zero, and sh -c
with simple scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.errors import (
    ClosedError,
    CommandError,
    CommandFailed,
    CommandTimeout,
    TransferError,
    UsageError,
)
from labkit.executor import MAX_OUTPUT, Executor, Stream
from labkit.testing.contract_fixtures import (
    EVERY_BYTE,
    HARD_WORDS,
    MIB,
    ContractFixtures,
)
from labkit.testing.processes import (
    SOON,
    eventually,
    interrupt_when,
    unique_seconds,
)


def _write_on(stream: Stream) -> None:
    for _ in range(1000):
        stream.write(EVERY_BYTE, SOON)


class CommandContract(ContractFixtures):
    """Running a program to its end."""

    def test_streams_and_status_are_kept_apart(self, executor: Executor, host: str) -> None:
        result = executor.run(host, ("sh", "-c", "printf o; printf e >&2; exit 3"))
        assert (result.returncode, result.stdout, result.stderr) == (3, b"o", b"e")
        assert result.host == host
        assert result.argv == ("sh", "-c", "printf o; printf e >&2; exit 3")

    def test_a_failure_is_a_value_and_check_makes_it_an_error(
        self, executor: Executor, host: str
    ) -> None:
        result = executor.run(host, ["false"])
        assert (result.returncode, result.ok) == (1, False)
        with pytest.raises(CommandFailed, match=r"false failed on .*status 1") as caught:
            result.check()
        assert caught.value.context["result"] is result

    @pytest.mark.parametrize("word", HARD_WORDS)
    def test_fault_06_an_argument_reaches_the_program_unchanged(
        self, executor: Executor, host: str, word: str
    ) -> None:
        assert executor.run(host, ("printf", "%s", word)).stdout == word.encode()

    def test_fault_06_every_argument_is_one_argument(self, executor: Executor, host: str) -> None:
        words = [word for word in HARD_WORDS if "\n" not in word]
        result = executor.run(host, ("printf", "%s\\n", *words))
        assert result.stdout.decode().split("\n") == [*words, ""]

    def test_standard_input_is_given_whole(self, executor: Executor, host: str) -> None:
        assert executor.run(host, ("cat",), stdin=EVERY_BYTE).stdout == EVERY_BYTE

    def test_standard_input_is_empty_unless_given(self, executor: Executor, host: str) -> None:
        result = executor.run(host, ("cat",))
        assert (result.returncode, result.stdout) == (0, b"")

    def test_a_program_may_leave_its_input_unread(self, executor: Executor, host: str) -> None:
        assert executor.run(host, ("true",), stdin=EVERY_BYTE * 4).returncode == 0
        assert executor.run(host, ("false",), stdin=EVERY_BYTE * 4).returncode == 1
        assert executor.run(host, ("printf", "up")).text == "up"

    def test_an_unknown_program_has_status_127(self, executor: Executor, host: str) -> None:
        result = executor.run(host, ("labkit-no-such-program", "-x"))
        assert result.returncode == 127
        assert "labkit-no-such-program" in result.error_text
        assert result.stdout == b""

    def test_a_program_that_is_killed_has_status_128_and_the_signal(
        self, executor: Executor, host: str
    ) -> None:
        result = executor.run(host, ("sh", "-c", "kill -9 $$"))
        assert (result.returncode, result.stdout, result.stderr) == (137, b"", b"")

    def test_much_on_standard_error_does_not_block(self, executor: Executor, host: str) -> None:
        script = f"head -c {4 * MIB} /dev/zero >&2; printf done"
        result = executor.run(host, ("sh", "-c", script))
        assert (result.stdout, len(result.stderr)) == (b"done", 4 * MIB)

    def test_too_much_output_is_an_error_and_never_cut(self, executor: Executor, host: str) -> None:
        with pytest.raises(CommandError, match="more than 64 MiB"):
            executor.run(host, ("head", "-c", str(MAX_OUTPUT + 1), "/dev/zero"))
        assert executor.run(host, ("printf", "up")).text == "up"

    def test_many_threads(self, executor: Executor, host: str) -> None:
        def work(number: int) -> str:
            return executor.run(host, ("printf", "%s", str(number))).text

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(8))) == [str(number) for number in range(8)]

    @pytest.mark.parametrize(
        ("argv", "timeout"),
        [
            ("true", 1),
            ((), 1),
            (("printf", "a\0b"), 1),
            (("printf", b"bytes"), 1),
            (("printf", "\ud800"), 1),
            (("true",), 0),
            (("true",), -1),
            (("true",), float("nan")),
            (("true",), float("inf")),
            (("true",), None),
            (("true",), "5"),
        ],
    )
    def test_fault_15_bad_arguments_are_refused(
        self, executor: Executor, host: str, argv: object, timeout: object
    ) -> None:
        with pytest.raises(UsageError):
            executor.run(host, argv, timeout=timeout)  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", ["", "a b", "-oProxyCommand=x", "x;y", "a\nb", None, 7])
    def test_fault_15_a_bad_host_is_refused(self, executor: Executor, bad: object) -> None:
        for call in (
            lambda: executor.run(bad, ("true",)),  # type: ignore[arg-type]
            lambda: executor.open(bad, ("true",)),  # type: ignore[arg-type]
            lambda: executor.put(bad, "~/x", b""),  # type: ignore[arg-type]
            lambda: executor.get(bad, "~/x"),  # type: ignore[arg-type]
        ):
            with pytest.raises(UsageError):
                call()


class EndingContract(ContractFixtures):
    """Commands that are ended early leave nothing behind."""

    def test_a_timeout_ends_the_program(
        self, executor: Executor, host: str, running: Callable[[str], int]
    ) -> None:
        seconds = unique_seconds()
        with pytest.raises(CommandTimeout, match=r"it was ended"):
            executor.run(host, ("sleep", seconds), timeout=0.3)
        assert eventually(lambda: running(seconds) == 0)
        assert executor.run(host, ("printf", "up")).text == "up"

    def test_a_timeout_ends_what_the_program_started(
        self, executor: Executor, host: str, running: Callable[[str], int]
    ) -> None:
        seconds = unique_seconds()
        with pytest.raises(CommandTimeout):
            executor.run(host, ("sh", "-c", f"sleep {seconds}; printf late"), timeout=0.3)
        assert eventually(lambda: running(seconds) == 0)

    def test_a_timeout_holds_while_input_is_not_read(
        self, executor: Executor, host: str, running: Callable[[str], int]
    ) -> None:
        seconds = unique_seconds()
        with pytest.raises(CommandTimeout):
            executor.run(host, ("sleep", seconds), stdin=EVERY_BYTE * 16, timeout=0.3)
        assert eventually(lambda: running(seconds) == 0)
        assert executor.run(host, ("printf", "up")).text == "up"

    def test_ctrl_c_ends_the_program(
        self, executor: Executor, host: str, running: Callable[[str], int]
    ) -> None:
        seconds = unique_seconds()
        presser = interrupt_when(lambda: running(seconds) > 0)
        with pytest.raises(KeyboardInterrupt):
            executor.run(host, ("sleep", seconds), timeout=2 * SOON)
        presser.join()
        assert eventually(lambda: running(seconds) == 0)
        assert executor.run(host, ("printf", "up")).text == "up"

    def test_used_after_close(self, executor: Executor, host: str, folder: str) -> None:
        executor.run(host, ("true",))
        executor.close()
        executor.close()
        for call in (
            lambda: executor.run(host, ("true",)),
            lambda: executor.open(host, ("cat",)),
            lambda: executor.put(host, f"{folder}/x", b""),
            lambda: executor.get(host, f"{folder}/x"),
        ):
            with pytest.raises(ClosedError):
                call()


class FileContract(ContractFixtures):
    """Small files."""

    @pytest.mark.parametrize("data", [b"", b"x", EVERY_BYTE], ids=["empty", "one byte", "256 KiB"])
    def test_a_file_comes_back_as_it_went(
        self, executor: Executor, host: str, folder: str, data: bytes
    ) -> None:
        executor.put(host, f"{folder}/file", data)
        assert executor.get(host, f"{folder}/file") == data

    @pytest.mark.parametrize("name", ["it's", "a b", "$HOME", "*", "-rf", "é", "x;y", "~"])
    def test_fault_06_a_file_name_is_taken_as_it_is(
        self, executor: Executor, host: str, folder: str, name: str
    ) -> None:
        executor.put(host, f"{folder}/{name}", b"mine")
        assert executor.get(host, f"{folder}/{name}") == b"mine"
        assert executor.run(host, ("cat", f"{folder}/{name}")).stdout == b"mine"

    def test_put_replaces_a_file_whole(self, executor: Executor, host: str, folder: str) -> None:
        executor.put(host, f"{folder}/file", b"a long first content")
        executor.put(host, f"{folder}/file", b"short")
        assert executor.get(host, f"{folder}/file") == b"short"

    def test_fault_20_a_tilde_is_the_home_folder(self, executor: Executor, host: str) -> None:
        name = f"labkit-contract-{unique_seconds()}"
        executor.put(host, f"~/{name}", b"at home")
        assert executor.get(host, f"~/{name}") == b"at home"
        there = executor.run(host, ("sh", "-c", f'cat "$HOME/{name}"; rm "$HOME/{name}"'))
        assert there.check().stdout == b"at home"

    def test_a_missing_file(self, executor: Executor, host: str, folder: str) -> None:
        with pytest.raises(TransferError, match="No such file") as caught:
            executor.get(host, f"{folder}/absent")
        assert caught.value.fix == f"Correct the path, or what is there on {host}."

    def test_a_folder_is_no_file(self, executor: Executor, host: str, folder: str) -> None:
        with pytest.raises(TransferError, match=r"[Dd]irectory"):
            executor.get(host, folder)
        with pytest.raises(TransferError, match=r"[Dd]irectory"):
            executor.put(host, folder, b"x")

    def test_a_file_that_cannot_be_written(
        self, executor: Executor, host: str, folder: str
    ) -> None:
        with pytest.raises(TransferError, match="cannot write") as caught:
            executor.put(host, f"{folder}/no/such/folder", b"x")
        assert caught.value.fix == f"Correct the path, or what is there on {host}."

    def test_a_path_with_a_zero_byte_is_refused(self, executor: Executor, host: str) -> None:
        with pytest.raises(UsageError):
            executor.put(host, "/tmp/a\0b", b"")
        with pytest.raises(UsageError):
            executor.get(host, "/tmp/a\0b")


class StreamContract(ContractFixtures):
    """Programs whose input and output are streamed."""

    def test_what_is_written_can_be_read_at_once(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("cat",))
        for word in (b"one\n", b"two\n"):
            stream.write(word, SOON)
            assert stream.read(100, SOON) == word
        stream.close()

    def test_read_gives_no_more_than_asked_for(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("printf", "abcdef"))
        assert stream.read(2, SOON) == b"ab"
        rest = b"".join(iter(lambda: stream.read(3, SOON), b""))
        assert rest == b"cdef"
        assert stream.read(3, SOON) == b""
        stream.close()

    def test_finish_gives_the_status_and_what_nobody_read(
        self, executor: Executor, host: str
    ) -> None:
        stream = executor.open(host, ("sh", "-c", "cat; printf e >&2; exit 3"))
        stream.write(b"unread", SOON)
        result = stream.finish(SOON)
        assert (result.returncode, result.stdout, result.stderr) == (3, b"unread", b"e")
        stream.close()

    def test_every_byte_goes_through(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("sh", "-c", "cat >/dev/null; printf done"))
        for _ in range(8):
            stream.write(memoryview(EVERY_BYTE), SOON)
        assert stream.finish(SOON).stdout == b"done"
        stream.close()

    def test_a_read_that_gets_nothing_times_out(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("cat",))
        with pytest.raises(CommandTimeout):
            stream.read(1, 0.1)
        stream.write(b"still there", SOON)
        assert stream.read(100, SOON) == b"still there"
        stream.close()

    def test_a_write_that_nobody_reads_times_out(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("sleep", unique_seconds()))
        with pytest.raises(CommandTimeout):
            stream.write(EVERY_BYTE * 64, 0.3)
        stream.close()

    def test_writing_to_a_program_that_has_ended(self, executor: Executor, host: str) -> None:
        stream = executor.open(host, ("true",))
        assert stream.read(1, SOON) == b""
        with pytest.raises(TransferError, match="ended"):
            _write_on(stream)
        stream.close()

    def test_close_ends_the_program(
        self, executor: Executor, host: str, running: Callable[[str], int]
    ) -> None:
        seconds = unique_seconds()
        stream = executor.open(host, ("sleep", seconds))
        assert eventually(lambda: running(seconds) > 0)
        stream.close()
        stream.close()
        assert eventually(lambda: running(seconds) == 0)


class DirectContract(ContractFixtures):
    """The seed's form of running a command."""

    def test_status_0_gives_true_and_the_output(self, executor: Executor, host: str) -> None:
        assert executor.execute_direct(host, "printf o; printf e >&2") == (True, "o")

    def test_another_status_gives_false_and_the_errors(self, executor: Executor, host: str) -> None:
        assert executor.execute_direct(host, "printf o; printf e >&2; exit 2") == (False, "e")

    def test_it_never_raises(self, executor: Executor, host: str) -> None:
        calls: list[tuple[object, object, object]] = [
            (host, "sleep 1000000", 0.2),
            (host, None, 30),
            (host, ["true"], 30),
            (host, "a\0b", 30),
            (host, "true", -1),
            ("no host", "true", 30),
            (None, "true", 30),
        ]
        for where, command, timeout in calls:
            ok, text = executor.execute_direct(where, command, timeout)  # type: ignore[arg-type]
            assert not ok
            assert text
        executor.close()
        ok, text = executor.execute_direct(host, "true")
        assert not ok
        assert "closed" in text


class ExecutorContract(
    CommandContract, EndingContract, FileContract, StreamContract, DirectContract
):
    """All that an executor promises."""
