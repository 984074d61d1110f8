"""The worker program `survey` on a simulated worker: what lies there, steward or not."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from labkit.remote.shared import MACHINE_FOLDER, RUN_KEY
from labkit.remote.steward.process import MACHINE_FILE
from labkit.remote.survey import OURS
from labkit.simulator.machine import Process, Steps
from labkit.simulator.steward.host import SimulatedHost
from labkit.simulator.steward.steward import PYTHON
from labkit.simulator.worker import Worker


def survey_program(process: Process) -> Steps[int]:
    """``python3 -IS -c SURVEY``, the question on standard input (labkit/remote/survey.py)."""
    question = yield from process.read_all()
    worker = process.machine
    assert isinstance(worker, Worker)
    keys = json.loads(question)["keys"]
    base = worker.run_folder
    with worker.world.condition:
        names = worker.files.names(base) if worker.files.is_folder(base) else []
        wanted = [
            name for name in names if RUN_KEY.fullmatch(name) and (keys is None or name in keys)
        ]
        answer = {
            "ok": True,
            "run_dir": base,
            "cores": worker.cores,
            "memory": worker.ram,
            "available": worker.ram,
            "kvm": False,
            "python": PYTHON,
            "slices": [_slice(worker, name) for name in wanted],
        }
    process.say(json.dumps(answer))
    return 0


def _slice(worker: Worker, key: str) -> dict[str, Any]:
    folder = posixpath.join(worker.run_folder, key)
    machines, strange = [], []
    for name in worker.files.names(folder):
        match = MACHINE_FOLDER.fullmatch(name)
        facts = _machine(worker, posixpath.join(folder, name)) if match else None
        if match and facts is not None:
            machines.append({"index": int(match.group(1)), **facts})
        elif name not in OURS:
            strange.append(name)
    steward = worker.stewards.get(folder)
    pid = steward.facts["pid"] if steward else None
    return {"key": key, "folder": folder, "steward": pid, "machines": machines, "strange": strange}


def _machine(worker: Worker, folder: str) -> dict[str, Any] | None:
    known = SimulatedHost(worker, folder).read_json(posixpath.join(folder, MACHINE_FILE))
    if known is None:
        return None
    running = worker.qemus.get(folder)
    ours = running is not None and running.options.uuid == known["uuid"]
    return {
        **{key: known.get(key) for key in ("name", "uuid", "since")},
        "pid": running.pid if running and ours else None,
        "about": known.get("about", {}),
        "notes": known.get("notes", {}),
    }
