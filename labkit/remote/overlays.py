"""Makes, deletes and lists the VM disks in one folder of a worker, as labkit.remote lays down."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import time
from datetime import datetime, timezone
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Tuple, Union

from labkit.programs.qcow2 import NotUsable, check_base, read_header
from labkit.remote.shared import (
    MIB,
    Facts,
    Problem,
    end_orderly_on_signals,
    free_bytes,
    held,
    ignore_signals,
    nearest,
    problem_of,
    record_sha256,
    recorded_sha256,
    try_lock,
)

SUFFIX = "_img.qcow2"
PLAIN_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]*")
ATTRIBUTE = "user.labkit"
TEMPORARY = ".labkit-"  # what begins so is removed by whoever holds the lock
LOCK = ".labkit.lock"
LOCK_SECONDS = 60.0
OVERLAY_MODE = 0o600  # a disk may hold keys: only the user who runs the VMs reads it
PAGE = 4096


# --- the verbs ---------------------------------------------------------------------------------


def create(folder: str, request: Facts) -> Facts:
    """All of the overlays, or none."""
    if shutil.which("qemu-img") is None:
        raise Problem("qemu-img-missing")
    for name in (*request["bases"], *(item["file"] for item in request["overlays"])):
        if not PLAIN_NAME.fullmatch(name):
            raise Problem("outside", path=name, base_dir=folder)
    for name in request["bases"]:  # before the lock, so that this refusal writes nothing
        if not os.path.exists(os.path.join(folder, name)):
            raise Problem("base-missing", file=name)
    with locked(folder):
        sweep(folder)
        sizes = {name: base_size(folder, name, sha) for name, sha in request["bases"].items()}
        wanted = [Wanted(folder, item, sizes[item["base"]]) for item in request["overlays"]]
        make_all(folder, wanted)
    return {"ok": True, "overlays": [overlay.answer() for overlay in wanted]}


def delete(folder: str, request: Facts) -> Facts:
    """Remove overlays of this folder and nothing else; all are checked before any is removed."""
    inside = os.path.realpath(folder)
    files = {}
    for path in request["paths"]:
        parent, name = os.path.split(os.path.expanduser(path))
        overlay = PLAIN_NAME.fullmatch(name) and name.endswith(SUFFIX)
        if not overlay or os.path.realpath(parent) != inside:
            raise Problem("outside", path=path, base_dir=folder)
        files[path] = os.path.join(inside, name)
        if os.path.isdir(files[path]) and not os.path.islink(files[path]):
            raise Problem("not-writable", dir=files[path], reason="it is a folder, not a disk")
    removed, absent = [], []
    for path, file in files.items():
        try:
            os.unlink(file)
            removed.append(path)
        except FileNotFoundError:
            absent.append(path)
    return {"ok": True, "removed": removed, "absent": absent}


def look(folder: str, request: Facts) -> Facts:
    """What the worker is and what the folder holds."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    files = [
        name for name in names if name[0] != "." and os.path.isfile(os.path.join(folder, name))
    ]
    space = os.statvfs(nearest(folder))
    return {
        "ok": True,
        "home": os.path.expanduser("~"),
        "base_dir": os.path.abspath(folder),
        "free": free_bytes(folder),
        "total": space.f_blocks * space.f_frsize,
        "cores": os.cpu_count(),
        "ram": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "qemu_img": qemu_img_version(),
        "bases": [
            {"file": name, "bytes": os.path.getsize(os.path.join(folder, name))}
            for name in files
            if not name.endswith(SUFFIX)
        ],
        "overlays": [describe(folder, name) for name in files if name.endswith(SUFFIX)],
    }


VERBS = {"create": create, "delete": delete, "look": look}


# --- making overlays ---------------------------------------------------------------------------


class Wanted:
    """One overlay of a request, on its way from checked to made."""

    def __init__(self, folder: str, item: Facts, base_size: int) -> None:
        self.file, self.base, self.mark = item["file"], item["base"], item["mark"]
        self.path = os.path.join(folder, self.file)
        self.size = base_size if item["size"] is None else int(item["size"])
        self.temporary = ""
        if self.size < base_size:
            raise Problem("disk-too-small", file=self.file, size=self.size, base_size=base_size)
        self.adopted = self.marked = os.path.lexists(self.path)
        if self.adopted and not self.is_ours(describe(folder, self.file)):
            raise overlay_exists(folder, self.file)

    def is_ours(self, found: Facts) -> bool:
        """Whether this very request made what is there, before its answer was lost."""
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


class Template(NamedTuple):
    """An overlay's bytes: its length and the pages that are not zero."""

    length: int
    pages: List[Tuple[int, bytes]]


def make_all(folder: str, overlays: List[Wanted]) -> None:
    """Write each under a temporary name, then give all of them their names: all or none."""
    templates: Dict[Tuple[str, int], Template] = {}
    new = [overlay for overlay in overlays if not overlay.adopted]
    placed: List[str] = []
    try:
        for number, overlay in enumerate(new):
            key = (overlay.base, overlay.size)
            if key not in templates:
                templates[key] = make_template(folder, *key)
            overlay.temporary = os.path.join(folder, "%s%d" % (TEMPORARY, number))
            overlay.marked = write_overlay(overlay.temporary, templates[key], overlay.mark)
        for overlay in new:
            try:  # unlike a rename, a link never replaces what is there
                os.link(overlay.temporary, overlay.path)
            except FileExistsError:
                raise overlay_exists(folder, overlay.file) from None
            placed.append(overlay.path)
    except BaseException:
        ignore_signals()
        for path in placed:
            os.unlink(path)
        raise
    finally:
        sweep(folder)


