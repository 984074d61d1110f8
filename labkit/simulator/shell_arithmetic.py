"""Arithmetic of the shell: ``$((…))`` on whole numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

TOKEN = re.compile(
    r"\s*(?:(0[xX][0-9a-fA-F]+|\d+)|([a-zA-Z_]\w*)|(<<=|>>=|\*\*|&&|\|\||[<>=!]=|<<|>>|"
    r"[-+*/%&|^]=|[-+*/%()<>!~&|^?:=]))"
)
LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", "<=", ">", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
WORK: Mapping[str, Callable[[int, int], int]] = {
    "||": lambda a, b: int(bool(a) or bool(b)),
    "&&": lambda a, b: int(bool(a) and bool(b)),
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
    "<<": lambda a, b: a << (b & 63),
    ">>": lambda a, b: a >> (b & 63),
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: _divided(a, b),
    "%": lambda a, b: a - b * _divided(a, b),
}


class ArithmeticFailure(Exception):
    """The expression has no value; the text says why."""


def _divided(a: int, b: int) -> int:
    if not b:
        raise ArithmeticFailure("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def evaluate(text: str, variables: dict[str, str]) -> int:
    """The value of an expression; assignments in it change the variables."""
    tokens: list[str] = []
    place, text = 0, text.rstrip()
    while place < len(text):
        found = TOKEN.match(text, place)
        if found is None:
            raise ArithmeticFailure(f'arithmetic expression: expecting EOF: "{text}"')
        tokens.append(found[1] or found[2] or found[3])
        place = found.end()
    if not tokens:
        return 0
    reader = _Reader(tokens, variables)
    try:
        value = reader.assignment()
    except (ValueError, RecursionError):
        raise ArithmeticFailure(f'arithmetic expression: not a number in "{text}"') from None
    if reader.rest:
        raise ArithmeticFailure(f'arithmetic expression: expecting EOF: "{text}"')
    return value


class _Reader:
    def __init__(self, tokens: list[str], variables: dict[str, str]) -> None:
        self.rest = tokens
        self._variables = variables

    def assignment(self) -> int:
        if len(self.rest) > 1 and self.rest[0][0].isalpha() and self.rest[1] in _ASSIGNING:
            name, operator = self.rest[0], self.rest[1]
            del self.rest[:2]
            value = self.assignment()
            if operator != "=":
                value = WORK[operator[:-1]](self._value(name), value)
            self._variables[name] = str(value)
            return value
        return self._choice()

    def _choice(self) -> int:
        value = self._level(0)
        if self._take("?"):
            first = self.assignment()
            if not self._take(":"):
                raise ArithmeticFailure("arithmetic expression: expecting ':'")
            second = self.assignment()
            return first if value else second
        return value

    def _level(self, depth: int) -> int:
        if depth == len(LEVELS):
            return self._unary()
        value = self._level(depth + 1)
        while self.rest and self.rest[0] in LEVELS[depth]:
            operator = self.rest.pop(0)
            value = WORK[operator](value, self._level(depth + 1))
        return value

    def _unary(self) -> int:
        if self._take("-"):
            return -self._unary()
        if self._take("+"):
            return self._unary()
        if self._take("!"):
            return int(not self._unary())
        if self._take("~"):
            return ~self._unary()
        if self._take("("):
            value = self.assignment()
            if not self._take(")"):
                raise ArithmeticFailure("arithmetic expression: expecting ')'")
            return value
        if not self.rest:
            raise ArithmeticFailure("arithmetic expression: expecting primary")
        token = self.rest.pop(0)
        if token[0].isdigit():
            return _number(token)
        if token[0].isalpha() or token[0] == "_":
            return self._value(token)
        raise ArithmeticFailure("arithmetic expression: expecting primary")

    def _take(self, token: str) -> bool:
        if self.rest and self.rest[0] == token:
            del self.rest[0]
            return True
        return False

    def _value(self, name: str) -> int:
        text = self._variables.get(name, "").strip()
        if not text:
            return 0
        sign = -1 if text.startswith("-") else 1
        return sign * _number(text.lstrip("+-"))


_ASSIGNING = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text, 16)
    if text.startswith("0") and text.strip("0"):
        return int(text, 8)
    return int(text)
