"""Runs commands of `labkit` in this process, on a lab of the test's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from labkit.cli import main
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
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Say = Callable[..., Said]


def sayer(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs commands on a lab that is not closed in between."""

    def say(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(list(arguments), open_lab=lambda _profile: contextlib.nullcontext(lab))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return say
