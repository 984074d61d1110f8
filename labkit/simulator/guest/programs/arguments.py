"""Options of the guest's programs: letters with and without a value, in any order."""

from __future__ import annotations


class BadUsage(Exception):
    """The arguments make no sense; the text says why."""


def read(
    words: list[str], flags: str, valued: str, known_long: tuple[str, ...] = ()
) -> tuple[dict[str, str], list[str]]:
    """The options by letter (flags have an empty value) and the other words."""
    found: dict[str, str] = {}
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            return found, rest + words
        if word in known_long:
            found[word] = ""
        elif len(word) < 2 or word[0] != "-":
            rest.append(word)
        else:
            _letters(word, words, flags, valued, found)
    return found, rest


def _letters(word: str, words: list[str], flags: str, valued: str, found: dict[str, str]) -> None:
    for place, letter in enumerate(word[1:], 2):
        if letter in flags:
            found[letter] = ""
        elif letter in valued:
            found[letter] = word[place:] or (words.pop(0) if words else "")
            if not found[letter]:
                raise BadUsage(f"option requires an argument -- '{letter}'")
            return
        else:
            raise BadUsage(f"invalid option -- '{letter}'")


def number(text: str, what: str = "number") -> float:
    try:
        return float(text)
    except ValueError:
        raise BadUsage(f"invalid {what}: '{text}'") from None
