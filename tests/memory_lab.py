"""An engine whose world is a value in a file: labs without machines, also for several processes."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from labkit.allocate import Allocation
from labkit.calls import Facts
from labkit.engines import Belonging, Check, SliceId
from labkit.engines.engine import IsStopping, Survey
from labkit.events import Listener
from labkit.lab import Lab
from labkit.links import Links
from labkit.machines import Machine
from labkit.observed import Observed
from labkit.plan import Plan, Step
from labkit.room import Host
from labkit.store import Store
from labkit.testing.simulate import simulate
from slice_worlds import HOSTS

TABLES = ("slices", "vms", "links", "vlan_pools", "leases", "intents")


class MemoryEngine:
    """Does steps as `labkit.testing.simulate` says, and refuses those that do not fit the world."""

    name = "memory"
    is_real = True

    def __init__(self, folder: Path, hosts: tuple[Host, ...] = HOSTS) -> None:
        self._path = folder / "world.pickle"
        self._hosts = hosts
        self._lock = threading.Lock()
        self.unreachable: frozenset[str] = frozenset()
        self.prepared: list[Plan] = []
        self.lost_and_found: list[Belonging] = []
        self.ears: list[tuple[str, Callable[[Facts], None]]] = []

    # the world, for tests

    @property
    def worlds(self) -> dict[str, Observed]:
        """What there is of each slice, by its key."""
        if not self._path.exists():
            return {}
        return dict(pickle.loads(self._path.read_bytes()))

    def put(self, key: str, seen: Observed) -> None:
        """Let something else be there."""
        worlds = {**self.worlds, key: seen}
        part = self._path.with_suffix(".part")
        part.write_bytes(pickle.dumps(worlds))
        part.replace(self._path)

    def change(self, key: str, change: Callable[[Observed], Observed]) -> None:
        with self._lock:
            self.put(key, change(self.worlds.get(key, Observed())))

    # the engine

    def hosts(self, *, with_disks: bool) -> tuple[Host, ...]:
        return self._hosts  # as remembered: what can be reached is observed

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        seen = self.worlds.get(slice_id.key, Observed())
        if not self.unreachable:
            return seen
        parts = {
            name: tuple(one for one in getattr(seen, name) if one.host not in self.unreachable)
            for name in ("machines", "links", "overlays", "leftovers")
        }
        return Observed(
            stewards=seen.stewards - self.unreachable,
            folders=seen.folders - self.unreachable,
            unreachable=self.unreachable,
            **parts,
        )

    def survey(self) -> tuple[Survey, ...]:
        return ()

    def checks(self, tell: Listener) -> tuple[Check, ...]:
        return tuple(Check(host.name, "memory", "ok", "it is a value") for host in self._hosts)

    def belongings(self) -> tuple[Belonging, ...]:
        return tuple(self.lost_and_found)

    def remove(self, belonging: Belonging) -> None:
        self.lost_and_found.remove(belonging)

    def check(self, plan: Plan) -> None:
        pass

    def prepare(self, plan: Plan, tell: Listener) -> None:
        self.prepared.append(plan)

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        self.change(slice_id.key, lambda seen: simulate(Plan((step,)), seen))

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        raise AssertionError("there are no machines in memory")

    def links(self, slice_id: SliceId, host: str) -> Links:
        raise AssertionError("there are no links in memory")

    def listen(
        self, slice_id: SliceId, host: str, listener: Callable[[Facts], None]
    ) -> Callable[[], None]:
        ear = (host, listener)
        self.ears.append(ear)
        return lambda: self.ears.remove(ear)

    def close(self) -> None:
        pass


class MemoryLab(Lab):
    """A lab in a folder. Several of them, in one process or more, are one lab."""

    def __init__(self, folder: Path, hosts: tuple[Host, ...] = HOSTS) -> None:
        self.memory = MemoryEngine(folder, hosts)
        self.folder = folder
        super().__init__("memory", engine=self.memory, store=Store(folder / "labkit.db"))

    def world(self, name: str) -> Observed:
        """What there is of a slice."""
        return self.memory.worlds.get(self.store.get(name).key, Observed())

    def change(self, name: str, change: Callable[[Observed], Observed]) -> None:
        """Let the world be another behind the slice's back."""
        self.memory.change(self.store.get(name).key, change)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that no disk has to write down: a store saves each step for good."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


def rows_left(database: Path) -> dict[str, int]:
    """The tables of a store that are not empty; how long steps took is kept for ever."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        counts = {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in TABLES
        }
    engine.dispose()
    return {name: count for name, count in counts.items() if count}
