"""The store: what every slice wished and was promised, for all processes of a user."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from labkit import rules, spec
from labkit.allocate import Allocation, Taken
from labkit.errors import DuplicateError, SliceChanged, StoreError, UnknownSlice, UsageError
from labkit.store import export
from labkit.store.database import Database, default_path
from labkit.store.lease import Lease
from labkit.store.process import Process
from labkit.store.records import Record, read_slice, taken_by_others, write_allocation
from labkit.store.schema import durations, intents, slices
from labkit.wish import Slice

REMEMBERED = 20  # durations of each kind

Decide = Callable[[Record, Taken], Allocation]


@dataclass(frozen=True, slots=True)
class Intent:
    """A step that was about to be done. `ended` None: whether it was done nobody knows."""

    id: int
    kind: str
    name: str
    host: str
    reason: str
    owner: str
    begun: float
    ended: float | None
    outcome: str


class Store:
    """A user's slices. Several processes and threads may use one file at the same time."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.path = (path or default_path()).absolute()
        self._clock = clock
        self._database = Database(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # Slices and their wishes

    def names(self) -> tuple[str, ...]:
        """The slices there are, by name."""
        with self._database.reading() as connection:
            return tuple(connection.scalars(select(slices.c.name).order_by(slices.c.name)))

    def get(self, name: str) -> Record:
        """A slice; raises `UnknownSlice`."""
        with self._database.reading() as connection:
            return _known(connection, name)

    def get_or_create(self, name: str) -> Record:
        """A slice; a new one has an empty wish."""
        rules.name(name, "name of a slice")
        with self._database.writing() as connection:
            found = read_slice(connection, name)
            if found is None:
                wish = Slice(name)
                row = {"name": name, "key": secrets.token_hex(4), "uuid": str(uuid.uuid4())}
                connection.execute(insert(slices).values(**row, wish=spec.to_json(wish), version=1))
                found = _known(connection, name)
            return found

    def save_wish(self, wish: Slice, *, seen_version: int) -> Record:
        """Put a wish in the place of the one of `seen_version`.

        Raises `SliceChanged` when another process has changed it since: two notebooks on one
        slice do not undo each other's work unseen.
        """
        with self._database.writing() as connection:
            found = _known(connection, wish.name)
            if found.version != seen_version:
                raise SliceChanged(
                    f"slice {wish.name!r} was changed by another process",
                    why=f"its wish is of version {found.version}, ours of {seen_version}",
                    fix="Get the slice again and repeat the change; nothing was written.",
                    slice=wish.name,
                )
            text = spec.to_json(wish)
            row = update(slices).where(slices.c.id == found.id)
            connection.execute(row.values(wish=text, version=slices.c.version + 1))
            return _known(connection, wish.name)

    def remove(self, held: Lease) -> None:
        """Forget a slice to which nothing is promised any more."""
        with self._owned(held) as connection:
            found = _known(connection, held.slice_name)
            if found.holds_anything:
                raise UsageError(
                    f"slice {found.name!r} cannot be forgotten",
                    why="it still holds VMs or links, which may be there",
                    fix="Delete it, which ends them first.",
                )
            connection.execute(delete(slices).where(slices.c.id == found.id))

    # Allocations

    def reserve(self, held: Lease, decide: Decide) -> Record:
        """Choose under the lock, and save before anything is touched.

        `decide` gets the slice and what others have taken, and returns the slice's allocation,
        as `allocate` does. What is no longer in it is free from then on.
        """
        with self._owned(held) as connection:
            found = _known(connection, held.slice_name)
            allocation = decide(found, taken_by_others(connection, found.id))
            if allocation != found.allocation:
                _write(connection, found, allocation)
            return _known(connection, held.slice_name)

    def look(self, name: str) -> tuple[Record, Taken]:
        """A slice, and what all others have: for a plan that nothing is done of."""
        with self._database.reading() as connection:
            found = _known(connection, name)
            return found, taken_by_others(connection, found.id)

    def taken(self) -> Taken:
        """What all slices together have."""
        with self._database.reading() as connection:
            return taken_by_others(connection, None)

    # Who works on a slice, and on what

    def lease(self, name: str) -> Lease:
        """The right to work on a slice, to be used as a context; entering raises `SliceInUse`."""
        return Lease(self._database, self.get(name).id, name, self._clock)

    def begin(self, held: Lease, kind: str, name: str, host: str, reason: str) -> int:
        """Record a step that is about to be done; returns its number."""
        with self._owned(held) as connection:
            row = {"slice_id": held.slice_id, "kind": kind, "name": name, "host": host}
            row |= {"reason": reason, "owner": Process.current().shown, "begun": self._clock()}
            made = connection.execute(insert(intents).values(**row).returning(intents.c.id))
            return int(made.scalar_one())

    def end(self, held: Lease, intent: int, outcome: str = "done") -> None:
        """Record that a step has ended, and how."""
        with self._database.writing() as connection:
            mine = (intents.c.id == intent) & (intents.c.slice_id == held.slice_id)
            ended = {"ended": self._clock(), "outcome": outcome}
            connection.execute(update(intents).where(mine).values(**ended))

    def took(self, each: Sequence[tuple[str, float]]) -> None:
        """Remember how many seconds things of some kinds took."""
        if not each:
            return
        with self._database.writing() as connection:
            rows = [{"kind": kind, "seconds": seconds} for kind, seconds in each]
            connection.execute(insert(durations), rows)
            for kind in {kind for kind, _ in each}:
                mine = select(durations.c.id).where(durations.c.kind == kind)
                old = mine.order_by(durations.c.id.desc()).offset(REMEMBERED)
                connection.execute(delete(durations).where(durations.c.id.in_(old)))

    def usual_seconds(self) -> dict[str, float]:
        """By kind: the median of how long the last ones took."""
        with self._database.reading() as connection:
            found: dict[str, list[float]] = {}
            for kind, seconds in connection.execute(select(durations.c.kind, durations.c.seconds)):
                found.setdefault(kind, []).append(seconds)
        return {kind: median(each) for kind, each in found.items()}

    def intents(self, name: str, *, only_open: bool = False) -> tuple[Intent, ...]:
        """The journal of a slice, oldest first; open are steps nobody knows the end of."""
        with self._database.reading() as connection:
            query = select(intents).where(intents.c.slice_id == _known(connection, name).id)
            if only_open:
                query = query.where(intents.c.ended.is_(None))
            rows = connection.execute(query.order_by(intents.c.id)).mappings()
            fields = Intent.__dataclass_fields__
            return tuple(Intent(**{key: row[key] for key in fields}) for row in rows)

    def settle(self, held: Lease, *, keep: int = 1000) -> tuple[Intent, ...]:
        """Close the open intents of dead owners, and forget all but the last `keep`.

        For after a look at what is really there; returns those that were closed.
        """
        found = self.intents(held.slice_name, only_open=True)
        with self._owned(held) as connection:
            mine = intents.c.slice_id == held.slice_id
            left = {"ended": self._clock(), "outcome": "interrupted"}
            connection.execute(
                update(intents).where(mine, intents.c.ended.is_(None)).values(**left)
            )
            last = connection.scalar(select(func.max(intents.c.id)).where(mine)) or 0
            connection.execute(delete(intents).where(mine, intents.c.id <= last - keep))
        return found

    # Export

    def export(self) -> dict[str, Any]:
        """All slices as plain types, for `import_from`."""
        with self._database.reading() as connection:
            each = connection.scalars(select(slices.c.name).order_by(slices.c.id))
            return export.to_dict([_known(connection, name) for name in each.all()])

    def import_from(self, exported: object) -> tuple[str, ...]:
        """Put exported slices into this store, all or none; returns their names.

        Raises `DuplicateError` where a name, an id, a port or an address is taken here.
        """
        entries = export.from_dict(exported)
        with self._database.writing() as connection:
            for entry in entries:
                row = {"name": entry.wish.name, "key": entry.key, "uuid": entry.allocation.uuid}
                values = {**row, "wish": spec.to_json(entry.wish), "version": entry.version}
                try:
                    made = insert(slices).values(**values).returning(slices.c.id)
                    slice_id = connection.execute(made).scalar_one()
                    write_allocation(connection, slice_id, entry.allocation)
                except IntegrityError as error:
                    raise DuplicateError(
                        f"slice {entry.wish.name!r} cannot be imported",
                        why=f"something it holds is taken in {self.path} ({error.orig})",
                        fix="Import into an empty store; nothing was imported.",
                    ) from error
        return tuple(entry.wish.name for entry in entries)

    @contextmanager
    def _owned(self, held: Lease) -> Iterator[Connection]:
        with self._database.writing() as connection:
            held.check(connection)
            yield connection


def _known(connection: Connection, name: str) -> Record:
    found = read_slice(connection, name)
    if found is None:
        names = connection.scalars(select(slices.c.name).order_by(slices.c.name)).all()
        raise UnknownSlice(
            f"there is no slice {name!r}",
            why=f"the slices are {', '.join(names)}" if names else "there are none yet",
            fix="Look at the spelling, or make it.",
            slice=name,
        )
    return found


def _write(connection: Connection, found: Record, allocation: Allocation) -> None:
    try:
        write_allocation(connection, found.id, allocation)
    except IntegrityError as error:
        raise StoreError(
            f"the allocation of slice {found.name!r} was refused",
            why=f"it takes what another slice has ({error.orig})",
            fix="This is a fault of labkit: please report it. Nothing was written.",
        ) from error
