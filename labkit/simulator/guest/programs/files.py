"""The guest's programs for files, with busybox's words: cat, ls, find, tar and their like."""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import posixpath
import tarfile
import time
from collections.abc import Iterator

from labkit.simulator.files import FileTree, Node
from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.guest.system import system_of
from labkit.simulator.machine import Process, Steps, Wait

CHUNK = 1 << 16


def cat(process: Process) -> Steps[int]:
    status = 0
    for path in [word for word in process.argv[1:] if word not in ("-n", "-u")] or ["-"]:
        if path == "-":
            while data := (yield from process.read(CHUNK)):
                process.stdout.write(data)
            continue
        while process.path(path) == "/dev/zero":
            process.stdout.write(bytes(CHUNK))
            yield Wait(0.0001)
        try:
            process.stdout.write(content(process, path))
        except BrokenPipeError:
            raise
        except OSError as error:
            status = process.fail(f"can't open '{path}': {os.strerror(error.errno or 0)}")
    return status


def content(process: Process, path: str) -> bytes:
    """A file; what is read of /dev/random is as random as this world."""
    absolute = process.path(path)
    if absolute == "/dev/null":
        return b""
    return process.files.read(absolute)


def ls(process: Process) -> int:
    try:
        options, rest = read(list(process.argv[1:]), "la1AhdnRtrF", "", ("--color=auto",))
    except BadUsage as error:
        return process.fail(str(error))
    status = 0
    for path in rest or ["."]:
        node = process.files.find(process.path(path))
        if node is None:
            status = process.fail(f"{path}: No such file or directory")
            continue
        if len(rest) > 1 and node.is_folder and "d" not in options:
            process.say(f"{path}:")
        entries = _entries(process, path, node, options)
        if "l" in options:
            if node.is_folder and "d" not in options:
                total = sum(one.room // 1024 for _, one in entries if not one.is_folder)
                process.say(f"total {total}")
            process.say(*(_long(name, one) for name, one in entries))
        else:
            process.say(*(name for name, _ in entries))
    return status


def _entries(
    process: Process, path: str, node: Node, options: dict[str, str]
) -> list[tuple[str, Node]]:
    if not node.is_folder or "d" in options:
        return [(path, node)]
    found = [
        (name, one)
        for name, one in sorted(node.entries.items())
        if name[0] != "." or {"a", "A"} & set(options)
    ]
    if "a" in options:
        above = process.files.find(posixpath.dirname(process.path(path))) or node
        found = [(".", node), ("..", above), *found]
    return found


def _long(name: str, node: Node) -> str:
    bits = "".join(
        letter if node.mode >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    kind = "d" if node.is_folder else "-"
    links = 2 if node.is_folder else 1
    when = time.strftime("%b %e %H:%M", time.gmtime(node.modified // 10**9))
    return f"{kind}{bits} {links:4} root     root     {node.size:9} {when} {name}"


def which(process: Process) -> int:
    status = 0
    for name in process.argv[1:]:
        if process.machine.program(name) is not None:
            process.say(name if "/" in name else f"/sbin/{name}")
        else:
            status = 1
    return status


def basename(process: Process) -> int:
    path, *rest = [*process.argv[1:], ""][:2]
    process.say(posixpath.basename(path.rstrip("/")).removesuffix(rest[0]) or "/")
    return 0


def dirname(process: Process) -> int:
    process.say(posixpath.dirname(process.argv[1].rstrip("/")) or ".")
    return 0


def chmod(process: Process) -> int:
    words = [word for word in process.argv[1:] if word != "-R"]
    if len(words) < 2:
        return process.fail("missing operand")
    for path in words[1:]:
        node = process.files.status(process.path(path))
        mode = words[0]
        if mode.isdigit():
            node.mode = int(mode, 8)
        elif mode.endswith("x") and mode[-2:-1] in "+-":
            node.mode = node.mode | 0o111 if "+" in mode else node.mode & ~0o111
        else:
            return process.fail(f"{mode}: this mode is not simulated")
    return 0


def mktemp(process: Process) -> int:
    is_folder = "-d" in process.argv
    path = f"/tmp/tmp.{system_of(process).random.randbytes(3).hex()}"
    if is_folder:
        process.files.make_folder(path)
    else:
        process.files.write(path, b"")
    process.say(path)
    return 0


def find(process: Process) -> int:
    """``find [FOLDER...] [-name PATTERN] [-type f|d]``."""
    words, folders = list(process.argv[1:]), []
    while words and not words[0].startswith("-"):
        folders.append(words.pop(0))
    tests = dict(zip(words[::2], words[1::2], strict=False))
    if set(tests) - {"-name", "-type", "-maxdepth"} or len(words) % 2:
        return process.fail(f"unrecognized: {' '.join(words)} (not simulated)")
    for folder in folders or ["."]:
        absolute = process.path(folder)
        node = process.files.find(absolute)
        if node is None:
            return process.fail(f"{folder}: No such file or directory")
        below = process.files.walk(absolute) if node.is_folder else iter(())
        for path, one in [(absolute, node), *below]:
            shown = folder + path.removeprefix(absolute)
            if _is_found(posixpath.basename(path), one, tests):
                process.say(shown)
    return 0


def _is_found(name: str, node: Node, tests: dict[str, str]) -> bool:
    kind = tests.get("-type")
    if kind and kind != ("d" if node.is_folder else "f"):
        return False
    return "-name" not in tests or fnmatch.fnmatchcase(name, tests["-name"])


def timeout(process: Process) -> int | Steps[int]:
    words = [word for word in process.argv[1:] if word not in ("-t", "-k", "-s")]
    if len(words) < 2:
        return process.fail("missing operand")
    try:
        seconds = float(words[0].rstrip("s"))
    except ValueError:
        return process.fail(f"invalid time interval '{words[0]}'")
    return _timeout(process, seconds, tuple(words[1:]))


def _timeout(process: Process, seconds: float, argv: tuple[str, ...]) -> Steps[int]:
    system = system_of(process)
    steps = process.start(*argv)
    deadline = system.guest.now() + seconds
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            status: int = end.value
            return status
        left = deadline - system.guest.now()
        began = system.guest.now()
        if wait.seconds > left:
            yield Wait(max(left, 0.0), wait.for_input, source=wait.source, signal=wait.signal)
            if system.guest.now() >= deadline - 1e-9 and began + wait.seconds > deadline:
                steps.close()
                process.stderr.write(b"Terminated \n")
                return 143
        else:
            yield wait


def xargs(process: Process) -> Steps[int]:
    words = (yield from process.read_all()).decode("utf-8", "surrogateescape").split()
    argv = process.argv[1:] or ("echo",)
    return (yield from process.start(*argv, *words))


def pidof(process: Process) -> int:
    """``pidof NAME``: the processes of that name."""
    found = [
        one.pid
        for one in process.machine.processes.values()
        if _name(one) in process.argv[1:] and one.pid != process.pid
    ]
    if found:
        process.say(" ".join(map(str, found)))
    return int(not found)


def killall(process: Process) -> int:
    """``killall NAME``."""
    names = [word for word in process.argv[1:] if not word.startswith("-")]
    found = [
        one
        for one in list(process.machine.processes.values())
        if _name(one) in names and one.pid != process.pid
    ]
    for one in found:
        process.machine.kill(one.pid, 15)
    if not found:
        return process.fail(f"{names[0] if names else ''}: no process killed")
    return 0


def _name(process: Process) -> str:
    return posixpath.basename(process.argv[0])


def kill(process: Process) -> int:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    status = 0
    for word in words:
        if not word.isdigit() or not process.machine.kill(int(word), 15):
            status = process.fail(f"can't kill pid {word}: No such process")
    return status


# ---- archives


def tar(process: Process) -> int | Steps[int]:
    """``tar -cf FILE [-C FOLDER] PATH...``, ``tar -xf FILE [-C FOLDER]``, ``tar -tf FILE``."""
    words = list(process.argv[1:])
    if words and not words[0].startswith("-"):
        words[0] = f"-{words[0]}"
    try:
        options, rest = read(words, "cxtvzp", "fC")
    except BadUsage as error:
        return process.fail(str(error))
    folder = process.path(options.get("C", "."))
    file = options.get("f", "-")
    if "c" in options:
        return _pack(process, file, folder, rest)
    return _unpack(process, file, folder, lists="t" in options)


def _pack(process: Process, file: str, folder: str, paths: list[str]) -> int:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in paths:
            for name, node in _below(process.files, posixpath.join(folder, path)):
                info = tarfile.TarInfo(posixpath.normpath(posixpath.join(path, name)))
                info.mode, info.mtime = node.mode, node.modified // 10**9
                info.type = tarfile.DIRTYPE if node.is_folder else tarfile.REGTYPE
                info.size = 0 if node.data is None else len(node.data)
                archive.addfile(info, io.BytesIO(node.data or b""))
    if file == "-":
        process.stdout.write(made.getvalue())
    else:
        process.files.write(process.path(file), made.getvalue())
    return 0


def _below(files: FileTree, path: str) -> Iterator[tuple[str, Node]]:
    start = files.absolute(path)
    node = files.status(start)
    yield "", node
    if node.is_folder:
        for below, one in files.walk(start):
            yield below.removeprefix(start).lstrip("/"), one


def _unpack(process: Process, file: str, folder: str, *, lists: bool) -> Steps[int]:
    data = (
        (yield from process.read_all()) if file == "-" else process.files.read(process.path(file))
    )
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for info in archive:
                if lists:
                    process.say(info.name)
                else:
                    _extract(process.files, archive, info, folder)
    except tarfile.TarError:
        return process.fail("invalid tar magic")
    return 0


def _extract(files: FileTree, archive: tarfile.TarFile, info: tarfile.TarInfo, folder: str) -> None:
    path = files.absolute(info.name.lstrip("/"), folder)
    if info.isdir():
        files.make_folder(path, parents=True)
    elif info.isfile():
        files.make_folder(posixpath.dirname(path), parents=True)
        source = archive.extractfile(info)
        assert source is not None
        files.write(path, source.read())
    else:
        raise OSError(errno.EPERM, "links are not simulated", info.name)
    files.change_mode(path, info.mode)
