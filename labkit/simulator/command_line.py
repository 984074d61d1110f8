"""What the simulated programs share: reading their options, and complaining as programs do."""

from __future__ import annotations

import errno
from collections.abc import Callable

from labkit.simulator.files import failure
from labkit.simulator.machine import Process, Program, Steps


def options(process: Process, known: str) -> tuple[set[str], list[str]]:
    """The one-letter options and the other arguments; raises `BadOption` for unknown ones."""
    found: set[str] = set()
    rest: list[str] = []
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if len(word) < 2 or word[0] != "-":
            rest.append(word)
            continue
        for letter in word[1:]:
            if letter not in known:
                raise BadOption(word)
            found.add(letter)
    return found, rest


class BadOption(Exception):
    """An option that is not simulated; the program says so and ends with status 2."""


def checked(program: Callable[[Process], int | Steps[int]]) -> Program:
    """The program with its complaints about options and files made as text and status."""

    def run(process: Process) -> Steps[int]:
        try:
            outcome = program(process)
            return outcome if isinstance(outcome, int) else (yield from outcome)
        except BadOption as option:
            return process.fail(f"option {option} is not simulated", 2)
        except BrokenPipeError:
            raise
        except OSError as error:
            return process.fail(f"{error.filename}: {error.strerror}")

    return run


def each(process: Process, paths: list[str], work: Callable[[str], None], said: str = "{}") -> int:
    """Do the work for every path, complaining about those that fail; the status."""
    status = 0
    for path in paths:
        try:
            if not path:
                raise failure(errno.ENOENT, path)
            work(path)
        except OSError as error:
            status = process.fail(f"{said.format(path)}: {error.strerror}")
    return status
