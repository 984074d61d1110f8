"""A lab: a place where slices run, chosen by its profile, and all the slices in it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import pandas as pd

from labkit.engines import Engine
from labkit.frames import frame
from labkit.lab import reprs, tables
from labkit.lab.profiles import engine_of, store_of
from labkit.lab.slice_handle import LabSlice
from labkit.markup import Bundle
from labkit.store import Store

PROFILE = "LABKIT_PROFILE"
DEFAULT_PROFILE = "local"


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
        self.profile = profile or os.environ.get(PROFILE) or DEFAULT_PROFILE
        self._engine = engine or engine_of(self.profile)
        self._store = store or store_of(self.profile)
        self._slices: dict[str, LabSlice] = {}

    def __repr__(self) -> str:
        names = ", ".join(self._store.names()) or "none"
        return f"<Lab {self.profile}; slices: {names}>"

    def _repr_mimebundle_(self, **_options: Any) -> Bundle:
        return reprs.lab_bundle(self)

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
    def store(self) -> Store:
        """What was promised to them."""
        return self._store

    def slice(self, name: str) -> LabSlice:
        """The slice of this name: a new, empty one, or the one that is there, running or not."""
        found = self._slices.get(name)
        if found is None or name not in self._store.names():
            found = self._slices[name] = LabSlice(self._engine, self._store, name)
        return found

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

    def close(self) -> None:
        """Let go of all connections; what runs goes on."""
        self._engine.close()
        self._store.close()
