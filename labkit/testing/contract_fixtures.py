"""What the contract of executors is given, and what it feeds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from labkit.executor import Executor
from labkit.testing.processes import count_processes

MIB = 2**20
EVERY_BYTE = bytes(range(256)) * 1024

HARD_WORDS = [
    "",
    "a b",
    "  ",
    "$HOME",
    "$(id)",
    "`id`",
    "it's",
    'a"b',
    "'",
    "''\\''",
    "x;y",
    "x & y | z > w",
    "line\nline\n",
    "tab\there",
    "back\\slash\\n",
    "é ü 漢 🐧",
    "*",
    "?",
    "[a-z]",
    "~",
    "~root",
    "=ls",
    "{a,b}",
    "!!",
    "#no comment",
    "-n",
    "--help",
    "%s",
    "\x01\x1b[0m\x7f",
]


class ContractFixtures:
    """What a subclass of the contract gives."""

    @pytest.fixture
    def executor(self) -> Executor | Iterator[Executor]:
        """An open executor of its own for each test."""
        raise NotImplementedError("give an open executor")

    @pytest.fixture
    def host(self) -> str:
        """A host that it can reach."""
        raise NotImplementedError("give the address of a host")

    @pytest.fixture
    def folder(self) -> str:
        """An absolute folder on the host in which files may be written."""
        raise NotImplementedError("give a folder on the host")

    @pytest.fixture
    def running(self) -> Callable[[str], int]:
        """How many processes there are on the host with this text in their arguments."""
        return count_processes
