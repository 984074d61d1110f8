"""What a script of shell is made of, once it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class ShellSyntaxError(Exception):
    """The script is not shell, or not in the part of it that is simulated."""


class Kind(Enum):
    """How a part of a word came about; only what is `PLAIN` means more than its characters."""

    PLAIN = "plain"
    QUOTED = "quoted"
    VARIABLE = "variable"
    COMMAND = "command"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a word: its text, or what it stands for.

    `operator` and `word` are those of ``${text operator word}``; `script` is run for its output.
    """

    kind: Kind
    text: str
    quoted: bool = False
    operator: str = ""
    word: tuple[Part, ...] = ()
    script: Script | None = None


Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Redirection:
    """``FD>WORD``, ``FD>>WORD``, ``FD>&FD``, ``FD<WORD`` or ``<<END`` with its text."""

    descriptor: int
    operator: str
    target: Word


@dataclass(slots=True)
class Simple:
    """Assignments, a program with its arguments, redirections; each may be missing."""

    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """``{ SCRIPT }``, or with `is_apart` ``( SCRIPT )``."""

    body: Script
    is_apart: bool
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class If:
    """Conditions and what is done when they hold, and what when none does."""

    branches: list[tuple[Script, Script]]
    otherwise: Script | None
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class Loop:
    """``while``, or with `until` the other way round."""

    condition: Script
    body: Script
    until: bool
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class For:
    """Without `words` it goes through the parameters."""

    name: str
    words: list[Word] | None
    body: Script
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class Case:
    """The first branch that matches is done."""

    word: Word
    branches: list[tuple[list[Word], Script]]
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """``NAME() BODY``."""

    name: str
    body: Command
    redirections: list[Redirection] = field(default_factory=list)


Command = Simple | Group | If | Loop | For | Case | Function


@dataclass(slots=True)
class Pipeline:
    """Commands joined by ``|``; `joined` is the operator before it: ``;``, ``&&`` or ``||``."""

    joined: str
    negated: bool = False
    commands: list[Command] = field(default_factory=list)


@dataclass(slots=True)
class Chain:
    """Pipelines joined by ``&&`` and ``||``, done in the background where `&` follows."""

    pipelines: list[Pipeline]
    in_background: bool = False


@dataclass(slots=True)
class Script:
    """Chains, one after the other."""

    chains: list[Chain] = field(default_factory=list)
