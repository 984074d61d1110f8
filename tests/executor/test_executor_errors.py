"""What errors of commands and files say, whoever raises them: what was typed, why, what to do."""

from __future__ import annotations

import pytest

from labkit import remote
from labkit.errors import CommandFailed
from labkit.executor import Result, not_transferred


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (("sh", "-c", "false"), "'false' failed on h1"),
        (("sh", "-c", " cat x | grep y\n"), "'cat x | grep y' failed on h1"),
        (("sh", "-c", "set -e\nfalse"), "'set -e …' failed on h1"),
        (("sh", "-c", "x" * 121), f"'{'x' * 120} …' failed on h1"),
        (("sh", "-c", ""), "sh -c '' failed on h1"),
        (("sh", "-c", "exit $1", "sh", "1"), "sh -c 'exit $1' sh 1 failed on h1"),
        (("ls", "a b"), "ls 'a b' failed on h1"),
    ],
)
def test_a_failed_command_is_called_what_was_typed(argv: tuple[str, ...], what: str) -> None:
    result = Result(argv, 2, b"out\n", b"first\nlast\n", 0.0, "h1")
    with pytest.raises(CommandFailed) as caught:
        result.check()
    error = caught.value
    assert (error.what, error.why) == (what, "status 2, last")
    assert "context['result']" in error.fix
    assert error.context["result"] is result
    assert (error.context["result"].text, error.context["result"].error_text) == (
        "out\n",
        "first\nlast\n",
    )


def test_a_program_of_labkit_that_failed_gives_no_advice_on_checks() -> None:
    with pytest.raises(CommandFailed) as caught:
        Result(remote.program("survey"), 1, host="h1").check()
    assert (caught.value.what, caught.value.fix) == ("labkit:survey failed on h1", "")


@pytest.mark.parametrize(
    ("why", "fix"),
    [
        ("No space left on device", "Free space on w1 (df"),
        ("Disk quota exceeded", "Free space on w1 (df"),
        ("Permission denied", "Look at the permissions of /a b"),
        ("Operation not permitted", "Look at the permissions of /a b"),
        ("Read-only file system", "Correct the path, or what is there on w1."),
        ("", "Correct the path, or what is there on w1."),
    ],
)
def test_a_file_that_does_not_arrive_comes_with_what_to_do(why: str, fix: str) -> None:
    error = not_transferred("write", "/a b", "w1", why)
    assert (error.what, error.why) == ("cannot write /a b on w1", why)
    assert error.fix.startswith(fix)
    assert error.context["path"] == "/a b"
