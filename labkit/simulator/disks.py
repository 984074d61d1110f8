"""The simulated ``overlays`` program: the answers of labkit.remote.overlays on files in memory.

What needs no operating system (judging a QCOW2 file, the rules for names, the problems) is the real
program's own code; what does need one is done here, in the same order.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import posixpath
from collections.abc import Callable
from datetime import UTC, datetime

from labkit.programs.qcow2 import NotUsable, check_base, read_header
from labkit.remote.overlays import ATTRIBUTE, LOCK, OVERLAY_MODE, PLAIN_NAME, SUFFIX, TEMPORARY
from labkit.remote.shared import Facts, Problem
from labkit.simulator.files import FileTree, Node
from labkit.simulator.machine import Buffer, Process, Steps, Wait, at_once

PYTHON = "3.11.2"
OVERLAY_SECONDS = 0.0005  # what writing one overlay takes


def overlays_program(process: Process) -> Steps[int]:
    """``python3 -IS -c OVERLAYS``: one JSON object in, one out."""
    data = yield from process.read_all()
    try:
        request = json.loads(data)
        folder = expanded(process.files, request["base_dir"])
        verb = {"create": _create, "delete": _delete, "look": _look}[request["verb"]]
        answer = yield from at_once(_answer(process, folder, verb, request))
    except (ValueError, KeyError, TypeError) as error:
        return process.fail(f"{type(error).__name__}: {error}")
    process.say(json.dumps(answer))
    return 0


def expanded(files: FileTree, path: str) -> str:
    """The path with ``~`` and the user's own ``~name`` made the home folder."""
    first, slash, rest = path.partition("/")
    return files.home + slash + rest if first in ("~", f"~{files.user}") else path


def record_path(path: str) -> str:
    """Where the sha256 of a base image is written down."""
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.sha256")


def recorded_sha256(files: FileTree, path: str, node: Node) -> str | None:
    """The sha256 that is written down, if that is about this very file."""
    try:
        sha256, size, modified = json.loads(files.read(record_path(path)))
    except (OSError, ValueError, TypeError):
        return None
    return str(sha256) if (size, modified) == (node.size, node.modified) else None


def record_sha256(files: FileTree, path: str, temporary: str) -> str:
    """Hash the content and write its sha256 down for the next time."""
    node = files.status(path)
    sha256 = hashlib.sha256(node.data or b"").hexdigest()
    if recorded_sha256(files, path, node) != sha256:
        files.write(temporary, json.dumps([sha256, node.size, node.modified]).encode())
        files.rename(temporary, record_path(path))
    return sha256


def problem_of(files: FileTree, error: OSError, folder: str) -> Problem:
    """An error of the operating system as a problem of the folder the program works in."""
    if error.errno == errno.ENOSPC:
        return Problem("disk-full", dir=folder, free=files.free)
    return Problem("not-writable", dir=folder, reason=str(error))


Verb = Callable[[Process, str, Facts], Steps[Facts]]


def _answer(process: Process, folder: str, verb: Verb, request: Facts) -> Steps[Facts]:
    try:
        return (yield from verb(process, folder, request))
    except Problem as problem:
        return {"ok": False, "problem": problem.facts}
    except OSError as error:
        return {"ok": False, "problem": problem_of(process.files, error, folder).facts}


# ---- create


def _create(process: Process, folder: str, request: Facts) -> Steps[Facts]:
    if not process.machine.has("qemu-img"):
        raise Problem("qemu-img-missing")
    for name in (*request["bases"], *(item["file"] for item in request["overlays"])):
        if not PLAIN_NAME.fullmatch(name):
            raise Problem("outside", path=name, base_dir=folder)
    for name in request["bases"]:
        if process.files.find(posixpath.join(folder, name)) is None:
            raise Problem("base-missing", file=name)
    lock = posixpath.join(folder, LOCK)
    process.files.write(lock, b"")
    try:
        _sweep(process.files, folder)
        sizes = {
            name: _base_size(process.files, folder, name, wanted)
            for name, wanted in request["bases"].items()
        }
        wanted = [
            _Wanted(process.files, folder, item, sizes[item["base"]])
            for item in request["overlays"]
        ]
        yield from _make_all(process, folder, wanted)
    finally:
        process.files.remove(lock)
    return {"ok": True, "overlays": [overlay.answer() for overlay in wanted]}


class _Wanted:
    """One overlay of a request, on its way from checked to made."""

    def __init__(self, files: FileTree, folder: str, item: Facts, base_size: int) -> None:
        self.file, self.base, self.mark = item["file"], item["base"], item["mark"]
        self.path = posixpath.join(folder, self.file)
        self.size = base_size if item["size"] is None else int(item["size"])
        if self.size < base_size:
            raise Problem("disk-too-small", file=self.file, size=self.size, base_size=base_size)
        self.adopted = self.marked = files.find(self.path) is not None
        if self.adopted and not self._is_ours(_describe(files, folder, self.file)):
            raise _overlay_exists(files, folder, self.file)

    def _is_ours(self, found: Facts) -> bool:
        token = self.mark.get("token")
        same_token = token and (found["mark"] or {}).get("token") == token
        return bool(same_token) and (found["base"], found["size"]) == (self.base, self.size)

    def answer(self) -> Facts:
        return {
            "file": self.file,
            "size": self.size,
            "adopted": self.adopted,
            "marked": self.marked,
        }


def _make_all(process: Process, folder: str, overlays: list[_Wanted]) -> Steps[None]:
    """All of the new ones or none; nobody sees what is between, for it happens at once."""
    templates: dict[tuple[str, int], bytes] = {}
    made: list[str] = []
    try:
        for overlay in overlays:
            if overlay.adopted:
                continue
            key = (overlay.base, overlay.size)
            if key not in templates:
                templates[key] = yield from _template(process, folder, *key)
            overlay.marked = _write_overlay(process.files, folder, overlay, templates[key], made)
            yield Wait(OVERLAY_SECONDS)
    except BaseException:
        for path in made:
            process.files.remove(path)
        raise
    finally:
        _sweep(process.files, folder)


