"""Runs commands of `labkit` in this process, on a lab of the test's."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from labkit.cli import main
from labkit.cli.around import Around
from labkit.lab import Lab

ROUTED = """\
vms:
  h1: {addresses: {eth1: 10.0.1.1/24}, routes: [default via 10.0.1.254]}
  h2: {addresses: {eth1: 10.0.2.1/24}, routes: [default via 10.0.2.254]}
  r:
    interfaces: 2
    forwarding: true
    addresses: {eth1: 10.0.1.254/24, eth2: 10.0.2.254/24}
links:
  left: [h1:eth1, r:eth1]
  right: [r:eth2, h2:eth1]
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, its exit code, and what it has asked."""

    code: int
    out: str
    err: str
    questions: tuple[str, ...] = ()


Say = Callable[..., Said]


def sayer(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs commands on a lab that is not closed in between."""

    def say(*arguments: str, stdin: str = "", answer: bool | None = None) -> Said:
        """`answer` is that of somebody at a terminal; without one nobody is there."""
        questions: list[str] = []

        def ask(question: str, _default: bool) -> bool:
            assert answer is not None
            questions.append(question)
            return answer

        around = Around(
            lambda _profile: contextlib.nullcontext(lab),
            io.TextIOWrapper(io.BytesIO(stdin.encode())),
            None if answer is None else ask,
        )
        capsys.readouterr()
        code = main(list(arguments), around=around)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err, tuple(questions))

    return say
