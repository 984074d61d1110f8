"""What the words of a script stand for: variables, substitutions, patterns."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from labkit.simulator.machine import Process, Steps
from labkit.simulator.shell_arithmetic import evaluate
from labkit.simulator.shell_syntax import Kind, Part, Script, Word


class ExpansionFailure(Exception):
    """A word that stands for nothing, as by ``${x:?words}``."""


class Values(Protocol):
    """What a shell knows."""

    process: Process
    variables: dict[str, str]
    parameters: tuple[str, ...]

    def value(self, name: str) -> str | None:
        """A variable or parameter; None when it is not set."""

    def output(self, script: Script) -> Steps[str]:
        """What a script prints, for a command substitution."""


@dataclass(slots=True)
class _Word:
    """A word under expansion: its characters, and as a pattern in which quoted ones are safe."""

    text: str = ""
    pattern: str = ""
    is_there: bool = False
    has_wildcard: bool = False

    def add(self, text: str, *, quoted: bool) -> None:
        self.text += text
        self.pattern += glob.escape(text) if quoted else text
        self.is_there |= quoted or bool(text)
        self.has_wildcard |= not quoted and any(c in "*?[" for c in text)


class Expansion:
    """Expands the words of one shell."""

    def __init__(self, shell: Values) -> None:
        self._shell = shell

    def one(self, word: Word) -> Steps[str]:
        """A word where no splitting and no patterns apply."""
        home = self._tilde(word)
        text = home
        for part in self._without_tilde(word, home):
            text += yield from self._value(part)
        return text

    def pattern(self, word: Word) -> Steps[str]:
        """A word as a pattern of ``case``: what is quoted in it stands for itself."""
        text = ""
        for part in word:
            value = yield from self._value(part)
            is_quoted = part.quoted or part.kind is Kind.QUOTED
            text += glob.escape(value) if is_quoted else value
        return text

    def all(self, words: Iterable[Word]) -> Steps[list[str]]:
        """Words as the arguments they become: split, and patterns matched."""
        found: list[str] = []
        for word in words:
            found += yield from self._expand(word)
        return found

    # ---- inside

    def _expand(self, word: Word) -> Steps[list[str]]:
        words = [_Word()]
        home = self._tilde(word)
        words[-1].add(home, quoted=bool(home))
        for part in self._without_tilde(word, home):
            yield from self._add(part, words)
        return [text for item in words if item.is_there for text in self._matched(item)]

    def _add(self, part: Part, words: list[_Word]) -> Steps[None]:
        if _is_literal(part):
            words[-1].add(part.text, quoted=part.kind is Kind.QUOTED)
        elif part.kind is Kind.VARIABLE and part.text in "@*" and not part.operator:
            self._add_parameters(part, words)
        elif _has_choice(part) and not part.quoted and self._takes_word(part):
            for inner in part.word:
                yield from self._add(inner, words)
        else:
            value = yield from self._value(part)
            if part.quoted:
                words[-1].add(value, quoted=True)
            else:
                _split(value, words)

    def _add_parameters(self, part: Part, words: list[_Word]) -> None:
        parameters = self._shell.parameters[1:]
        if part.quoted and part.text == "*":
            words[-1].add(" ".join(parameters), quoted=True)
            return
        for number, value in enumerate(parameters):
            if number:
                words.append(_Word())
            if part.quoted:
                words[-1].add(value, quoted=True)
            else:
                _split(value, words)

    def _value(self, part: Part) -> Steps[str]:
        if _is_literal(part):
            return part.text
        if part.kind is Kind.COMMAND:
            assert part.script is not None
            return (yield from self._shell.output(part.script))
        if part.kind is Kind.ARITHMETIC:
            text = yield from self.one(part.word)
            return str(evaluate(text, self._shell.variables))
        value = self._shell.value(part.text)
        if not part.operator:
            return " ".join(self._shell.parameters[1:]) if part.text in "@*" else value or ""
        if part.operator == "length":
            return str(len(value or ""))
        if part.operator[0] in "%#":
            pattern = yield from self.pattern(part.word)
            return _trimmed(value or "", part.operator, pattern)
        return (yield from self._chosen(part, value))

    def _takes_word(self, part: Part) -> bool:
        value = self._shell.value(part.text)
        is_set = bool(value) if part.operator[0] == ":" else value is not None
        return (part.operator[-1] == "+") == is_set and part.operator[-1] in "+-"

    def _chosen(self, part: Part, value: str | None) -> Steps[str]:
        operator = part.operator[-1]
        is_set = bool(value) if part.operator[0] == ":" else value is not None
        if operator == "+":
            return (yield from self.one(part.word)) if is_set else ""
        if is_set:
            return value or ""
        text = yield from self.one(part.word)
        if operator == "?":
            raise ExpansionFailure(f"{part.text}: {text or 'parameter not set'}")
        if operator == "=":
            self._shell.variables[part.text] = text
        return text

    def _tilde(self, word: Word) -> str:
        text = word[0].text if word and word[0].kind is Kind.PLAIN else ""
        is_home = text.startswith("~/") or (text == "~" and len(word) == 1)
        return (self._shell.value("HOME") or "") if is_home else ""

    @staticmethod
    def _without_tilde(word: Word, home: str) -> Word:
        return (Part(Kind.PLAIN, word[0].text[1:]), *word[1:]) if home else word

    # ---- patterns

    def _matched(self, word: _Word) -> list[str]:
        if not word.has_wildcard:
            return [word.text]
        found = [""]
        for part in word.pattern.split("/"):
            found = [name for before in found for name in self._below(before, part)]
        return sorted(name.rstrip("/") for name in found) or [word.text]

    def _below(self, before: str, part: str) -> list[str]:
        """Names that go on from `before`, each ending in a slash."""
        process = self._shell.process
        if not glob.has_magic(part):
            name = f"{before}{part}/"
            return [name] if process.files.find(process.path(name)) else []
        folder = process.path(before)
        if not process.files.is_folder(folder):
            return []
        return [
            f"{before}{name}/"
            for name in process.files.names(folder)
            if fnmatch.fnmatchcase(name, part) and (part[0] == "." or name[0] != ".")
        ]


def _is_literal(part: Part) -> bool:
    return part.kind in (Kind.PLAIN, Kind.QUOTED)


def _has_choice(part: Part) -> bool:
    return part.kind is Kind.VARIABLE and part.operator in ("-", ":-", "+", ":+")


def _split(value: str, words: list[_Word]) -> None:
    pieces = value.split()
    if value[:1].isspace() and words[-1].is_there:
        words.append(_Word())
    for number, piece in enumerate(pieces):
        if number:
            words.append(_Word())
        words[-1].add(piece, quoted=False)
    if pieces and value[-1:].isspace():
        words.append(_Word())


def _trimmed(value: str, operator: str, pattern: str) -> str:
    """``${x#pattern}`` and its like: the shortest or longest match is cut off."""
    places = range(len(value) + 1)
    if operator[0] == "#":
        order = places if len(operator) == 1 else reversed(places)
        for end in order:
            if fnmatch.fnmatchcase(value[:end], pattern):
                return value[end:]
        return value
    order = reversed(places) if len(operator) == 1 else places
    for start in order:
        if fnmatch.fnmatchcase(value[start:], pattern):
            return value[:start]
    return value
