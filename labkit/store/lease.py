"""The right to work on a slice: one process at a time, kept alive, taken over from the dead."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, delete, insert, select, update

from labkit.errors import SliceInUse, StoreError
from labkit.store.database import Database
from labkit.store.process import Process
from labkit.store.schema import leases

BEAT_SECONDS = 5.0
SILENCE_SECONDS = 60.0  # after that an owner of whom nothing is sure counts as dead

Clock = Callable[[], float]


class Lease:
    """Held while it is used as a context; `check` inside a transaction proves that it still is."""

    def __init__(
        self, database: Database, slice_id: int, slice_name: str, clock: Clock, *, token: str
    ) -> None:
        self.slice_id = slice_id
        self.slice_name = slice_name
        self._token = token
        self._database = database
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="labkit-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._database.writing() as connection:
            connection.execute(delete(leases).where(leases.c.token == self._token))

    def check(self, connection: Connection) -> None:
        """Raise `SliceInUse` when another process has taken the slice over."""
        row = connection.execute(select(leases).where(leases.c.slice_id == self.slice_id)).first()
        if row is not None and row.token == self._token:
            return
        owner = "nobody" if row is None else Process.parse(row.owner).shown
        raise SliceInUse(
            f"slice {self.slice_name!r} is no longer ours",
            why=f"{owner} has it now: this process was silent for too long",
            fix="Look again, then ask again; this step was not begun.",
            slice=self.slice_name,
        )

    def beat(self) -> bool:
        """Say that the owner lives; False when the slice is another's by now."""
        with self._database.writing() as connection:
            mine = leases.c.token == self._token
            done = connection.execute(update(leases).where(mine).values(beat=self._clock()))
            return bool(done.rowcount)

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                if not self.beat():
                    return
            except StoreError:
                continue  # busy or out of order just now; check() decides before every step


def take(database: Database, slice_id: int, slice_name: str, clock: Clock) -> Lease:
    """The lease of a slice that nobody living has; raises `SliceInUse` naming who has it."""
    token = uuid.uuid4().hex
    with database.writing() as connection:
        row = connection.execute(select(leases).where(leases.c.slice_id == slice_id)).first()
        if row is not None:
            owner = Process.parse(row.owner)
            silent = clock() - row.beat
            if not owner.is_gone and silent < SILENCE_SECONDS:
                raise SliceInUse(
                    f"slice {slice_name!r} is being worked on",
                    why=f"{owner.shown} has it, and lived {max(silent, 0):.0f} s ago",
                    fix="Wait until it is done, or interrupt it there; nothing was done here.",
                    slice=slice_name,
                    owner=owner.shown,
                )
            connection.execute(delete(leases).where(leases.c.slice_id == slice_id))
        connection.execute(
            insert(leases).values(
                slice_id=slice_id, token=token, owner=str(Process.current()), beat=clock()
            )
        )
    return Lease(database, slice_id, slice_name, clock, token=token)
