"""The one shell line: nothing from outside is ever read by the shell in it."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import InvalidArgument
from labkit.ssh.line import MAX_LINE, quote, run_line, stream_line

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(WORDS, min_size=1))
def test_fault_06_quoted_words_are_read_as_themselves(words: list[str]) -> None:
    assert shlex.split(" ".join(map(quote, words))) == words


@given(WORDS)
def test_fault_06_a_word_stands_in_quotes_in_every_line(word: str) -> None:
    argv = ("printf", "%s", word)
    quoted = f"'printf' '%s' {quote(word)} ".encode()
    for line in (run_line(argv, "t"), run_line(argv, "t", 5), stream_line(argv, "t")):
        assert line.count(b"(exec " + quoted) == 1


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("size", [0, 4])
def test_a_line_runs_its_program_and_tells_its_status(shell: str, size: int) -> None:
    line = run_line(("sh", "-c", "cat; printf e >&2; exit 3"), "token", size)
    process = subprocess.Popen(
        [shell, "-c", line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"data\n" if size else b"")
        process.stdin.flush()
        assert process.wait() == 3
        assert process.stdout.read() == f"token:{process.pid}:\n{'data' if size else ''}".encode()
        assert process.stderr.read() == b"token:\ne"


def test_the_longest_line_is_one_that_linux_takes() -> None:
    room = MAX_LINE - len(run_line(("printf", ""), "token"))
    assert len(run_line(("printf", "x" * room), "token")) == MAX_LINE
    with pytest.raises(InvalidArgument, match="send more by stdin"):
        run_line(("printf", "x" * (room + 1)), "token")