def _template(process: Process, folder: str, base: str, size: int) -> Steps[bytes]:
    name = TEMPORARY + "template"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", name, str(size)]
    said = Buffer()
    nothing = Buffer(ended=True)
    status = yield from process.start(*argv, stdin=nothing, stdout=said, stderr=said, folder=folder)
    if status:
        text = said.take(-1).decode(errors="replace").strip()
        if os.strerror(errno.ENOSPC) in text:
            raise Problem("disk-full", dir=folder, free=process.files.free)
        raise Problem("qemu-img-failed", argv=argv, status=status, stderr=text[-2000:])
    path = posixpath.join(folder, name)
    content = process.files.read(path)
    process.files.remove(path)
    return content


def _write_overlay(
    files: FileTree, folder: str, overlay: _Wanted, content: bytes, made: list[str]
) -> bool:
    """A new overlay with its mark; whether the file system keeps marks."""
    try:
        files.write(overlay.path, content, exclusive=True)
    except FileExistsError:  # asked for twice in one request
        raise _overlay_exists(files, folder, overlay.file) from None
    made.append(overlay.path)
    files.change_mode(overlay.path, OVERLAY_MODE)
    try:
        files.set_attribute(overlay.path, ATTRIBUTE, json.dumps(overlay.mark).encode())
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return True


def _sweep(files: FileTree, folder: str) -> None:
    for name in files.names(folder):
        if name.startswith(TEMPORARY):
            files.remove(posixpath.join(folder, name))


def _base_size(files: FileTree, folder: str, name: str, wanted: str | None) -> int:
    path = posixpath.join(folder, name)
    try:
        content, node = files.read(path), files.status(path)
        header = check_base(io.BytesIO(content), node.size)
        here = wanted and (
            recorded_sha256(files, path, node)
            or record_sha256(files, path, posixpath.join(folder, TEMPORARY + "sha256"))
        )
    except FileNotFoundError:
        raise Problem("base-missing", file=name) from None
    except IsADirectoryError:
        raise Problem("base-invalid", file=name, reason="it is a folder") from None
    except NotUsable as error:
        raise Problem("base-invalid", file=name, reason=str(error)) from None
    if here != wanted:
        raise Problem("base-differs", file=name, here=here, wanted=wanted)
    return int(header.size)


# ---- delete and look


def _delete(process: Process, folder: str, request: Facts) -> Steps[Facts]:
    files, inside = process.files, process.path(folder)
    found: dict[str, str] = {}
    for path in request["paths"]:
        parent, name = posixpath.split(expanded(files, path))
        overlay = PLAIN_NAME.fullmatch(name) and name.endswith(SUFFIX)
        if not overlay or not posixpath.isabs(parent) or files.absolute(parent) != inside:
            raise Problem("outside", path=path, base_dir=folder)
        found[path] = posixpath.join(inside, name)
        if files.is_folder(found[path]):
            reason = "it is a folder, not a disk"
            raise Problem("not-writable", dir=found[path], reason=reason)
    removed, absent = [], []
    for path, file in found.items():
        try:
            files.remove(file)
            removed.append(path)
        except FileNotFoundError:
            absent.append(path)
    yield Wait(0)
    return {"ok": True, "removed": removed, "absent": absent}


def _look(process: Process, folder: str, request: Facts) -> Steps[Facts]:
    del request
    files = process.files
    entries = files.status(folder).entries if files.is_folder(folder) else {}
    regular = sorted(
        name for name, node in entries.items() if not name.startswith(".") and not node.is_folder
    )
    version = yield from _qemu_img_version(process)
    return {
        "ok": True,
        "home": files.home,
        "base_dir": process.path(folder),
        "free": files.free,
        "total": files.capacity,
        "cores": process.machine.cores,
        "ram": process.machine.ram,
        "python": PYTHON,
        "qemu_img": version,
        "bases": [
            {"file": name, "bytes": entries[name].size}
            for name in regular
            if not name.endswith(SUFFIX)
        ],
        "overlays": [_describe(files, folder, name) for name in regular if name.endswith(SUFFIX)],
    }


def _qemu_img_version(process: Process) -> Steps[str | None]:
    if not process.machine.has("qemu-img"):
        return None
    said = Buffer()
    yield from process.start("qemu-img", "--version", stdout=said, stderr=Buffer())
    words = said.take(-1).decode().split()
    return words[words.index("version") + 1] if "version" in words else ""


def _describe(files: FileTree, folder: str, name: str) -> Facts:
    path = posixpath.join(folder, name)
    facts: Facts = {"file": name, "bytes": 0, "base": None, "size": None, "mark": None}
    node = files.status(path)
    facts["bytes"] = node.size
    with contextlib.suppress(OSError, ValueError):
        header = read_header(io.BytesIO(files.read(path)))
        facts["base"], facts["size"] = header.backing_file, header.size
    with contextlib.suppress(ValueError):
        mark = json.loads(node.attributes.get(ATTRIBUTE, b""))
        facts["mark"] = mark if isinstance(mark, dict) else None
    return facts


def _overlay_exists(files: FileTree, folder: str, name: str) -> Problem:
    facts = _describe(files, folder, name)
    node = files.status(posixpath.join(folder, name))
    modified = datetime.fromtimestamp(node.modified // 10**9, UTC).isoformat(timespec="seconds")
    known = {key: facts[key] for key in ("file", "mark", "base")}
    return Problem("overlay-exists", user=node.owner, modified=modified, **known)
