"""Reading the words of a script: quotes, escapes, variables, substitutions."""

from __future__ import annotations

import re
from collections.abc import Callable

from labkit.simulator.shell_syntax import Kind, Part, Script, ShellSyntaxError, Word

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
PARAMETER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*|[0-9?$#@*!-]")
IN_BRACES = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*|[0-9]+|[?$#@*!-]")
OPERATOR = re.compile(r":?[-=+?]|%%?|##?")
ENDS = " \t\n;|&<>()"


class Words:
    """A place in a script, and the words that are read from there."""

    def __init__(self, script: str, parse: Callable[[str, int], tuple[Script, int]]) -> None:
        """`parse` reads a script up to a closing parenthesis, from a place on."""
        self.script = script
        self.place = 0
        self._parse = parse

    def at(self, text: str) -> bool:
        return self.script.startswith(text, self.place)

    def word(self, ends: str = ENDS) -> Word:
        """The word that begins here, up to a character that ends it."""
        parts: list[Part] = []
        while self.place < len(self.script) and self.script[self.place] not in ends:
            parts += self._part(quoted=False)
        return merged(parts)

    def heredoc(self, text: str) -> Word:
        """The text of a here-document, in which variables stand for their values."""
        inner = Words(text, self._parse)
        parts: list[Part] = []
        while inner.place < len(text):
            parts += inner._in_quotes("$`\\")
        return merged(parts)

    # ---- inside

    def _part(self, *, quoted: bool) -> list[Part]:
        character = self.script[self.place]
        if character == "'":
            return [Part(Kind.QUOTED, self._single())]
        if character == '"':
            return self._double()
        if character == "\\":
            return self._escape()
        if character == "$":
            return [self._dollar(quoted=quoted)]
        if character == "`":
            return [self._backquotes(quoted=quoted)]
        self.place += 1
        return [Part(Kind.PLAIN, character)]

    def _single(self) -> str:
        end = self.script.find("'", self.place + 1)
        if end < 0:
            raise ShellSyntaxError("Unterminated quoted string")
        text = self.script[self.place + 1 : end]
        self.place = end + 1
        return text

    def _escape(self) -> list[Part]:
        following = self.script[self.place + 1 : self.place + 2]
        self.place += 2
        if following == "\n":
            return []
        return [Part(Kind.QUOTED, following or "\\")]

    def _double(self) -> list[Part]:
        parts = [Part(Kind.QUOTED, "")]
        self.place += 1
        while not self.at('"'):
            if self.place >= len(self.script):
                raise ShellSyntaxError("Unterminated quoted string")
            parts += self._in_quotes('$`"\\')
        self.place += 1
        return parts

    def _in_quotes(self, escaped: str) -> list[Part]:
        character = self.script[self.place]
        following = self.script[self.place + 1 : self.place + 2]
        if character == "\\" and following and following in f"{escaped}\n":
            self.place += 2
            return [Part(Kind.QUOTED, "" if following == "\n" else following)]
        if character == "$":
            return [self._dollar(quoted=True)]
        if character == "`":
            return [self._backquotes(quoted=True)]
        self.place += 1
        return [Part(Kind.QUOTED, character)]

    def _dollar(self, *, quoted: bool) -> Part:
        if self.at("$(("):
            found = self._arithmetic(quoted=quoted)
            if found is not None:
                return found
        if self.at("$("):
            script, self.place = self._parse(self.script, self.place + 2)
            return Part(Kind.COMMAND, "", quoted, script=script)
        if self.at("${"):
            return self._braces(quoted=quoted)
        name = PARAMETER.match(self.script, self.place + 1)
        if name is None:
            self.place += 1
            return Part(Kind.QUOTED if quoted else Kind.PLAIN, "$")
        self.place = name.end()
        return Part(Kind.VARIABLE, name[0], quoted)

    def _arithmetic(self, *, quoted: bool) -> Part | None:
        depth, at = 0, self.place + 3
        while at < len(self.script):
            if self.script[at] == "(":
                depth += 1
            elif self.script[at] == ")":
                if not depth:
                    break
                depth -= 1
            at += 1
        if not self.script.startswith("))", at):
            return None
        inner = Words(self.script[self.place + 3 : at], self._parse)
        parts: list[Part] = []
        while inner.place < len(inner.script):
            parts += inner._in_quotes("$`\\")
        self.place = at + 2
        return Part(Kind.ARITHMETIC, "", quoted, word=merged(parts))

    def _braces(self, *, quoted: bool) -> Part:
        self.place += 2
        if self.at("#") and not self.at("#}"):
            self.place += 1
            name = IN_BRACES.match(self.script, self.place)
            if name is None or not self.script.startswith("}", name.end()):
                raise ShellSyntaxError("Bad substitution")
            self.place = name.end() + 1
            return Part(Kind.VARIABLE, name[0], quoted, operator="length")
        name = IN_BRACES.match(self.script, self.place)
        if name is None:
            raise ShellSyntaxError("Bad substitution")
        self.place = name.end()
        operator = OPERATOR.match(self.script, self.place)
        word: Word = ()
        if operator is not None:
            self.place = operator.end()
            word = self._brace_word(quoted=quoted)
        if not self.at("}"):
            raise ShellSyntaxError(
                "Bad substitution" if self.script[self.place :] else "Missing '}'"
            )
        self.place += 1
        return Part(
            Kind.VARIABLE, name[0], quoted, operator=operator[0] if operator else "", word=word
        )

    def _brace_word(self, *, quoted: bool) -> Word:
        parts: list[Part] = []
        while self.place < len(self.script) and not self.at("}"):
            if quoted and not self.at('"'):
                parts += self._in_quotes('$`"\\}')
            else:
                parts += self._part(quoted=quoted)
        return merged(parts)

    def _backquotes(self, *, quoted: bool) -> Part:
        at, text = self.place + 1, ""
        while at < len(self.script) and self.script[at] != "`":
            if self.script[at] == "\\" and self.script[at + 1 : at + 2] in ("`", "$", "\\"):
                at += 1
            text += self.script[at]
            at += 1
        if at >= len(self.script):
            raise ShellSyntaxError("EOF in backquote substitution")
        script, _ = self._parse(f"{text}\n)", 0)
        self.place = at + 1
        return Part(Kind.COMMAND, "", quoted, script=script)


def merged(parts: list[Part]) -> Word:
    """Neighbours of the same plain kind as one."""
    result: list[Part] = []
    for part in parts:
        if result and result[-1].kind is part.kind and part.kind in (Kind.PLAIN, Kind.QUOTED):
            result[-1] = Part(part.kind, result[-1].text + part.text)
        else:
            result.append(part)
    return tuple(result)
