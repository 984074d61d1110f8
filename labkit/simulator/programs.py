"""The everyday programs of a simulated machine, as far as labkit and students use them."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Mapping

from labkit.simulator.command_line import checked, each, options
from labkit.simulator.conditions import test
from labkit.simulator.files import Node
from labkit.simulator.machine import Process, Program
from labkit.simulator.shell import sh
from labkit.simulator.text_programs import cat, echo, false, head, printf, sleep, true, wc

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
