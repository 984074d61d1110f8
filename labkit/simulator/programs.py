"""The everyday programs of a simulated machine, as far as labkit and students use them."""

from __future__ import annotations

import errno
import math
import posixpath
import re
import time
from collections.abc import Callable, Mapping

from labkit.simulator.conditions import test
from labkit.simulator.files import Node, failure
from labkit.simulator.machine import TURN, Process, Program, Steps, Wait, encode
from labkit.simulator.shell import sh

CHUNK = 1 << 16
ESCAPES = {"a": 7, "b": 8, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
DIRECTIVE = re.compile(r"%([-+ 0#]*\d*(?:\.\d+)?)([sdiuxXoc%b])")
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)|inf(?:inity)?")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def options(process: Process, known: str) -> tuple[set[str], list[str]]:
    """The one-letter options and the other arguments; raises `BadOption` for unknown ones."""
    found: set[str] = set()
    rest: list[str] = []
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if len(word) < 2 or word[0] != "-":
            rest.append(word)
            continue
        for letter in word[1:]:
            if letter not in known:
                raise BadOption(word)
            found.add(letter)
    return found, rest


class BadOption(Exception):
    """An option that is not simulated; the program says so and ends with status 2."""


def checked(program: Callable[[Process], int | Steps[int]]) -> Program:
    """The program with its complaints about options and files made as text and status."""

    def run(process: Process) -> Steps[int]:
        try:
            outcome = program(process)
            return outcome if isinstance(outcome, int) else (yield from outcome)
        except BadOption as option:
            return process.fail(f"option {option} is not simulated", 2)
        except OSError as error:
            return process.fail(f"{error.filename}: {error.strerror}")

    return run


def each(process: Process, paths: list[str], work: Callable[[str], None], said: str = "{}") -> int:
    """Do the work for every path, complaining about those that fail; the status."""
    status = 0
    for path in paths:
        try:
            if not path:
                raise failure(errno.ENOENT, path)
            work(path)
        except OSError as error:
            status = process.fail(f"{said.format(path)}: {error.strerror}")
    return status


# ---- text


def true(_process: Process) -> int:
    return 0


def false(_process: Process) -> int:
    return 1


def echo(process: Process) -> int:
    words = list(process.argv[1:])
    newline = words[:1] != ["-n"]
    process.stdout.write(encode(" ".join(words[not newline :]) + "\n" * newline))
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
    data = (yield from process.read_all()) if path == "-" else _read(process, path)
    kept = data[:count] if unit == "-c" else b"".join(data.splitlines(keepends=True)[:count])
    process.stdout.write(kept)
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


# ---- files


def ls(process: Process) -> int:
    flags, paths = options(process, "la1A")
    status = 0
    for path in paths or ["."]:
        node = process.files.find(process.path(path))
        if node is None:
            status = process.fail(f"cannot access '{path}': No such file or directory", 2)
            continue
        if node.is_folder:
            names = process.files.names(process.path(path))
            nodes = {
                name: node.entries[name] for name in names if name[0] != "." or flags & {*"aA"}
            }
        else:
            nodes = {path: node}
        process.say(
            *(_listed(name, node) if "l" in flags else name for name, node in nodes.items())
        )
    return status


