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
    """Held while it is used as a context; `check` inside a transaction proves that it still is.

    It is taken, kept alive and given back by a thread of its own, which hears no Ctrl-C. Entering
    raises `SliceInUse`.
    """

    def __init__(self, database: Database, slice_id: int, slice_name: str, clock: Clock) -> None:
        self.slice_id = slice_id
        self.slice_name = slice_name
        self._token = uuid.uuid4().hex
        self._database = database
        self._clock = clock
        self._taken = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._hold, name="labkit-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._taken.wait()
        self._tell_error()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        if error is None:
            self._tell_error()

    def end(self) -> None:
        """Give it back, again or for the first time.

        For a ``finally`` around the context: Ctrl-C may come when the context is just entered or
        left, and then nobody else would end it.
        """
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

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

    def _tell_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _hold(self) -> None:
        try:
            try:
                self._take()
            finally:
                self._taken.set()
            self._keep()
            with self._database.writing() as connection:
                connection.execute(delete(leases).where(leases.c.token == self._token))
        except BaseException as error:  # noqa: BLE001 - raised where the context is
            self._error = error

    def _take(self) -> None:
        with self._database.writing() as connection:
            row = connection.execute(
                select(leases).where(leases.c.slice_id == self.slice_id)
            ).first()
            if row is not None:
                self._refuse_living(Process.parse(row.owner), self._clock() - row.beat)
                connection.execute(delete(leases).where(leases.c.slice_id == self.slice_id))
            mine = {"slice_id": self.slice_id, "token": self._token}
            mine |= {"owner": str(Process.current()), "beat": self._clock()}
            connection.execute(insert(leases).values(**mine))

    def _refuse_living(self, owner: Process, silent: float) -> None:
        if owner.is_gone or silent >= SILENCE_SECONDS:
            return
        raise SliceInUse(
            f"slice {self.slice_name!r} is being worked on",
            why=f"{owner.shown} has it, and lived {max(silent, 0):.0f} s ago",
            fix="Wait until it is done, or interrupt it there; nothing was done here.",
            slice=self.slice_name,
            owner=owner.shown,
        )

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                if not self.beat():
                    return
            except StoreError:
                continue  # busy or out of order just now; check() decides before every step
