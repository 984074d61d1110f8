"""The simulated ``test`` program: conditions on files, texts and numbers."""

from __future__ import annotations

from collections.abc import Callable

from labkit.simulator.files import Node
from labkit.simulator.machine import Process

BROKEN = 2  # the status of a condition that cannot be read
OF_FILES: dict[str, Callable[[Node], bool]] = {
    "-e": lambda node: True,
    "-f": lambda node: not node.is_folder,
    "-d": lambda node: node.is_folder,
    "-s": lambda node: node.size > 0,
    "-r": lambda node: bool(node.mode & 0o444),
    "-w": lambda node: bool(node.mode & 0o222),
    "-x": lambda node: bool(node.mode & 0o111),
}
OF_TEXTS: dict[str, Callable[[str], bool]] = {
    "-n": lambda text: text != "",
    "-z": lambda text: text == "",
}
BETWEEN_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
}
BETWEEN_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda left, right: left == right,
    "-ne": lambda left, right: left != right,
    "-lt": lambda left, right: left < right,
    "-le": lambda left, right: left <= right,
    "-gt": lambda left, right: left > right,
    "-ge": lambda left, right: left >= right,
}


class _Unreadable(Exception):
    """The condition breaks the rules of ``test``."""


def test(process: Process) -> int:
    """``test CONDITION`` or ``[ CONDITION ]``: 0 when it holds, 1 when not, 2 when unreadable."""
    words = list(process.argv[1:])
    if process.argv[0].endswith("["):
        if words[-1:] != ["]"]:
            return process.fail("missing ]", BROKEN)
        words.pop()
    try:
        return int(not _holds(process, words))
    except _Unreadable as error:
        return process.fail(str(error), BROKEN)


def _holds(process: Process, words: list[str]) -> bool:
    for joint, judge in (("-o", any), ("-a", all)):
        if joint in words[1:-1]:
            place = words.index(joint, 1)
            parts = (words[:place], words[place + 1 :])
            return judge(_holds(process, part) for part in parts)
    if len(words) == 3 and (words[1] in BETWEEN_TEXTS or words[1] in BETWEEN_NUMBERS):
        return _compares(*words)
    if words[:1] == ["!"] and len(words) > 1:
        return not _holds(process, words[1:])
    if len(words) == 2 and words[0] in OF_FILES:
        node = process.files.find(process.path(words[1])) if words[1] else None
        return node is not None and OF_FILES[words[0]](node)
    if len(words) == 2 and words[0] in OF_TEXTS:
        return OF_TEXTS[words[0]](words[1])
    if len(words) < 2:
        return bool(words) and words[0] != ""
    raise _Unreadable(f"{' '.join(words)}: this condition is not simulated")


def _compares(left: str, operator: str, right: str) -> bool:
    if operator in BETWEEN_TEXTS:
        return BETWEEN_TEXTS[operator](left, right)
    try:
        return BETWEEN_NUMBERS[operator](int(left), int(right))
    except ValueError:
        raise _Unreadable(f"Illegal number: {left} or {right}") from None
