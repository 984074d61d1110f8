"""What is wrong with a lab, and what of it can be put right."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labkit.check_states import BAD, NOTE, OK
from labkit.engines import Belonging, Check, Engine
from labkit.errors import UsageError
from labkit.events import Listener
from labkit.frames import report
from labkit.lab.converging import slice_id
from labkit.lab.tables import DOCTOR_COLUMNS, vm_states
from labkit.markup import counted, counted_were
from labkit.observed import OFF, Observed
from labkit.store import Record, Store
from labkit.store.database import FILE as STORE_FILE

HERE = "here"  # where the store is, whatever hosts there are


def examine(engine: Engine, store: Store, tell: Listener) -> tuple[Check, ...]:
    """Hosts, store, slices and orphans."""
    checks = list(engine.checks(tell))
    names = store.names()
    checks.append(Check(HERE, "store", OK, f"{store.path}, {counted(len(names), 'slice')}"))
    for name in names:
        record = store.get(name)
        seen = engine.observe(slice_id(record), record.allocation)
        interrupted = len(store.intents(name, only_open=True))
        checks += slice_checks(
            record, seen, interrupted, Advice(name, in_python=not engine.is_real)
        )
    for stranger in find_strangers(engine, store):
        elsewhere = is_elsewhere(stranger, store)
        checks.append(elsewhere_check(stranger) if elsewhere else orphan_check(stranger))
    return tuple(checks)


def find_strangers(engine: Engine, store: Store) -> tuple[Belonging, ...]:
    """What is on the hosts and of no slice in the store.

    What is found is compared with the store as it is after the look: a slice is saved before
    anything of it is made.
    """
    every = engine.belongings()
    owners = known_owners(store)
    return tuple(stranger for stranger in every if stranger.owner not in owners)


def find_orphans(engine: Engine, store: Store) -> tuple[Belonging, ...]:
    """Strangers that are of no other store either."""
    strangers = find_strangers(engine, store)
    return tuple(stranger for stranger in strangers if not is_elsewhere(stranger, store))


def is_elsewhere(belonging: Belonging, store: Store) -> bool:
    """Whether it is of a slice that is written down in another store, which is still there."""
    return any(_is_another(place, store) for place in belonging.stores)


def _is_another(place: str, store: Store) -> bool:
    """A store that cannot be looked at may be somebody's."""
    try:
        there = Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return not os.path.samestat(there, store.path.stat())


def known_owners(store: Store) -> set[str]:
    """The keys and the uuids of all slices."""
    records = [store.get(name) for name in store.names()]
    return {one for record in records for one in (record.key, record.allocation.uuid)}


def remove_orphan(engine: Engine, store: Store, orphan: Belonging) -> None:
    """Remove an orphan that still is one, and old enough to be no work that goes on."""
    if is_elsewhere(orphan, store):
        why, fix = f"it is of a slice in {_stores(orphan)}", _in_its_store(orphan)
    elif orphan.owner in known_owners(store):
        why, fix = "a slice has it by now", "Look again in a minute."
    elif orphan.young:
        why, fix = "it is too young to be sure that it is nobody's", "Look again in a minute."
    else:
        engine.remove(orphan)
        return
    raise UsageError(f"{orphan.kind} {orphan.name} is not removed", why=why, fix=fix)


@dataclass(frozen=True, slots=True)
class Advice:
    """How a slice is deployed and deleted: by commands, or in Python where they do not know it."""

    name: str
    in_python: bool

    @property
    def deploy(self) -> str:
        return "its .deploy()" if self.in_python else f"labkit up {self.name}"

    @property
    def delete(self) -> str:
        return "its .delete()" if self.in_python else f"labkit down {self.name}"


