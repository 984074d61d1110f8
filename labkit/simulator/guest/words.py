"""How the micro guest's programs put their complaints: mksh and busybox, not dash and coreutils."""

from __future__ import annotations

import re

SHELL: tuple[tuple[str, str], ...] = (
    (r"cannot create (.+): (.+)", r"W: {}: \1: create: \2"),
    (r"cannot open (.+): (.+)", r"W: {}: \1: open: \2"),
    (r"\.: cannot open (.+): .+", r"E: {}: .: \1: No such file or directory"),
    (r"cd: can't cd to (.+)", r"E: {}: cd: \1: No such file or directory"),
    (r"(.+): not found", r"E: {}: \1: inaccessible or not found"),
    (r'Syntax error: "(.+)" unexpected.*', r"E: {}: syntax error: unexpected '\1'"),
    (r"Syntax error: (.+)", r"E: {}: syntax error: \1"),
    (r"(exit|return): Illegal number: (.+)", r"E: {}: \1: bad number: \2"),
    (r"shift: can't shift that many", r"E: {}: shift: nothing to shift"),
    (r"division by zero", r"W: {}: zero divisor"),
)
PROGRAMS: dict[str, tuple[str, str]] = {
    "mkdir": (r"cannot create directory (.+)", r"can't create directory \1"),
    "rmdir": (r"failed to remove (.+)", r"\1"),
    "rm": (r"cannot remove (.+)", r"can't remove \1"),
    "mv": (r"cannot use (.+)", r"can't rename \1"),
    "cp": (r"cannot use (.+)", r"can't stat \1"),
    "touch": (r"cannot touch '(.+)': (.+)", r"\1: \2"),
}


def of_shell(name: str, message: str) -> str:
    """A complaint of the shell by this name; `message` is what dash would say."""
    for pattern, words in SHELL:
        found = re.fullmatch(pattern, message, re.DOTALL)
        if found:
            return found.expand(words.replace("{}", name.replace("\\", "\\\\")))
    return f"E: {name}: {message}"


def of_program(name: str, message: str) -> str:
    """A complaint of a program; `message` is what that of coreutils would say."""
    pattern, words = PROGRAMS.get(name, ("", ""))
    found = re.fullmatch(pattern, message, re.DOTALL) if pattern else None
    return f"{name}: {found.expand(words) if found else message}"
