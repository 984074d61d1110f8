"""Reading a line of shell: the part of POSIX that labkit and students use, and no guessing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

OPERATORS = ("&&", "||", ">>", ">&", ";", "|", ">", "<", "\n")
UNKNOWN_OPERATORS = ("<<", ";;", "&", "(", ")")
RESERVED = (
    *("if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done"),
    *("case", "esac", "function", "{", "}"),
)
VARIABLE = re.compile(
    r"\$(?:([a-zA-Z_][a-zA-Z0-9_]*|[0-9?$#])|\{([a-zA-Z_][a-zA-Z0-9_]*|[0-9?$#])\})"
)
ASSIGNMENT = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=")
BLANK = " \t"


class ShellSyntaxError(Exception):
    """The line is not shell, or not in the part of it that is simulated."""


class Kind(Enum):
    """How a part of a word came about; only what is `PLAIN` means more than its characters."""

    PLAIN = "plain"
    QUOTED = "quoted"
    VARIABLE = "variable"
    QUOTED_VARIABLE = "quoted variable"


@dataclass(frozen=True, slots=True)
class Part:
    kind: Kind
    text: str


Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Redirection:
    """``FD>WORD``, ``FD>>WORD``, ``FD>&FD`` or ``<WORD``."""

    descriptor: int
    operator: str
    target: Word


@dataclass(slots=True)
class Command:
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)


@dataclass(slots=True)
class Pipeline:
    """Commands joined by ``|``; `joined` is the operator before it: ``;``, ``&&`` or ``||``."""

    joined: str
    negated: bool = False
    commands: list[Command] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Operator:
    text: str
    descriptor: int | None = None  # the digits right before a redirection


def parse(script: str) -> list[Pipeline]:
    """The pipelines of a script; raises `ShellSyntaxError`."""
    pipelines: list[Pipeline] = []
    current = Pipeline(";")
    tokens = tokenize(script)
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if isinstance(token, Operator) and token.text in (">", ">>", ">&", "<"):
            target = tokens[place] if place < len(tokens) else None
            if not isinstance(target, tuple):
                raise ShellSyntaxError(f'"{token.text}" needs a file')
            place += 1
            _command(current).redirections.append(_redirection(token, target))
        elif isinstance(token, Operator):
            current = _joined(pipelines, current, token.text)
        else:
            _add_word(current, token)
    if current.commands:
        _finish(pipelines, current)
    elif current.joined != ";" or current.negated:
        raise ShellSyntaxError("it ends where a command should be")
    return pipelines


def _joined(pipelines: list[Pipeline], current: Pipeline, operator: str) -> Pipeline:
    """The pipeline that goes on after an operator."""
    if operator == "|":
        if not current.commands or not _is_command(current.commands[-1]):
            raise ShellSyntaxError('"|" unexpected')
        current.commands.append(Command())
        return current
    if not current.commands:
        if operator == "\n" and not current.negated:
            return current
        raise ShellSyntaxError(f'"{operator}" unexpected')
    if operator == "\n" and not _is_command(current.commands[-1]):
        return current  # a line may end after "|"
    _finish(pipelines, current)
    return Pipeline(";" if operator == "\n" else operator)


def _finish(pipelines: list[Pipeline], pipeline: Pipeline) -> None:
    if not all(map(_is_command, pipeline.commands)):
        raise ShellSyntaxError("a command is missing")
    pipelines.append(pipeline)


def _is_command(command: Command) -> bool:
    return bool(command.words or command.assignments or command.redirections)


def _command(pipeline: Pipeline) -> Command:
    if not pipeline.commands:
        pipeline.commands.append(Command())
    return pipeline.commands[-1]


def _add_word(pipeline: Pipeline, word: Word) -> None:
    plain = word[0].text if len(word) == 1 and word[0].kind is Kind.PLAIN else ""
    if plain == "!" and not pipeline.commands:
        pipeline.negated = True
        return
    command = _command(pipeline)
    if not command.words:
        if plain == "!":
            raise ShellSyntaxError('"!" unexpected')
        if plain in RESERVED:
            raise ShellSyntaxError(f'the simulated shell does not know "{plain}"')
        name = ASSIGNMENT.match(word[0].text) if word[0].kind is Kind.PLAIN else None
        if name:
            rest = Part(Kind.PLAIN, word[0].text[name.end() :])
            command.assignments.append((name[1], (rest, *word[1:])))
            return
    command.words.append(word)


def _redirection(operator: Operator, target: Word) -> Redirection:
    standard = 0 if operator.text == "<" else 1
    descriptor = standard if operator.descriptor is None else operator.descriptor
    if descriptor not in ((0,) if operator.text == "<" else (1, 2)):
        raise ShellSyntaxError(f"the simulated shell has no file descriptor {descriptor}")
    if operator.text == ">&" and target not in [(Part(Kind.PLAIN, digit),) for digit in "12"]:
        raise ShellSyntaxError('">&" is simulated for the descriptors 1 and 2')
    return Redirection(descriptor, operator.text, target)


def tokenize(script: str) -> list[Word | Operator]:
    """The words and operators of a script; raises `ShellSyntaxError`."""
    return _Lexer(script).tokens()


class _Lexer:
    def __init__(self, script: str) -> None:
        self._script = script
        self._place = 0

    def tokens(self) -> list[Word | Operator]:
        found: list[Word | Operator] = []
        while self._place < len(self._script):
            character = self._script[self._place]
            if character in BLANK:
                self._place += 1
            elif self._at("\\\n"):
                self._place += 2
            elif character == "#":
                self._place = self._end_of_line()
            else:
                found.append(self._operator() or self._number() or self._word())
        return found

    def _at(self, text: str) -> bool:
        return self._script.startswith(text, self._place)

    def _end_of_line(self) -> int:
        end = self._script.find("\n", self._place)
        return len(self._script) if end < 0 else end

    def _operator(self, descriptor: int | None = None) -> Operator | None:
        for text in OPERATORS:
            if self._at(text) and not self._unknown():
                self._place += len(text)
                return Operator(text, descriptor)
        if unknown := self._unknown():
            raise ShellSyntaxError(f'the simulated shell does not know "{unknown}"')
        return None

    def _unknown(self) -> str:
        if self._at("&&"):
            return ""
        return next((text for text in UNKNOWN_OPERATORS if self._at(text)), "")

    def _number(self) -> Operator | None:
        digits = re.compile(r"(\d+)[<>]").match(self._script, self._place)
        if not digits:
            return None
        self._place += len(digits[1])
        return self._operator(int(digits[1]))

    def _word(self) -> Word:
        parts: list[Part] = []
        while self._place < len(self._script):
            character = self._script[self._place]
            if character in BLANK or character in ";|&<>()\n":
                break
            if character == "'":
                parts.append(Part(Kind.QUOTED, self._single()))
            elif character == '"':
                parts += self._double()
            elif character == "\\":
                parts += self._escape()
            elif character in "$`":
                parts.append(self._variable(Kind.VARIABLE, Kind.PLAIN))
            else:
                parts.append(Part(Kind.PLAIN, character))
                self._place += 1
        return _merged(parts)

    def _single(self) -> str:
        end = self._script.find("'", self._place + 1)
        if end < 0:
            raise ShellSyntaxError("Unterminated quoted string")
        text = self._script[self._place + 1 : end]
        self._place = end + 1
        return text

    def _escape(self) -> list[Part]:
        following = self._script[self._place + 1 : self._place + 2]
        self._place += 2
        if following == "\n":
            return []
        return [Part(Kind.QUOTED, following or "\\")]

    def _double(self) -> list[Part]:
        parts = [Part(Kind.QUOTED, "")]
        self._place += 1
        while not self._at('"'):
            if self._place >= len(self._script):
                raise ShellSyntaxError("Unterminated quoted string")
            character = self._script[self._place]
            if character in "$`":
                parts.append(self._variable(Kind.QUOTED_VARIABLE, Kind.QUOTED))
                continue
            following = self._script[self._place + 1 : self._place + 2]
            if character == "\\" and following and following in '$`"\\\n':
                parts.append(Part(Kind.QUOTED, "" if following == "\n" else following))
                self._place += 2
                continue
            parts.append(Part(Kind.QUOTED, character))
            self._place += 1
        self._place += 1
        return parts

    def _variable(self, kind: Kind, literal: Kind) -> Part:
        found = VARIABLE.match(self._script, self._place)
        if found:
            self._place = found.end()
            return Part(kind, found[1] or found[2])
        following = self._script[self._place : self._place + 2]
        if following == "$" or not re.match(r"\$[({@*!-]|`", following):
            self._place += 1
            return Part(literal, "$")
        raise ShellSyntaxError(f'the simulated shell does not know "{following}"')


def _merged(parts: list[Part]) -> Word:
    merged: list[Part] = []
    for part in parts:
        if merged and merged[-1].kind is part.kind and part.kind in (Kind.PLAIN, Kind.QUOTED):
            merged[-1] = Part(part.kind, merged[-1].text + part.text)
        else:
            merged.append(part)
    return tuple(merged)
