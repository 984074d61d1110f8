"""Looks for what is wrong with labkit's place on this host: ``health``.

Standard input is ``{"end": [UUID, ...]}``: machines without a folder that are to be ended first.
Answers one line of JSON::

    {"ok": true, "run_dir": D, "problem": {"code": CODE, ...} or null, "ages": {KEY: SECONDS},
     "strays": [{"pid": PID, "kind": "steward" or "machine", "folder": F, "uuid": UUID or null}]}

``problem`` is what would keep a slice from being started there, as ``start`` tells it. ``ages``
are those of the run folders. ``strays`` are processes of this user whose run folder was removed
under them; they are known by the folder they were started in, and a machine by its uuid.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, Dict, Iterator, List, Optional

from labkit.remote.shared import (
    MACHINE_FOLDER,
    RUN_KEY,
    Facts,
    Problem,
    nearest,
    run_base,
    run_folder,
    why_unsafe,
)

ANY_KEY = "0" * 8
DELETED = " (deleted)"
END_SECONDS = 10.0
PAUSE = 0.05


def problem() -> Optional[Facts]:
    """Why no slice could be started here."""
    base = run_base()
    try:
        run_folder(ANY_KEY)
        if not os.path.lexists(base):
            if not os.access(nearest(base), os.W_OK):
                raise Problem(
                    "not-writable", folder=base, reason="its folder may not be written to"
                )
            return None
        reason = why_unsafe(base, private=False)
        if reason:
            raise Problem("folder-unsafe", folder=base, reason=reason)
        if not os.access(base, os.W_OK | os.X_OK):
            raise Problem("not-writable", folder=base, reason="it may not be written to")
    except Problem as found:
        return found.facts
    return None


def ages() -> Dict[str, float]:
    base = run_base()
    names = sorted(os.listdir(base)) if os.path.isdir(base) else []
    return {name: age(os.path.join(base, name)) for name in names if RUN_KEY.fullmatch(name)}


def age(folder: str) -> float:
    """Since the lock was made, which nobody writes to; else since the folder was changed."""
    lock = os.path.join(folder, "lock")
    path = lock if os.path.exists(lock) else folder
    return max(0.0, time.time() - os.stat(path).st_mtime)


def strays() -> Iterator[Dict[str, Any]]:
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        found = stray(pid)
        if found is not None:
            yield found


def stray(pid: int) -> Optional[Dict[str, Any]]:
    """A process that was started in a run folder which is gone; None for all others."""
    try:
        if os.stat("/proc/%d" % pid).st_uid != os.getuid():
            return None
        place = os.readlink("/proc/%d/cwd" % pid)
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
    except OSError:
        return None  # it has just ended, or it is not ours
    if not place.endswith(DELETED):
        return None
    place = place[: -len(DELETED)]
    if is_run_folder(place) and os.path.join(place, "steward.pyz") in words:
        return {"pid": pid, "kind": "steward", "folder": place, "uuid": None}
    folder, name = os.path.split(place)
    if is_run_folder(folder) and MACHINE_FOLDER.fullmatch(name) and "-uuid" in words[:-1]:
        uuid = words[words.index("-uuid") + 1]
        return {"pid": pid, "kind": "machine", "folder": place, "uuid": uuid}
    return None


def is_run_folder(path: str) -> bool:
    folder, key = os.path.split(path)
    return folder == run_base() and RUN_KEY.fullmatch(key) is not None


def end(uuids: List[str]) -> None:
    """End stray machines by their uuid, and wait until they have."""
    for found in [one for one in strays() if one["uuid"] in uuids and one["uuid"]]:
        again = stray(found["pid"])  # a process id may be another's by now
        if again != found:
            continue
        os.kill(found["pid"], signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while stray(found["pid"]) == found and time.monotonic() < deadline:
            time.sleep(PAUSE)


def main() -> int:
    end(json.loads(sys.stdin.read())["end"])
    answer = {"ok": True, "run_dir": run_base(), "problem": problem(), "ages": ages()}
    answer["strays"] = list(strays())
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
