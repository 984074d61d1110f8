"""The simulated programs that print, read and wait."""

from __future__ import annotations

import dataclasses
import math
import re

from labkit.simulator.command_line import each, options
from labkit.simulator.machine import TURN, Buffer, Process, Steps, Wait, encode

CHUNK = 1 << 16
ESCAPES = {"a": 7, "b": 8, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
OCTAL_OF_ECHO = re.compile(r"\\0([0-7]{1,3})")
DIRECTIVE = re.compile(r"%([-+ 0#]*\d*(?:\.\d+)?)([sdiuxXoc%b])")
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)|inf(?:inity)?")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def true(_process: Process) -> int:
    return 0


def false(_process: Process) -> int:
    return 1


def echo(process: Process) -> int:
    words = list(process.argv[1:])
    newline = words[:1] != ["-n"]
    process.stdout.write(encode(" ".join(words[not newline :]) + "\n" * newline))
    return 0


def echo_of_the_shell(process: Process) -> int:
    """The ``echo`` built into sh, which unlike the program reads backslashes; ``\\c`` ends it."""
    words = list(process.argv[1:])
    newline = words[:1] != ["-n"]
    text, ends_early, _ = " ".join(words[not newline :]).partition("\\c")
    text = OCTAL_OF_ECHO.sub(r"\\\1", text)
    process.stdout.write(_unescaped(text) + b"\n" * (newline and not ends_early))
    return 0


def printf(process: Process) -> int:
    """``printf FORMAT [ARGUMENT...]``: the format is used again while arguments are left."""
    if len(process.argv) < 2:
        return process.fail("missing operand")
    text, arguments = process.argv[1], list(process.argv[2:])
    while True:
        before = len(arguments)
        try:
            process.stdout.write(_formatted(text, arguments))
        except ValueError as error:
            return process.fail(str(error))
        if not arguments or len(arguments) == before:
            return 0


def _formatted(text: str, arguments: list[str]) -> bytes:
    out, place = bytearray(), 0
    for found in DIRECTIVE.finditer(text):
        out += _unescaped(_plain(text[place : found.start()]))
        place = found.end()
        flags, letter = found.groups()
        if letter == "%":
            out += b"%"
            continue
        value = arguments.pop(0) if arguments else ""
        out += _converted(flags, letter, value)
    return bytes(out + _unescaped(_plain(text[place:])))


def _plain(text: str) -> str:
    if "%" in text:
        raise ValueError(f"{text[text.index('%') :]}: this directive is not simulated")
    return text


def _converted(flags: str, letter: str, value: str) -> bytes:
    if letter == "b":
        return _unescaped(value)
    if letter in "sc":
        return encode(f"%{flags}s" % (value[:1] if letter == "c" else value))
    try:
        number = int(value or "0", 0)
    except ValueError:
        raise ValueError(f"'{value}': expected a numeric value") from None
    return encode(f"%{flags}{letter}" % number)


def _unescaped(text: str) -> bytes:
    def byte(found: re.Match[str]) -> str:
        octal, hexadecimal, letter = found[1], found[2], found[3]
        if letter is not None and letter not in ESCAPES:
            return found[0]
        code = int(octal or hexadecimal, 8 if octal else 16) if letter is None else ESCAPES[letter]
        return bytes([code & 255]).decode("utf-8", "surrogateescape")

    return encode(ESCAPE.sub(byte, text))


def cat(process: Process) -> Steps[int]:
    status = 0
    for path in process.argv[1:] or ("-",):
        if path == "-":
            while data := (yield from process.read(CHUNK)):
                process.stdout.write(data)
            continue
        while process.path(path) == "/dev/zero":
            process.stdout.write(bytes(CHUNK))
            yield TURN
        status |= each(process, [path], lambda path: process.stdout.write(_read(process, path)))
    return status


def _read(process: Process, path: str) -> bytes:
    absolute = process.path(path)
    return b"" if absolute == "/dev/null" else process.files.read(absolute)


def head(process: Process) -> Steps[int]:
    """``head [-c BYTES | -n LINES] [FILE]``."""
    words = list(process.argv[1:])
    unit, count = "-n", 10
    if words and (found := re.fullmatch(r"(-[cn])(\d*)", words[0])):
        unit = found[1]
        number = found[2] or (words[1] if len(words) > 1 else "")
        if not number.isdigit():
            return process.fail(f"invalid number: '{number}'")
        count, words = int(number), words[1 if found[2] else 2 :]
    path = words[0] if words else "-"
    if process.path(path) == "/dev/zero" and unit == "-c":
        while count > 0:
            process.stdout.write(bytes(min(CHUNK, count)))
            count -= CHUNK
            yield TURN
        return 0
    stdin = process.stdin if path == "-" else Buffer(_read(process, path), ended=True)
    source = dataclasses.replace(process, stdin=stdin)
    if unit == "-n":
        lines = (yield from source.read_all()).splitlines(keepends=True)
        process.stdout.write(b"".join(lines[:count]))
        return 0
    while count > 0 and (data := (yield from source.read(count))):
        process.stdout.write(data)
        count -= len(data)
    return 0


def wc(process: Process) -> Steps[int]:
    """``wc [-l] [-w] [-c] [FILE]``."""
    flags, paths = options(process, "lwc")
    data = _read(process, paths[0]) if paths else (yield from process.read_all())
    counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
    shown = [str(count) for letter, count in counts.items() if letter in flags or not flags]
    process.say(" ".join([*shown, *paths[:1]]))
    return 0


def sleep(process: Process) -> Steps[int]:
    total = 0.0
    for word in process.argv[1:]:
        found = DURATION.fullmatch(word)
        if not found:
            return process.fail(f"invalid time interval '{word}'")
        total += float(found[1]) * UNITS[found[2]] if found[1] else math.inf
    if len(process.argv) < 2:
        return process.fail("missing operand")
    yield Wait(total)
    return 0
