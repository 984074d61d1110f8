"""Finds or starts the steward of a slice on this host: ``start KEY BUILD VERSION``.

Standard input is the steward's zip file, or empty to only look. The run folder is
``$LABKIT_RUN_DIR/KEY`` or ``/tmp/labkit-UID/KEY``: one place per user, whatever session asks
(``$XDG_RUNTIME_DIR`` differs between sessions, and is emptied when the last one ends). Answers
one line of JSON: ``{"ok": true, "state": "running", "started": BOOL, "steward": {...}}`` with the
steward's facts, ``{"ok": true, "state": "absent", "folder": F}`` or
``{"ok": false, "problem": {"code": CODE, ...}}`` with one of

- ``path-too-long`` (``path``, ``length``, ``limit``), ``folder-unsafe`` (``folder``, ``reason``),
  ``not-writable`` (``folder``, ``reason``): before anything is done
- ``start-busy`` (``seconds``): somebody else is starting it and does not get there
- ``start-failed`` (``status``, ``log``)
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from typing import Optional

from labkit.remote.shared import Facts, Problem, run_base, run_folder, why_unsafe

START_SECONDS = 20.0
PAUSE = 0.02
LOG_TAIL = 2000
GIVE_BACK = "MALLOC_TRIM_THRESHOLD_"  # of glibc's mallopt(3); unset, it grows with what is freed
GIVE_BACK_BYTES = 128 * 1024
UNCHECKED = b"\x01\0\0\0" + bytes(8)  # PEP 552: bytecode that is not compared with its source


def make_private(folder: str) -> None:
    """A folder that nobody else can enter; never one that somebody else has put there."""
    try:
        os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
        os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as error:
        raise Problem("not-writable", folder=folder, reason=error.strerror) from error
    for one in (os.path.dirname(folder), folder):
        reason = why_unsafe(one, private=one == folder)
        if reason:
            raise Problem("folder-unsafe", folder=one, reason=reason)


def locked(path: str, seconds: float) -> Optional[int]:
    """Hold a lock file; None when somebody else held it for that long."""
    deadline = time.monotonic() + seconds
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(lock)):
                return lock
        except FileNotFoundError:
            pass  # it was removed with its slice: make a new one
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() >= deadline:
                os.close(lock)
                return None
        os.close(lock)
        time.sleep(PAUSE)


def living(folder: str) -> Optional[Facts]:
    """The facts of the steward that holds the lock, or None."""
    deadline = time.monotonic() + START_SECONDS
    while os.path.exists(os.path.join(folder, "lock")):
        lock = locked(os.path.join(folder, "lock"), 0)
        if lock is not None:
            os.close(lock)
            return None
        try:
            with open(os.path.join(folder, "steward.json"), "rb") as file:
                facts: Facts = json.loads(file.read().decode())
            return facts
        except FileNotFoundError:
            pass  # it begins, and its starter was killed; or it is just ending
        if time.monotonic() > deadline:
            raise Problem("start-busy", seconds=START_SECONDS)
        time.sleep(PAUSE)
    return None


def with_bytecode(program: bytes, path: str) -> bytes:
    """The zip, to lie at `path`, with the bytecode of this Python beside each source.

    A process that compiles its own sources keeps 1.5 MB of memory from it for as long as it lives.
    """
    import io  # noqa: PLC0415 - these are slow to import, and looking needs none of them
    import marshal  # noqa: PLC0415
    import zipfile  # noqa: PLC0415
    from importlib.util import MAGIC_NUMBER  # noqa: PLC0415

    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as plain, zipfile.ZipFile(packed, "w") as archive:
        for entry in plain.infolist():
            source = plain.read(entry)
            code = compile(source, os.path.join(path, entry.filename), "exec", dont_inherit=True)
            archive.writestr(entry, source)
            compiled = zipfile.ZipInfo(entry.filename + "c")  # dated 1980
            archive.writestr(compiled, MAGIC_NUMBER + UNCHECKED + marshal.dumps(code))
    return packed.getvalue()


def start(folder: str, program: bytes, build: str, version: str) -> Facts:
    """Start it apart from us: its own session, nothing of ours open, its output in its log."""
    path = os.path.join(folder, "steward.pyz")
    with open(path + ".part", "wb") as file:
        file.write(with_bytecode(program, path))
    os.replace(path + ".part", path)
    ready, announced = os.pipe()
    log = os.open(
        os.path.join(folder, "steward.log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600
    )
    begins = os.fstat(log).st_size
    process = subprocess.Popen(
        (sys.executable, "-IS", path, folder, str(announced), build, version),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(announced,),
        start_new_session=True,
        env={**os.environ, GIVE_BACK: str(GIVE_BACK_BYTES)},
    )
    os.close(announced)
    os.close(log)
    said, deadline = b"", time.monotonic() + START_SECONDS
    while not said.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        data = os.read(ready, 65536) if select.select((ready,), (), (), left)[0] else b""
        if not data:
            process.kill()
            with open(os.path.join(folder, "steward.log"), "rb") as file:
                file.seek(begins)
                tail = file.read()[-LOG_TAIL:].decode("utf-8", "replace")
            raise Problem("start-failed", status=process.wait(), log=tail)
        said += data
    facts: Facts = json.loads(said.decode())
    return facts


def look(folder: str, program: bytes, build: str, version: str) -> Facts:
    if not program:
        facts = living(folder)
        if facts is None:
            return {"ok": True, "state": "absent", "folder": folder}
        return {"ok": True, "state": "running", "started": False, "steward": facts}
    make_private(folder)
    if locked(os.path.join(folder, "start.lock"), START_SECONDS) is None:
        raise Problem("start-busy", seconds=START_SECONDS)
    facts = living(folder)
    started = facts is None
    if facts is None:
        facts = start(folder, program, build, version)
    return {"ok": True, "state": "running", "started": started, "steward": facts}


def main(key: str, build: str, version: str) -> int:
    os.umask(0o077)
    try:
        answer = look(run_folder(key), sys.stdin.buffer.read(), build, version)
    except Problem as problem:
        answer = {"ok": False, "problem": problem.facts}
    except OSError as error:
        folder, reason = os.path.join(run_base(), key), error.strerror or str(error)
        unwritable = Problem("not-writable", folder=folder, reason=reason)
        answer = {"ok": False, "problem": unwritable.facts}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
