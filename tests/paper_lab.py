"""A lab on paper: slices whose steps are done as plans foresee, for tests of what shows them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from labkit.allocate import Allocation
from labkit.calls import Facts
from labkit.engines import SliceId
from labkit.engines.engine import IsStopping, Survey
from labkit.errors import LabkitError
from labkit.events import GuestWaiting, Listener
from labkit.executor import Result
from labkit.lab import Lab
from labkit.links import Links
from labkit.machines import Machine
from labkit.observed import Observed
from labkit.plan import Plan, Step
from labkit.plan.simulate import simulate
from labkit.room import Host
from labkit.store import Store

HOST = "localhost"
CONSOLE = b"\x1b[1mLinux version 6.1\x1b[0m\r\nwaiting for the root device ...\r\n"
NOTHING: Mapping[tuple[str, str], LabkitError] = {}


class PaperEngine:
    """An engine whose slices are values. A step takes `pause` seconds; `fails` by kind and name."""

    name = "paper"
    is_real = False

    def __init__(
        self, *, pause: float = 0.0, fails: Mapping[tuple[str, str], LabkitError] = NOTHING
    ) -> None:
        self.pause = pause
        self.fails = dict(fails)
        self.looks = 0
        self._lock = threading.Lock()
        self._seen: dict[str, Observed] = {}
        self._ears: dict[str, list[Callable[[Facts], None]]] = {}

    def hosts(self) -> tuple[Host, ...]:
        return (Host(HOST, cores=64, memory_mb=1 << 20),)

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        with self._lock:
            self.looks += 1
            return self._seen.get(slice_id.uuid, Observed())

    def survey(self) -> tuple[Survey, ...]:
        return ()

    def prepare(self, plan: Plan, tell: Listener) -> None:
        pass

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        end, began = time.monotonic() + self.pause, time.monotonic()
        while time.monotonic() < end:
            if step.kind == "configure guest":
                passed = time.monotonic() - began
                tell(GuestWaiting(step.host, step.name, "its agent", passed))
            threading.Event().wait(min(0.02, self.pause))
        if (step.kind, step.name) in self.fails:
            raise self.fails[step.kind, step.name]
        with self._lock:
            seen = self._seen.get(slice_id.uuid, Observed())
            self._seen[slice_id.uuid] = simulate(Plan((step,)), seen)

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        return cast("Machine", PaperMachine(self, slice_id, index, name))

    def links(self, slice_id: SliceId, host: str) -> Links:
        raise NotImplementedError

    def listen(
        self, slice_id: SliceId, host: str, listener: Callable[[Facts], None]
    ) -> Callable[[], None]:
        self._ears.setdefault(slice_id.uuid, []).append(listener)
        return lambda: self._ears[slice_id.uuid].remove(listener)

    def close(self) -> None:
        pass

    def set_state(self, uuid: str, name: str, state: str) -> None:
        """Change a machine behind labkit's back, and tell who listens."""
        with self._lock:
            seen = self._seen[uuid]
            machines = tuple(
                replace(one, state=state) if one.name == name else one for one in seen.machines
            )
            self._seen[uuid] = replace(seen, machines=machines)
        for ear in self._ears.get(uuid, []):
            ear({"kind": f"machine-{state}", "name": name})


class PaperMachine:
    """What a handle asks of a machine, and its guest as well: commands are answered, not run."""

    def __init__(self, engine: PaperEngine, slice_id: SliceId, index: int, name: str) -> None:
        self._engine = engine
        self._uuid = slice_id.uuid
        self._name = name

    @property
    def guest(self) -> PaperMachine:
        return self

    def run(
        self,
        command: str,
        *,
        on_output: Callable[[str, str], None] | None = None,
        **_settings: Any,
    ) -> Result:
        """``echo WORDS`` says them, ``fail`` complains and has status 3, all else is silent."""
        out, err, status = "", "", 0
        for line in command.strip().splitlines():
            verb, _, rest = line.strip().partition(" ")
            if verb == "echo":
                out += f"{rest}\n"
            elif verb == "fail":
                err, status = f"{self._name}: no\n", 3
        for stream, text in (("stdout", out), ("stderr", err)):
            if text and on_output is not None:
                on_output(stream, text)
        return Result(("sh", "-c", command), status, out.encode(), err.encode(), 0.25, self._name)

    def console_log(self, limit: int) -> bytes:
        return CONSOLE[-limit:]

    def pause(self) -> None:
        self._engine.set_state(self._uuid, self._name, "paused")

    def resume(self) -> None:
        self._engine.set_state(self._uuid, self._name, "running")

    def power_off(self) -> None:
        self._engine.set_state(self._uuid, self._name, "dead")


def paper_lab(folder: Path, **settings: Any) -> Lab:
    """A lab on paper, with a store of its own in `folder`."""
    return Lab("paper", engine=PaperEngine(**settings), store=Store(folder / "labkit.db"))
