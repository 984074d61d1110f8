"""The loop: look, allocate, plan, apply, and again, until nothing is left to plan."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.allocate import Allocation, Taken, allocate, empty
from labkit.engines import Engine, SliceId
from labkit.errors import NotSettled, SliceChanged, TransferError, WorkerUnreachable
from labkit.events import Converged, Listener, PlanMade
from labkit.lab.applying import Application
from labkit.lab.expectation import expected_seconds
from labkit.observed import NOTHING_THERE, Observed, links_still_there, vms_still_there
from labkit.plan import Plan, plan
from labkit.promise import Promise, promise
from labkit.room import Host
from labkit.store import Lease, Record, Store
from labkit.wish import Slice

MOST_ROUNDS = 8
BOUNDLESS = 2**40  # of anything a host gives


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is promised, what is there, and the steps between them."""

    record: Record
    allocation: Allocation
    promised: Promise
    seen: Observed
    plan: Plan


Aim = Callable[[Record], Slice]


def whole(record: Record) -> Slice:
    """The aim of a deployment: all that is wished."""
    return record.wish


def nothing(record: Record) -> Slice:
    """The aim of a deletion, which is off where somebody wishes for something again."""
    if record.wish.vms:
        raise SliceChanged(
            f"slice {record.name!r} is not deleted",
            why="another process has changed its wish meanwhile",
            fix="Look at its wish; then delete it again, or deploy it.",
            slice=record.name,
        )
    return record.wish


def slice_id(record: Record) -> SliceId:
    """The names by which an engine knows a slice."""
    return SliceId(record.name, record.key, record.allocation.uuid, record.store)


def look_ahead(engine: Engine, store: Store, name: str) -> Outlook:
    """What would be done now; nothing is, and nothing is promised."""
    record, taken = store.look(name)
    seen = engine.observe(slice_id(record), record.allocation)
    allocation = _allocated(record, taken, _hosts(engine, record.wish), seen)
    return _checked(engine, _outlook(record, record.wish, allocation, seen))


def look_back(record: Record, seen: Observed) -> Plan:
    """What would be done, by what was seen last. Pure, but for the files of the wish: no host is
    asked, so each is taken to have room, and where a new VM goes is a guess."""
    pinned = {vm.host for vm in record.wish.vms if vm.host}
    names = sorted({vm.host for vm in record.allocation.everyone} | pinned) or ["any"]
    hosts = tuple(Host(name, cores=BOUNDLESS, memory_mb=BOUNDLESS) for name in names)
    allocation = _allocated(record, Taken(), hosts, seen)
    return _outlook(record, record.wish, allocation, seen).plan


def preview(engine: Engine, store: Store, wish: Slice) -> Plan:
    """What deploying a wish would do, whether its slice is there or not; nothing is saved."""
    if wish.name in store.names():
        record, taken = store.look(wish.name)
        seen = engine.observe(slice_id(record), record.allocation)
    else:
        allocation = empty(wish.name, str(uuid.uuid4()))
        record, taken, seen = Record(0, "", 0, wish, allocation, ""), store.taken(), NOTHING_THERE
    record = replace(record, wish=wish)
    allocation = _allocated(record, taken, _hosts(engine, wish), seen)
    return _checked(engine, _outlook(record, wish, allocation, seen)).plan


def converge(
    engine: Engine,
    store: Store,
    lease: Lease,
    tell: Listener,
    is_stopping: Callable[[], bool],
    *,
    aim: Aim = whole,
) -> Outlook:
    """Make a slice what it is wished to be; answers with what is there at the end.

    `aim` is asked before each round for that part of the wish which is to be there.
    Raises what the failing step raised, `WorkerUnreachable` where a host cannot be looked at, and
    `NotSettled` when there is something to do again and again.
    """
    began, name = time.monotonic(), lease.slice_name
    applied = False
    for _round in range(MOST_ROUNDS):
        now = _reserve(engine, store, lease, aim, is_first=not applied)
        if not now.plan:
            _refuse_unseen(name, now.plan)
            if applied:
                tell(Converged(_place(now.seen), name, time.monotonic() - began))
            return now
        engine.prepare(now.plan, tell)
        expected = expected_seconds(now.plan, store.usual_seconds())
        tell(PlanMade(_place(now.seen), name, len(now.plan.steps), expected))
        application = Application(engine, store, lease, slice_id(now.record), tell, is_stopping)
        application.apply(now.plan)
        applied = True
    reasons = "; ".join(f"{step.kind} {step.name}: {step.reason}" for step in now.plan.steps[:3])
    raise NotSettled(
        f"slice {name!r} does not become as it was wished",
        why=f"after {MOST_ROUNDS} rounds there is still to do: {reasons}",
        fix="Find out what undoes it, then deploy again.",
        slice=name,
    )


def _reserve(engine: Engine, store: Store, lease: Lease, aim: Aim, *, is_first: bool) -> Outlook:
    """Look at what is there, and promise what is aimed at: saved before anything is done."""
    record = store.get(lease.slice_name)
    seen = engine.observe(slice_id(record), record.allocation)
    if is_first:
        store.settle(lease)
    hosts = _hosts(engine, record.wish)
    record = store.reserve(lease, lambda found, taken: _allocated(found, taken, hosts, seen))
    return _checked(engine, _outlook(record, aim(record), record.allocation, seen))


def _hosts(engine: Engine, wish: Slice) -> tuple[Host, ...]:
    """What there is to place VMs on; a wish for nothing needs no look at it."""
    if not wish.vms:
        return ()
    return engine.hosts(with_disks=any(vm.size.disk_gb for vm in wish.vms))


def _allocated(record: Record, taken: Taken, hosts: tuple[Host, ...], seen: Observed) -> Allocation:
    return allocate(
        record.wish,
        record.allocation,
        [_as_seen(host, seen) for host in hosts],
        taken,
        still_there=vms_still_there(record.allocation, seen),
        links_still_there=links_still_there(record.allocation, seen),
    )


def _as_seen(host: Host, seen: Observed) -> Host:
    """What can be reached is known by the last look, not by what a host once could give."""
    return replace(host, reachable=host.reachable and host.name not in seen.unreachable)


def _outlook(record: Record, wish: Slice, allocation: Allocation, seen: Observed) -> Outlook:
    promised = promise(_with_files(wish), allocation)
    return Outlook(record, allocation, promised, seen, plan(promised, seen))


def _checked(engine: Engine, outlook: Outlook) -> Outlook:
    """What cannot be done is refused when it is planned, not half way through it."""
    engine.check(outlook.plan)
    return outlook


def _with_files(wish: Slice) -> Slice:
    return wish.resolved(_read)


def _read(source: str) -> bytes:
    try:
        return Path(source).expanduser().read_bytes()
    except OSError as error:
        raise TransferError(
            f"cannot read {source}",
            why=error.strerror or str(error),
            fix="Correct the path of the file in the wish. Nothing was done.",
            path=source,
        ) from error


def _refuse_unseen(name: str, now: Plan) -> None:
    if not now.unreachable:
        return
    raise WorkerUnreachable(
        f"slice {name!r} cannot be seen whole",
        why=f"{', '.join(now.unreachable)} cannot be reached",
        fix="What was promised there stays promised; ask again when it is back.",
        slice=name,
    )


def _place(seen: Observed) -> str:
    return next(iter(sorted(seen.folders)), "")
