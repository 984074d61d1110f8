"""``sed`` and ``awk``, as far as one-liners in labs go; what they do not know they say."""

from __future__ import annotations

import re

from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.guest.programs.text import LineReader
from labkit.simulator.machine import Buffer, Process, Steps, encode

SUBSTITUTE = re.compile(r"(?:(\d+|\$|/(?:\\.|[^/])*/))?\s*s(.)(.*)", re.DOTALL)
SIMPLE = re.compile(r"(\d+|\$|/(?:\\.|[^/])*/)?(?:,(\d+|\$))?\s*([pdq])")
AWK = re.compile(r"\s*(?:(BEGIN|END|/(?:\\.|[^/])*/|[^{]*?))\s*(?:\{(.*)\})?\s*", re.DOTALL)


AWK_ITEM = r'(?:"(?:\\.|[^"])*"|NR|NF|\$NF|\$\d+|\d+)'
AWK_BODY = re.compile(rf"(?:printf|print)(?:\s*{AWK_ITEM}(?:[\s,]*{AWK_ITEM})*)?")


def _source(process: Process, paths: list[str]) -> Buffer:
    if not paths:
        return process.stdin
    data = b"".join(process.files.read(process.path(path)) for path in paths)
    return Buffer(data, ended=True)


def sed(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "nEri", "e")
    except BadUsage as error:
        return process.fail(str(error))
    script = options["e"] if "e" in options else rest.pop(0) if rest else ""
    commands = [
        part for part in re.split(r";(?=\s*(?:\d|\$|/|s|p|d|q))|\n", script) if part.strip()
    ]
    if not commands or not all(_command(part, options) for part in commands):
        return process.fail(f"unsupported command: {script} (not simulated)")
    return _sed(process, [_command(part, options) for part in commands], options, rest)


Command = tuple[str, str, str, "re.Pattern[str] | None", str, bool]


def _command(text: str, options: dict[str, str]) -> Command | None:
    """(address, end, letter, pattern, replacement, everywhere)."""
    text = text.strip()
    simple = SIMPLE.fullmatch(text)
    if simple:
        return (simple[1] or "", simple[2] or "", simple[3], None, "", False)
    found = SUBSTITUTE.fullmatch(text)
    if not found:
        return None
    pieces = re.split(rf"(?<!\\){re.escape(found[2])}", found[3])
    if len(pieces) != 3:
        return None
    pattern = pieces[0]
    if not {"E", "r"} & set(options):
        pattern = re.sub(
            r"\\?([+?|(){}])", lambda m: m[1] if m[0][0] == "\\" else f"\\{m[1]}", pattern
        )
    flags = re.I if "i" in pieces[2].lower() else 0
    replacement = re.sub(r"(?<!\\)&", r"\\g<0>", pieces[1])
    try:
        compiled = re.compile(pattern, flags)
    except re.error:
        return None
    return (found[1] or "", "", "s", compiled, replacement, "g" in pieces[2])


def _sed(
    process: Process, commands: list[Command | None], options: dict[str, str], paths: list[str]
) -> Steps[int]:
    in_place = "i" in options and bool(paths)
    reader = LineReader(process, _source(process, paths))
    lines: list[str] = []
    while (line := (yield from reader.line())) is not None:
        lines.append(line)
    out: list[str] = []
    for number, original in enumerate(lines, 1):
        line, is_kept, is_last = original, "n" not in options, False
        for command in commands:
            assert command is not None
            if not _applies(command, number, line, len(lines)):
                continue
            if command[2] == "p":
                out.append(line)
            elif command[2] == "d":
                is_kept = False
                break
            elif command[2] == "q":
                is_last = True
            else:
                assert command[3] is not None
                line = command[3].sub(command[4], line, count=0 if command[5] else 1)
        if is_kept:
            out.append(line)
        if is_last:
            break
    text = "".join(f"{line}\n" for line in out)
    if in_place:
        process.files.write(process.path(paths[0]), encode(text))
    else:
        process.stdout.write(encode(text))
    return 0


def _applies(command: Command, number: int, line: str, last: int) -> bool:
    address, end = command[0], command[1]
    if not address:
        return True
    if address.startswith("/"):
        return bool(re.search(address[1:-1], line))
    first = last if address == "$" else int(address)
    if not end:
        return number == first
    return first <= number <= (last if end == "$" else int(end))


def awk(process: Process) -> int | Steps[int]:
    try:
        options, rest = read(list(process.argv[1:]), "", "Fv")
    except BadUsage as error:
        return process.fail(str(error))
    program = rest.pop(0) if rest else ""
    found = AWK.fullmatch(program)
    body = (found[2] if found and found[2] is not None else "print").strip() if found else ""
    if not found or not AWK_BODY.fullmatch(body.rstrip("; ")):
        return process.fail(f"not simulated: {program}", 2)
    return _awk(process, (found[1] or "").strip(), body.rstrip("; "), options.get("F"), rest)


def _awk(
    process: Process, test: str, body: str, separator: str | None, paths: list[str]
) -> Steps[int]:
    reader = LineReader(process, _source(process, paths))
    number, line = 0, ""
    if test == "BEGIN":
        process.stdout.write(encode(_print(body, "", 0, separator)))
        return 0
    while (found := (yield from reader.line())) is not None:
        number, line = number + 1, found
        if test != "END" and _holds(test, line, number, separator):
            process.stdout.write(encode(_print(body, line, number, separator)))
    if test == "END":
        process.stdout.write(encode(_print(body, line, number, separator)))
    return 0


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None or separator == " ":
        return line.split()
    return re.split(separator, line) if len(separator) > 1 else line.split(separator)


def _holds(test: str, line: str, number: int, separator: str | None) -> bool:
    if not test:
        return True
    if test.startswith("/"):
        return bool(re.search(test[1:-1], line))
    found = re.fullmatch(r"(.+?)\s*(==|!=|~|<=|>=|<|>)\s*(.+)", test)
    if not found:
        return bool(_value(test, line, number, separator))
    left = _value(found[1], line, number, separator)
    if found[2] == "~":
        return bool(re.search(found[3].strip().strip("/"), left))
    right = _value(found[3], line, number, separator)
    try:
        low, high = float(left), float(right)
        order = (low > high) - (low < high)
    except ValueError:
        order = (left > right) - (left < right)
    return {
        "==": order == 0,
        "!=": order != 0,
        "<": order < 0,
        ">": order > 0,
        "<=": order <= 0,
        ">=": order >= 0,
    }[found[2]]


def _value(text: str, line: str, number: int, separator: str | None) -> str:
    text, fields = text.strip(), _fields(line, separator)
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1].encode().decode("unicode_escape")
    if text == "NR":
        return str(number)
    if text == "NF":
        return str(len(fields))
    if text == "$NF":
        return fields[-1] if fields else ""
    found = re.fullmatch(r"\$(\d+)", text)
    if found:
        place = int(found[1])
        return line if not place else fields[place - 1] if place <= len(fields) else ""
    return text


def _print(body: str, line: str, number: int, separator: str | None) -> str:
    words = body.removeprefix("printf").removeprefix("print").strip()
    if not words:
        return f"{line}\n"
    items = re.findall(r'(?:"(?:\\.|[^"])*"|[^,\s"]+|,)', words)
    groups: list[str] = [""]
    for item in items:
        if item == ",":
            groups.append("")
        else:
            groups[-1] += _value(item, line, number, separator)
    if body.startswith("printf"):
        return groups[0] % tuple(groups[1:]) if len(groups) > 1 else groups[0]
    return " ".join(groups) + "\n"
