"""A lab in memory whose steps take time and may fail, and whose machines answer: for its faces."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from labkit.allocate import Allocation
from labkit.engines import SliceId
from labkit.engines.engine import IsStopping
from labkit.errors import LabkitError
from labkit.events import GuestWaiting, Listener
from labkit.executor import Result
from labkit.lab import Lab
from labkit.machines import Machine
from labkit.observed import Observed
from labkit.plan import Step
from labkit.room import Host
from labkit.store import Store
from memory_lab import MemoryEngine

HOST = "localhost"
CONSOLE = b"\x1b[1mLinux version 6.1\x1b[0m\r\nwaiting for the root device ...\r\n"
NOTHING: Mapping[tuple[str, str], LabkitError] = {}


class PaperEngine(MemoryEngine):
    """A step takes `pause` seconds; `fails` has errors by kind and name of steps.

    Steps of the kinds in `held` wait until these are taken out of it. `looks` counts looks.
    """

    name = "paper"

    def __init__(
        self,
        folder: Path,
        *,
        pause: float = 0.0,
        fails: Mapping[tuple[str, str], LabkitError] = NOTHING,
    ) -> None:
        super().__init__(folder, (Host(HOST, cores=64, memory_mb=1 << 20),))
        self.pause = pause
        self.fails = dict(fails)
        self.held: set[str] = set()
        self.looks = 0

    def hosts(self, *, with_disks: bool) -> tuple[Host, ...]:
        self.looks += 1
        return super().hosts(with_disks=with_disks)

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        self.looks += 1
        return super().observe(slice_id, allocation)

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.pause or step.kind in self.held:
            if step.kind == "configure guest":
                tell(GuestWaiting(step.host, step.name, "its agent", passed))
            threading.Event().wait(0.02)
        if (step.kind, step.name) in self.fails:
            raise self.fails[step.kind, step.name]
        super().do(slice_id, step, tell, is_stopping)

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        return cast("Machine", PaperMachine(self, slice_id, name))

    def set_state(self, key: str, name: str, state: str) -> None:
        """Change a machine behind labkit's back, and tell who listens."""
        self.change(
            key,
            lambda seen: replace(
                seen,
                machines=tuple(
                    replace(one, state=state) if one.name == name else one for one in seen.machines
                ),
            ),
        )
        for _, ear in list(self.ears):
            ear({"kind": f"machine-{state}", "name": name})


class PaperMachine:
    """What a handle asks of a machine, and its guest as well: commands are answered, not run."""

    def __init__(self, engine: PaperEngine, slice_id: SliceId, name: str) -> None:
        self._engine = engine
        self._key = slice_id.key
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
        self._engine.set_state(self._key, self._name, "paused")

    def resume(self) -> None:
        self._engine.set_state(self._key, self._name, "running")

    def power_off(self) -> None:
        self._engine.set_state(self._key, self._name, "off")


def paper_lab(folder: Path, **settings: Any) -> Lab:
    """A lab on paper, with a store of its own in `folder`."""
    return Lab("paper", engine=PaperEngine(folder, **settings), store=Store(folder / "labkit.db"))
