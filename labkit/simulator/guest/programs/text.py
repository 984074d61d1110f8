"""The guest's programs for text: grep, tail, sort, uniq, cut, tr, seq, tee, yes and their like."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.machine import Buffer, Process, Steps, Wait, encode

CHUNK = 1 << 14


def _content(process: Process, paths: list[str]) -> Steps[bytes]:
    """Files one after the other, or standard input."""
    if not paths:
        return (yield from process.read_all())
    data = b""
    for path in paths:
        data += (
            (yield from process.read_all())
            if path == "-"
            else process.files.read(process.path(path))
        )
    return data


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").splitlines()


def grep(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "ivcqonEFHhlwxs", "emABC")
    except BadUsage as error:
        return process.fail(str(error), 2)
    pattern = options["e"] if "e" in options else rest.pop(0) if rest else None
    if pattern is None:
        return process.fail("a pattern is needed", 2)
    try:
        test = re.compile(_expression(pattern, options), re.I if "i" in options else 0)
    except re.error as error:
        return process.fail(f"bad regex '{pattern}': {error}", 2)
    return _grep(process, test, options, rest)


def _expression(pattern: str, options: dict[str, str]) -> str:
    """A regular expression of grep as one of Python."""
    if "F" in options:
        text = re.escape(pattern)
    elif "E" in options:
        text = pattern
    else:  # in a basic one these mean themselves unless they are escaped
        text = re.sub(
            r"\\?([+?|(){}])", lambda m: m[1] if m[0][0] == "\\" else f"\\{m[1]}", pattern
        )
    text = text.replace("[[:space:]]", r"\s").replace("[[:digit:]]", r"\d")
    if "w" in options:
        text = rf"\b(?:{text})\b"
    return rf"^(?:{text})$" if "x" in options else text


def _grep(
    process: Process, test: re.Pattern[str], options: dict[str, str], paths: list[str]
) -> Steps[int]:
    """Line by line, so that it can stand behind a program that never ends."""
    source = (
        process.stdin
        if not paths
        else Buffer(b"".join(process.files.read(process.path(path)) for path in paths), ended=True)
    )
    reader = LineReader(process, source)
    count = number = 0
    limit = int(options.get("m", "0"))
    while (line := (yield from reader.line())) is not None:
        number += 1
        found = test.search(line)
        if bool(found) == ("v" in options):
            continue
        count += 1
        if "q" in options:
            return 0
        if "c" not in options:
            shown = found[0] if found and "o" in options else line
            process.say(f"{number}:{shown}" if "n" in options else shown)
        if limit and count == limit:
            break
    if "c" in options:
        process.say(str(count))
    return int(not count)


class LineReader:
    """Lines of a stream as they come."""

    def __init__(self, process: Process, source: Buffer) -> None:
        self._process, self._source = process, source
        self._rest = b""

    def line(self) -> Steps[str | None]:
        while b"\n" not in self._rest:
            if self._source.data:
                self._rest += self._source.take(CHUNK)
            elif self._source.ended:
                break
            else:
                yield Wait(float("inf"), for_input=True, source=self._source)
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")


def wc(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "lwcm", "")
    except BadUsage as error:
        return process.fail(str(error))
    return _wc(process, options, rest)


def _wc(process: Process, options: dict[str, str], paths: list[str]) -> Steps[int]:
    data = yield from _content(process, paths)
    counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
    shown = [count for letter, count in counts.items() if letter in options or not options]
    columns = str(shown[0]) if len(shown) == 1 else " ".join(f"{count:9}" for count in shown)
    process.say(" ".join([columns, *paths[:1]]))
    return 0


def tail(process: Process) -> Steps[int]:
    """``tail [-n N] [-c N] [FILE]``; with -f it ends at the end."""
    words = [f"-n{word[1:]}" if re.fullmatch(r"-\d+", word) else word for word in process.argv[1:]]
    try:
        options, rest = read(words, "fq", "nc")
    except BadUsage as error:
        return process.fail(str(error))
    data = yield from _content(process, rest)
    if "c" in options:
        process.stdout.write(data[-int(options["c"]) :])
        return 0
    text = options.get("n", "10")
    lines = data.splitlines(keepends=True)
    count = int(text.lstrip("+"))
    process.stdout.write(
        b"".join(lines[count - 1 :] if text.startswith("+") else lines[-count:] if count else [])
    )
    return 0


def head(process: Process) -> Steps[int]:
    """``head [-n N] [-c N] [FILE]``; ends as soon as it has enough."""
    words = [f"-n{word[1:]}" if re.fullmatch(r"-\d+", word) else word for word in process.argv[1:]]
    try:
        options, rest = read(words, "q", "nc")
    except BadUsage as error:
        return process.fail(str(error))
    source = process.stdin
    if rest and process.path(rest[0]) == "/dev/zero":
        source = Buffer(bytes(int(options.get("c", "0"))), ended=True)
    elif rest and rest[0] != "-":
        source = Buffer(process.files.read(process.path(rest[0])), ended=True)
    left = int(options.get("c", options.get("n", "10")))
    by_lines = "c" not in options
    while left > 0:
        if not source.data:
            if source.ended:
                break
            yield Wait(float("inf"), for_input=True, source=source)
            continue
        end = source.data.find(b"\n") + 1 if by_lines else min(left, len(source.data))
        if by_lines and not end:
            if not source.ended:
                yield Wait(float("inf"), for_input=True, signal=source.changed)
                continue
            end = len(source.data)
        process.stdout.write(source.take(end))
        left -= 1 if by_lines else end
    return 0


def sort(process: Process) -> Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "nru", "kt")
    except BadUsage as error:
        return process.fail(str(error))
    lines = _lines((yield from _content(process, rest)))
    field = int(re.match(r"\d+", options.get("k", "0"))[0])  # type: ignore[index]

    def key(line: str) -> tuple[float, str]:
        words = line.split(options.get("t"))
        text = " ".join(words[field - 1 :]) if field else line
        found = re.match(r"\s*-?\d+(\.\d+)?", text)
        return (float(found[0]) if found and "n" in options else 0.0, text)

    lines = sorted(set(lines) if "u" in options else lines, key=key, reverse="r" in options)
    process.say(*lines)
    return 0


def uniq(process: Process) -> Steps[int]:
    counted: list[list[object]] = []
    for line in _lines((yield from _content(process, []))):
        if counted and counted[-1][1] == line:
            counted[-1][0] += 1  # type: ignore[operator]
        else:
            counted.append([1, line])
    shows_count = "-c" in process.argv
    process.say(*(f"{n:>7} {line}" if shows_count else str(line) for n, line in counted))
    return 0


def cut(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "s", "dfcb")
    except BadUsage as error:
        return process.fail(str(error))
    chosen = options.get("f") or options.get("c") or options.get("b")
    if not chosen:
        return process.fail("expected a list of bytes, characters, or fields")
    return _cut(process, chosen, options.get("d", "\t") if "f" in options else "", rest)


def _cut(process: Process, chosen: str, delimiter: str, paths: list[str]) -> Steps[int]:
    ranges = []
    for item in chosen.split(","):
        low, dash, high = item.partition("-")
        ranges.append((int(low or 1), int(high) if high else (1 << 30 if dash else int(low))))
    for line in _lines((yield from _content(process, paths))):
        pieces = line.split(delimiter) if delimiter else list(line)
        if delimiter and len(pieces) == 1:
            process.say(line)
            continue
        kept = [
            piece
            for place, piece in enumerate(pieces, 1)
            if any(low <= place <= high for low, high in ranges)
        ]
        process.say(delimiter.join(kept))
    return 0


def tr(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "ds", "")
    except BadUsage as error:
        return process.fail(str(error))
    if not rest:
        return process.fail("missing operand")
    return _tr(process, options, [_characters(text) for text in rest])


def _characters(text: str) -> str:
    text = text.encode().decode("unicode_escape")
    text = text.replace("[:upper:]", "A-Z").replace("[:lower:]", "a-z").replace("[:digit:]", "0-9")
    return re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), text)


def _tr(process: Process, options: dict[str, str], sets: list[str]) -> Steps[int]:
    text = (yield from process.read_all()).decode("utf-8", "surrogateescape")
    if "d" in options:
        text = "".join(c for c in text if c not in sets[0])
    elif len(sets) > 1 and sets[1]:
        padded = sets[1].ljust(len(sets[0]), sets[1][-1])
        text = text.translate(dict(zip(map(ord, sets[0]), padded, strict=False)))
    if "s" in options:
        squeezed = re.escape(sets[-1])
        text = re.sub(rf"([{squeezed}])\1+", r"\1", text)
    process.stdout.write(encode(text))
    return 0


def seq(process: Process) -> int:
    numbers = [int(word) for word in process.argv[1:] if re.fullmatch(r"-?\d+", word)]
    if not numbers:
        return process.fail("missing operand")
    first, step, last = 1, 1, numbers[-1]
    if len(numbers) > 1:
        first = numbers[0]
    if len(numbers) > 2:
        step = numbers[1]
    process.say(*map(str, range(first, last + (1 if step > 0 else -1), step or 1)))
    return 0


def tee(process: Process) -> Steps[int]:
    append = "-a" in process.argv
    paths = [process.path(word) for word in process.argv[1:] if word != "-a"]
    for path in paths:
        process.files.write(path, b"", append=append)
    while data := (yield from process.read(CHUNK)):
        process.stdout.write(data)
        for path in paths:
            process.files.write(path, data, append=True)
    return 0


def yes(process: Process) -> Steps[int]:
    line = encode(" ".join(process.argv[1:] or ("y",)) + "\n")
    while True:
        process.stdout.write(line * 64)
        yield Wait(0.0001)


def rev(process: Process) -> Steps[int]:
    process.say(*(line[::-1] for line in _lines((yield from _content(process, [])))))
    return 0


def _sum(name: str) -> Callable[[Process], Steps[int]]:
    def program(process: Process) -> Steps[int]:
        for path in process.argv[1:] or ("-",):
            data = yield from _content(process, [path])
            process.say(f"{hashlib.new(name, data).hexdigest()}  {path}")
        return 0

    return program


md5sum, sha1sum, sha256sum = _sum("md5"), _sum("sha1"), _sum("sha256")
