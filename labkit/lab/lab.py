"""A lab: a place where slices run, chosen by its profile, and all the slices in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from labkit.engines import Belonging, Engine, HostsEngine
from labkit.errors import UnknownSlice, UsageError
from labkit.events import Listener, ignore
from labkit.frames import frame
from labkit.lab import doctor, faces, reprs, tables
from labkit.lab.converging import preview, slice_id
from labkit.lab.profiles import engine_of, store_of
from labkit.lab.slice_handle import LabSlice
from labkit.markup import Bundle
from labkit.plan import Plan
from labkit.plan.steps import StartSteward
from labkit.profile_names import DEFAULT_PROFILE, PROFILE_VARIABLE, SIMULATED
from labkit.store import Store
from labkit.wish import Slice

if TYPE_CHECKING:
    from labkit.simulator.executor import SimulatedExecutor


class Lab:
    """A lab. `profile`: ``local`` (this machine), ``sim`` (simulated), or one of your own.

    Without a profile the environment variable LABKIT_PROFILE names it, else it is ``local``.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        engine: Engine | None = None,
        store: Store | None = None,
    ) -> None:
        self.profile = profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
        self._engine = engine or engine_of(self.profile)
        self._store = store or store_of(self.profile)
        self._slices: dict[str, LabSlice] = {}

    def __repr__(self) -> str:
        names = ", ".join(self._store.names()) or "none"
        return f"<Lab {self.profile}; slices: {names}>"

    def _repr_mimebundle_(self, **_options: Any) -> Bundle:
        return reprs.lab_bundle(self)

    def _ipython_display_(self) -> None:
        """With the live panels of its slices, where notebooks can show them."""
        faces.display("lab", self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_real(self) -> bool:
        """Whether its machines really run."""
        return self._engine.is_real

    @property
    def engine(self) -> Engine:
        """What carries its slices."""
        return self._engine

    @property
    def simulator(self) -> SimulatedExecutor:
        """What plays the machines of ``Lab("sim")``, with faults to script; see its `fail`.

        Raises `UsageError` where machines are real.
        """
        from labkit.simulator.executor import SimulatedExecutor  # noqa: PLC0415 - it is large

        executor = self._engine.executor if isinstance(self._engine, HostsEngine) else None
        if not isinstance(executor, SimulatedExecutor):
            raise UsageError(
                f"the lab {self.profile} has no simulator",
                why="nothing in it is simulated",
                fix=f'Use Lab("{SIMULATED}").',
            )
        return executor

    @property
    def store(self) -> Store:
        """What was promised to them."""
        return self._store

    def slice(self, name: str) -> LabSlice:
        """The slice of this name: a new, empty one, or the one that is there, running or not."""
        found = self._slices.get(name)
        if found is not None:
            try:
                found.reread()
            except UnknownSlice:
                pass  # deleted: what is there from now on is another one
            else:
                return found
        found = self._slices[name] = LabSlice(self._engine, self._store, name)
        return found

    def preview(self, wish: Slice) -> Plan:
        """What deploying a wish would do; nothing is done, and its slice need not be there.

        Where `Plan.look_again` is set, it begins with stewards that do not run, and what else is
        to do is known only with them: see `start_stewards`.
        """
        return preview(self._engine, self._store, wish)

    def start_stewards(self, name: str) -> None:
        """Start the stewards of a slice where its machines run without: then all of it can be
        looked at. Any command on one of its machines does so too; they stay as they are."""
        record = self._store.get(name)
        seen = self._engine.observe(slice_id(record), record.allocation)
        blind = {one.host for one in seen.machines if one.is_alive} - seen.stewards
        for host in sorted(blind):
            step = StartSteward(host=host, name=host, reason="machines run without it")
            self._engine.do(slice_id(record), step, ignore, lambda: False)

    @property
    def slices(self) -> pd.DataFrame:
        """One row per slice: ``name``, ``vms`` and ``links`` wished, ``held`` (VMs that something
        is promised to), ``key`` (of its run folders)."""
        records = [self._store.get(name) for name in self._store.names()]
        return frame(
            (
                {
                    "name": record.name,
                    "vms": len(record.wish.vms),
                    "links": len(record.wish.links),
                    "held": len(record.allocation.everyone),
                    "key": record.key,
                }
                for record in records
            ),
            tables.SLICES_COLUMNS,
        )

    @property
    def vms(self) -> pd.DataFrame:
        """The VMs of all slices, looked at now: ``slice``, and the columns of `LabSlice.vms`."""
        return self._of_all(lambda one: one.vms, tables.VMS_COLUMNS)

    @property
    def links(self) -> pd.DataFrame:
        """The links of all slices, looked at now: ``slice``, and those of `LabSlice.links`."""
        return self._of_all(lambda one: one.links, tables.LINKS_COLUMNS)

    @property
    def interfaces(self) -> pd.DataFrame:
        """The interfaces of all VMs: ``slice``, and the columns of `LabSlice.interfaces`."""
        return self._of_all(lambda one: one.interfaces, tables.INTERFACES_COLUMNS)

    def _of_all(
        self, table: Callable[[LabSlice], pd.DataFrame], columns: Mapping[str, str]
    ) -> pd.DataFrame:
        each = {}
        for name in self._store.names():
            known = self._slices.get(name)
            one = self.slice(name)  # one that is opened only now has just looked
            with suppress(UnknownSlice):  # deleted just now
                if one is known:
                    one.refresh()
                each[name] = table(one)
        return tables.joined_table(each, columns)

    def doctor(self, *, listener: Listener = ignore) -> pd.DataFrame:
        """What is wrong here: one row per thing that was looked at, on hosts and in the store.

        ``state`` is ``ok``, ``note`` (it works, and this is good to know) or ``bad``; ``detail``
        is what was seen, ``fix`` what to do. Whether KVM works is found by really starting a
        machine. Nothing is changed.
        """
        return doctor.checks_table(doctor.examine(self._engine, self._store, listener))

    def orphans(self) -> tuple[Belonging, ...]:
        """What lies on the hosts and belongs to no slice of this store or of another one there."""
        return doctor.find_orphans(self._engine, self._store)

    def remove_orphan(self, orphan: Belonging) -> None:
        """End and remove one of `orphans`; `UsageError` where a slice has it, or may have."""
        doctor.remove_orphan(self._engine, self._store, orphan)

    def close(self) -> None:
        """Let go of all connections; what runs goes on."""
        self._engine.close()
        self._store.close()