def slice_checks(
    record: Record, seen: Observed, interrupted: int, advice: Advice
) -> Iterator[Check]:
    """What is to be said of one slice, host by host."""
    states = vm_states(record.wish, record.allocation, seen)
    about = f"slice {record.name}"
    again = f"Go on with it: {advice.deploy}; or forget it: {advice.delete}"
    hosts = sorted({vm.host for vm in record.allocation.everyone} | seen.folders) or [HERE]
    for host in hosts:
        if host in seen.unreachable:
            yield Check(host, about, BAD, "the host cannot be reached", "What is there stays.")
            continue
        mine = [vm for vm in record.allocation.everyone if vm.host == host]
        there = {machine.uuid: machine for machine in seen.machines if machine.host == host}
        lost = [vm.name for vm in mine if vm.uuid not in there]
        ended = [vm.name for vm in mine if vm.uuid in there and there[vm.uuid].state == OFF]
        running = sum(1 for vm in mine if states.get(vm.name) == "running")
        if lost:
            yield Check(host, about, BAD, f"promised and not there: {', '.join(lost)}", again)
        elif ended:
            yield Check(host, about, NOTE, f"ended: {', '.join(ended)}", again)
        elif mine:
            all_of_it = counted(len(mine), "VM")
            verb = "runs" if len(mine) == 1 else "run"
            yield Check(host, about, OK, f"{running} of {all_of_it} {verb}")
        else:
            yield Check(host, about, OK, "nothing of it is deployed")
        yield from _folder_checks(host, record, seen, advice, can_be_served=bool(there))
    if interrupted:
        goes = "goes" if interrupted == 1 else "go"
        detail = f"{counted_were(interrupted, 'step')} begun and not ended, or {goes} on"
        yield Check(HERE, about, NOTE, detail, f"Go on: {advice.deploy}")


def _folder_checks(
    host: str, record: Record, seen: Observed, advice: Advice, *, can_be_served: bool
) -> Iterator[Check]:
    about = f"slice {record.name}"
    if can_be_served and host not in seen.stewards:
        fix = "Any command on the slice starts it again."
        yield Check(host, about, NOTE, "its steward has ended, its machines live on", fix)
    strange = [one.name for one in seen.leftovers if one.host == host]
    if strange:
        detail = f"strange files in its run folder: {', '.join(strange)}"
        yield Check(host, about, NOTE, detail, f"Deploying it removes them: {advice.deploy}")


def orphan_check(orphan: Belonging) -> Check:
    """An orphan as a row."""
    detail = orphan_words(orphan)
    if orphan.young:
        fix = "It is young: another labkit may be at work. Look again in a minute."
        return Check(orphan.host, "orphan", NOTE, detail, fix)
    fix = "Remove it: labkit doctor --fix"
    if not orphan.stores:
        fix += "; unless it is of another LABKIT_DATA_DIR than this."
    return Check(orphan.host, "orphan", BAD, detail, fix)


def orphan_words(orphan: Belonging) -> str:
    """What it is, and whose it was where that is known."""
    lost = f"; its slice was in {_stores(orphan)}" if orphan.stores else ""
    return f"{orphan.kind} of no slice: {orphan.detail}{lost}"


def elsewhere_check(belonging: Belonging) -> Check:
    """What is of a slice in another store, as a row."""
    detail = f"{belonging.kind} of a slice in {_stores(belonging)}: {belonging.detail}"
    return Check(belonging.host, "other store", NOTE, detail, _in_its_store(belonging))


def _in_its_store(belonging: Belonging) -> str:
    folder, file = os.path.split(belonging.stores[-1])
    if file != STORE_FILE:
        return "See it in a program that uses that store."
    return f"See it there: LABKIT_DATA_DIR={shlex.quote(folder)} labkit ls"


def _stores(belonging: Belonging) -> str:
    return " and ".join(belonging.stores)


def checks_table(checks: Iterable[Check]) -> pd.DataFrame:
    """One row per check: ``host``, ``check``, ``state``, ``detail``, ``fix``."""
    columns = tuple(DOCTOR_COLUMNS)
    return report(
        ({column: getattr(check, column) for column in columns} for check in checks),
        DOCTOR_COLUMNS,
        nothing="Nothing was looked at.",
    )
