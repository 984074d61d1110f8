"""Looks at what labkit has on this host, without a steward: ``survey``.

Standard input is ``{"keys": [KEY, ...]}``, or ``{"keys": null}`` for all slices of this user.
Answers one line of JSON::

    {"ok": true, "run_dir": D, "cores": N, "memory": BYTES, "available": BYTES, "kvm": BOOL,
     "python": V, "slices": [{"key": KEY, "folder": F, "steward": PID or null,
       "machines": [{"index": N, "name", "uuid", "pid": PID or null, "since", "about", "notes"}],
       "strange": [NAME]}]}

``memory`` is what this process may use: that of the host, or less where a control group says so.
A machine's pid is null when it is dead. ``strange`` are files that nothing accounts for. A key
without a run folder is left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from typing import Any, Dict, Iterator, List, Optional

from labkit.remote.shared import MACHINE_FOLDER, RUN_KEY, run_base
from labkit.remote.steward.process import MACHINE_FILE, PID_FILE, is_machine, locked_by

OURS = {"control", "steward.json", "state.json", "steward.log", "steward.log.1", "steward.pyz"}
OURS |= {"state.json.part", "steward.json.part", "steward.pyz.part", "start.lock", "lock"}
GROUPS = "/sys/fs/cgroup"


def survey(keys: Optional[List[str]]) -> Dict[str, Any]:
    base = run_base()
    names = sorted(os.listdir(base)) if os.path.isdir(base) else []
    wanted = [name for name in names if RUN_KEY.fullmatch(name) and (keys is None or name in keys)]
    memory = memory_facts()
    return {
        "ok": True,
        "run_dir": base,
        "cores": len(os.sched_getaffinity(0)),
        "memory": min([memory["MemTotal"], *limits()]),
        "available": memory.get("MemAvailable", memory["MemTotal"]),
        "kvm": os.access("/dev/kvm", os.R_OK | os.W_OK),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "slices": [slice_facts(name, os.path.join(base, name)) for name in wanted],
    }


def slice_facts(key: str, folder: str) -> Dict[str, Any]:
    machines, strange = [], []
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        match = MACHINE_FOLDER.fullmatch(name)
        facts = machine_facts(os.path.join(folder, name)) if match else None
        if match and facts is not None:
            machines.append({"index": int(match.group(1)), **facts})
        elif name not in OURS:
            strange.append(name)
    pid = steward_pid(folder)
    return {"key": key, "folder": folder, "steward": pid, "machines": machines, "strange": strange}


def machine_facts(folder: str) -> Optional[Dict[str, Any]]:
    """What is known of a machine; None where its folder holds none."""
    known = read_json(os.path.join(folder, MACHINE_FILE))
    pid = locked_by(os.path.join(folder, PID_FILE))
    if known is None:
        return None
    ours = pid is not None and is_machine(pid, known["uuid"])
    kept = {key: known.get(key) for key in ("name", "uuid", "since")}
    return {
        **kept,
        "pid": pid if ours else None,
        "about": known.get("about", {}),
        "notes": known.get("notes", {}),
    }


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """A file of the steward's; None when it is not there or was cut off."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def steward_pid(folder: str) -> Optional[int]:
    """The process that holds the slice's lock; it says its number itself."""
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        facts = read_json(os.path.join(folder, "steward.json")) or {}
        return int(facts.get("pid", 0))
    finally:
        os.close(lock)


def memory_facts() -> Dict[str, int]:
    """``/proc/meminfo`` in bytes."""
    with open("/proc/meminfo") as file:
        words = [line.replace(":", " ").split() for line in file]
    return {line[0]: int(line[1]) * 1024 for line in words if line[-1] == "kB"}


def limits() -> List[int]:
    """What this process's control groups allow; a container often has less than its host."""
    found: List[int] = []
    with open("/proc/self/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    for _number, kinds, group in lines:
        if not kinds:
            found += _limit(GROUPS, group, "memory.max")
        elif "memory" in kinds.split(","):
            found += _limit(GROUPS + "/memory", group, "memory.limit_in_bytes")
    return found


def _limit(base: str, group: str, name: str) -> Iterator[int]:
    """The limits of a group and of those around it; in a container its own is the outermost."""
    while True:
        path = os.path.join(base, group.strip("/"), name)
        if os.path.exists(path):
            with open(path) as file:
                text = file.read().strip()
            if text.isdigit():
                yield int(text)
        if group in ("/", ""):
            return
        group = os.path.dirname(group)


def main() -> int:
    keys = json.loads(sys.stdin.read())["keys"]
    sys.stdout.write(json.dumps(survey(keys)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
