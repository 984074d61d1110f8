"""How a bad wish is refused: the thing, the value, the rule, and what to do."""

from __future__ import annotations

from typing import Any, NoReturn

from labkit.errors import DuplicateError, InvalidArgument


def refuse(thing: str, value: object, rule: str, fix: str = "", **context: Any) -> NoReturn:
    """Raise `InvalidArgument` for a `value` of `thing` that breaks a `rule`."""
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:60]}… ({len(shown)} characters)"
    raise InvalidArgument(
        f"{thing} is {shown}",
        why=rule,
        fix=fix or "Change the wish; nothing was done.",
        argument=thing,
        value=value,
        rule=rule,
        **context,
    )


def repeated(thing: str, value: object, rule: str, fix: str = "") -> NoReturn:
    """Raise `DuplicateError` for a `value` of `thing` that is already taken."""
    raise DuplicateError(
        f"{thing} is {value!r}",
        why=rule,
        fix=fix or "Change the wish; nothing was done.",
        argument=thing,
        value=value,
        rule=rule,
    )
