"""The simulated ``qemu-img``: create, info and check, on real QCOW2 bytes."""

from __future__ import annotations

import io
import json
import math
import posixpath
import re

from labkit.programs.qcow2 import Header, read_header
from labkit.simulator import qcow2_files
from labkit.simulator.machine import Process

VERSION = "7.2.22"
SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkKMGTP]?)")
FACTORS = {"": 1, "b": 1, "k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
SECTOR = 512  # a disk has whole ones
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
WITH_VALUE = {"-f", "-b", "-F", "-o"}
FLAGS = {"-q", "-U", "-u"}


class _Refused(Exception):
    """The command cannot be done; qemu-img says so and ends with status 1."""


def qemu_img(process: Process) -> int:
    """``qemu-img --version | create | info | check``."""
    words = list(process.argv[1:])
    if words[:1] in (["--version"], ["-V"]):
        process.say(f"qemu-img version {VERSION} (simulated)")
        return 0
    verbs = {"create": _create, "info": _info, "check": _check}
    if not words or words[0] not in verbs:
        return process.fail(f"'{' '.join(words[:1])}' is not simulated: use {', '.join(verbs)}")
    try:
        given, operands = _arguments(words[1:])
        return verbs[words[0]](process, given, operands)
    except _Refused as error:
        return process.fail(str(error))
    except OSError as error:
        return process.fail(f"Could not open '{operands[0]}': {error.strerror}")


def _arguments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    operands: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if name == "--output":
            given[name] = value or next(rest, "")
        elif word in FLAGS:
            given[word] = ""
        elif word in WITH_VALUE:
            given[word] = next(rest, "")
        elif word == "--":
            operands += rest
        elif word.startswith("-"):
            raise _Refused(f"the option '{word}' is not simulated")
        else:
            operands.append(word)
    if not operands:
        raise _Refused("Expecting image file name")
    if given.get("--output", "human") not in ("human", "json"):
        raise _Refused("--output must be used with human or json as argument.")
    return given, operands


def _create(process: Process, given: dict[str, str], operands: list[str]) -> int:
    file = operands[0]
    if given.get("-f", "raw") not in ("qcow2", "raw"):
        raise _Refused(f"Unknown file format '{given['-f']}'")
    if "-o" in given:
        raise _Refused("the option '-o' is not simulated")
    size = _size(operands[1]) if len(operands) > 1 else None
    backing = given.get("-b")
    if backing is not None:
        if "-F" not in given:
            raise _Refused(f"{file}: Backing file specified without backing format")
        base = _backing_size(process, file, backing, given["-F"])
        size = base if size is None else size
    if size is None:
        raise _Refused("Image creation needs a size parameter")
    if given.get("-f", "raw") == "raw":
        raise _Refused("raw images are not simulated: use -f qcow2")
    data = qcow2_files.make(-(-size // SECTOR) * SECTOR, backing, given.get("-F"))
    try:
        process.files.write(process.path(file), data)
    except OSError as error:
        raise _Refused(f"{file}: Could not create '{file}': {error.strerror}") from error
    if "-q" not in given:
        process.say(_formatting(file, size, backing, given.get("-F")))
    return 0


def _backing_size(process: Process, file: str, backing: str, backing_format: str) -> int:
    path = process.path(posixpath.join(posixpath.dirname(file), backing))
    try:
        data = process.files.read(path)
        if backing_format == "raw":
            return len(data)
        if backing_format != "qcow2":
            raise _Refused(f"{file}: Unknown driver '{backing_format}'")
        return read_header(io.BytesIO(data)).size
    except OSError as error:
        said = f"Could not open '{path}': {error.strerror}"
    except ValueError:
        said = "Image is not in qcow2 format"
    raise _Refused(f"{file}: {said}\nCould not open backing image.")


def _formatting(file: str, size: int, backing: str | None, backing_format: str | None) -> str:
    base = f" backing_file={backing} backing_fmt={backing_format}" if backing else ""
    return (
        f"Formatting '{file}', fmt=qcow2 cluster_size=65536 extended_l2=off "
        f"compression_type=zlib size={size}{base} lazy_refcounts=off refcount_bits=16"
    )


def _size(text: str) -> int:
    found = SIZE.fullmatch(text)
    if not found:
        raise _Refused(f"Invalid image size specified! '{text}'")
    return math.ceil(float(found[1]) * FACTORS[found[2]])


def _info(process: Process, given: dict[str, str], operands: list[str]) -> int:
    file = operands[0]
    data = process.files.read(process.path(file))
    facts: dict[str, object] = {
        "virtual-size": len(data),
        "filename": file,
        "format": "raw",
        "actual-size": len(data),
        "dirty-flag": False,
    }
    if data[:4] == b"QFI\xfb":
        header = _header(file, data)
        facts |= {"virtual-size": header.size, "format": "qcow2", "cluster-size": 65536}
        if header.backing_file is not None:
            whole = posixpath.join(posixpath.dirname(file), header.backing_file)
            facts |= {"backing-filename": header.backing_file, "full-backing-filename": whole}
            facts |= {"backing-filename-format": header.backing_format}
    if given.get("--output") == "json":
        process.say(json.dumps(facts, indent=4))
        return 0
    process.say(*_described(facts))
    return 0


def _described(facts: dict[str, object]) -> list[str]:
    size, room = facts["virtual-size"], facts["actual-size"]
    assert isinstance(size, int)
    assert isinstance(room, int)
    lines = [
        f"image: {facts['filename']}",
        f"file format: {facts['format']}",
        f"virtual size: {_human(size)} ({size} bytes)",
        f"disk size: {_human(room)}",
    ]
    if "cluster-size" in facts:
        lines.append(f"cluster_size: {facts['cluster-size']}")
    if "backing-filename" in facts:
        lines.append(f"backing file: {facts['backing-filename']}")
        lines.append(f"backing file format: {facts['backing-filename-format']}")
    return lines


def _human(size: int) -> str:
    """Three significant digits and a unit, as qemu-img shows sizes."""
    power = min(len(UNITS) - 1, max(0, (size.bit_length() - 1) // 10))
    return f"{size / 1024**power:.3g} {UNITS[power]}"


def _check(process: Process, given: dict[str, str], operands: list[str]) -> int:
    file = operands[0]
    data = process.files.read(process.path(file))
    if data[:4] != b"QFI\xfb":
        return process.fail("This image format does not support checks", 63)
    _header(file, data)
    broken = qcow2_files.end(data) > len(data)
    if given.get("--output") == "json":
        facts = {"filename": file, "format": "qcow2", "check-errors": 0}
        process.say(json.dumps(facts | ({"corruptions": 1} if broken else {}), indent=4))
    else:
        process.say(
            "1 errors were found on the image." if broken else "No errors were found on the image."
        )
    return 2 if broken else 0


def _header(file: str, data: bytes) -> Header:
    try:
        return read_header(io.BytesIO(data))
    except ValueError as error:
        raise _Refused(f"Could not open '{file}': {error}") from error