def make_template(folder: str, base: str, size: int) -> Template:
    """What qemu-img makes for this base and size: two such overlays are the same byte for byte."""
    name = TEMPORARY + "template"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", name, str(size)]
    made = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, LC_ALL="C"),
    )
    if made.returncode:
        said = made.stdout.decode(errors="replace").strip()
        if os.strerror(errno.ENOSPC) in said:
            raise Problem("disk-full", dir=folder, free=free_bytes(folder))
        raise Problem("qemu-img-failed", argv=argv, status=made.returncode, stderr=said[-2000:])
    with open(os.path.join(folder, name), "rb") as file:
        content = file.read()
    pages = ((at, content[at : at + PAGE]) for at in range(0, len(content), PAGE))
    return Template(len(content), [(at, page) for at, page in pages if page.strip(b"\0")])


def write_overlay(path: str, template: Template, mark: Facts) -> bool:
    """A sparse copy of the template with its mark; whether the file system keeps marks."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OVERLAY_MODE), "wb") as file:
        file.truncate(template.length)
        for offset, page in template.pages:
            file.seek(offset)
            file.write(page)
        file.flush()
        try:
            os.setxattr(file.fileno(), ATTRIBUTE, json.dumps(mark).encode())
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            return False
    return True


def sweep(folder: str) -> None:
    """Remove temporary files; the caller holds the lock, so they are nobody else's."""
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY):
            os.unlink(os.path.join(folder, name))


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Be the only one who makes overlays in the folder."""
    path = os.path.join(folder, LOCK)
    deadline = time.monotonic() + LOCK_SECONDS
    lock = try_lock(path)
    while lock is None:
        if time.monotonic() > deadline:
            reason = "another request has been working there for %d s" % LOCK_SECONDS
            raise Problem("not-writable", dir=folder, reason=reason)
        time.sleep(0.02)
        lock = try_lock(path)
    with held(lock, path):
        yield


# --- what is there -----------------------------------------------------------------------------


def describe(folder: str, name: str) -> Facts:
    """An overlay as `look` tells it; what cannot be read is None."""
    path = os.path.join(folder, name)
    facts: Facts = {"file": name, "bytes": 0, "base": None, "size": None, "mark": None}
    with contextlib.suppress(OSError, ValueError):
        facts["bytes"] = os.path.getsize(path)
        with open(path, "rb") as file:
            header = read_header(file)
        facts["base"], facts["size"] = header.backing_file, header.size
    with contextlib.suppress(OSError, ValueError):
        mark = json.loads(os.getxattr(path, ATTRIBUTE))
        facts["mark"] = mark if isinstance(mark, dict) else None
    return facts


def overlay_exists(folder: str, name: str) -> Problem:
    """Whose the overlay is, as far as can be known."""
    facts = describe(folder, name)
    status = os.lstat(os.path.join(folder, name))
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    modified = datetime.fromtimestamp(status.st_mtime, timezone.utc).isoformat(timespec="seconds")
    known = {key: facts[key] for key in ("file", "mark", "base")}
    return Problem("overlay-exists", user=user, modified=modified, **known)


def base_size(folder: str, name: str, wanted: Union[str, None]) -> int:
    """The base's virtual size, once it is sure to be a whole qcow2 image of the wanted content."""
    path = os.path.join(folder, name)
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NotUsable("it is not a regular file")
            header = check_base(file, status.st_size)
            here = wanted and (recorded_sha256(path, status) or hash_base(folder, path, file))
    except FileNotFoundError:
        raise Problem("base-missing", file=name) from None
    except IsADirectoryError:
        raise Problem("base-invalid", file=name, reason="it is a folder") from None
    except NotUsable as error:
        raise Problem("base-invalid", file=name, reason=str(error)) from None
    if here != wanted:
        raise Problem("base-differs", file=name, here=here, wanted=wanted)
    return int(header.size)


def hash_base(folder: str, path: str, file: BinaryIO) -> str:
    """Hash the content once and write it down for the next time."""
    digest = hashlib.sha256()
    file.seek(0)
    for piece in iter(lambda: file.read(MIB), b""):
        digest.update(piece)
    record_sha256(path, digest.hexdigest(), os.path.join(folder, TEMPORARY + "sha256"))
    return digest.hexdigest()


def qemu_img_version() -> Union[str, None]:
    """The version that qemu-img tells, or None when it is not there."""
    try:
        told = subprocess.run(
            ["qemu-img", "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
    except OSError:
        return None
    found = re.search(r"version (\S+)", told.stdout.decode(errors="replace"))
    return found.group(1) if found else None


# --- the program -------------------------------------------------------------------------------


def answer_to(request: Facts) -> Any:
    folder = os.path.expanduser(request["base_dir"])
    try:
        return VERBS[request["verb"]](folder, request)
    except Problem as problem:
        return {"ok": False, "problem": problem.facts}
    except OSError as error:
        return {"ok": False, "problem": problem_of(error, folder).facts}


def main() -> None:
    end_orderly_on_signals()
    print(json.dumps(answer_to(json.load(sys.stdin))), flush=True)


if __name__ == "__main__":
    main()