def _listed(name: str, node: Node) -> str:
    bits = "".join(
        letter if node.mode >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(node.modified // 10**9))
    kind = "d" if node.is_folder else "-"
    return f"{kind}{bits} 1 {node.owner} {node.owner} {node.size} {when} {name}"


def rm(process: Process) -> int:
    flags, paths = options(process, "rRf")
    files = process.files

    def work(path: str) -> None:
        absolute = process.path(path)
        if "f" in flags and files.find(absolute) is None:
            return
        if flags & {*"rR"} and files.is_folder(absolute):
            for below, node in reversed(list(files.walk(absolute))):
                files.remove_folder(below) if node.is_folder else files.remove(below)
            files.remove_folder(absolute)
            return
        files.remove(absolute)

    if not paths and "f" not in flags:
        return process.fail("missing operand")
    return each(process, paths, work, "cannot remove '{}'")


def mkdir(process: Process) -> int:
    flags, paths = options(process, "p")

    def work(path: str) -> None:
        process.files.make_folder(process.path(path), parents="p" in flags)

    return each(process, paths, work, "cannot create directory '{}'")


def rmdir(process: Process) -> int:
    def work(path: str) -> None:
        process.files.remove_folder(process.path(path))

    return each(process, options(process, "")[1], work, "failed to remove '{}'")


def touch(process: Process) -> int:
    def work(path: str) -> None:
        process.files.write(process.path(path), b"", append=True)

    return each(process, options(process, "")[1], work, "cannot touch '{}'")


def mv(process: Process) -> int:
    return _to_target(process, options(process, "f")[1], process.files.rename)


def cp(process: Process) -> int:
    def copy(source: str, target: str) -> None:
        process.files.write(target, process.files.read(source))

    return _to_target(process, options(process, "pf")[1], copy)


def _to_target(process: Process, paths: list[str], work: Callable[[str, str], object]) -> int:
    """Do the work from each path to the last one, or into it when it is a folder."""
    if len(paths) < 2:
        return process.fail("missing file operand")
    *sources, target = paths
    into = process.files.is_folder(process.path(target))
    if len(sources) > 1 and not into:
        return process.fail(f"target '{target}' is not a directory")

    def one(source: str) -> None:
        name = posixpath.basename(source.rstrip("/"))
        process.files.status(process.path(source))
        work(process.path(source), process.path(posixpath.join(target, name) if into else target))

    return each(process, sources, one, "cannot use '{}'")


# ---- the machine


def pwd(process: Process) -> int:
    process.say(process.folder)
    return 0


def hostname(process: Process) -> int:
    process.say(process.machine.hostname)
    return 0


def whoami(process: Process) -> int:
    process.say(process.machine.user)
    return 0


def nproc(process: Process) -> int:
    process.say(str(process.machine.cores))
    return 0


def uname(process: Process) -> int:
    facts = {
        "s": "Linux",
        "n": process.machine.hostname,
        "r": "6.1.0-simulated",
        "m": "x86_64",
    }
    flags, _ = options(process, "asnrm")
    chosen = (
        facts if "a" in flags else {key: facts[key] for key in facts if key in flags or not flags}
    )
    process.say(" ".join(chosen.values() if flags else [facts["s"]]))
    return 0


def df(process: Process) -> int:
    """``df [-k] [PATH]``: one disk holds everything, counted in KiB."""
    options(process, "kP")
    total, free = process.files.capacity // 1024, process.files.free // 1024
    share = f"{-(-(total - free) * 100 // total)}%" if total else "-"
    process.say(
        "Filesystem     1K-blocks     Used Available Use% Mounted on",
        f"/dev/vda1      {total:9} {total - free:8} {free:9} {share:>4} /",
    )
    return 0


def du(process: Process) -> int:
    """``du [-s] [-k] [-b] [PATH]``: KiB, or with ``-b`` bytes."""
    flags, paths = options(process, "skb")

    def work(path: str) -> None:
        absolute = process.path(path)
        node = process.files.status(absolute)
        nodes = (
            [node, *(below for _, below in process.files.walk(absolute))]
            if node.is_folder
            else [node]
        )
        size = sum(node.size if "b" in flags else node.room // 1024 for node in nodes)
        process.say(f"{size}\t{path}")

    return each(process, paths or ["."], work, "cannot access '{}'")


PROGRAMS: Mapping[str, Program] = {
    "sh": sh,
    "[": checked(test),
    **{
        program.__name__: checked(program)
        for program in (
            *(true, false, echo, printf, cat, head, wc, sleep, test, ls, rm, mkdir, rmdir, touch),
            *(mv, cp, pwd, hostname, whoami, nproc, uname, df, du),
        )
    },
}
