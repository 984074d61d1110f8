"""Slices as plain types and back, for backups and for moving a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labkit import spec
from labkit.allocate import Allocation, LinkAllocation, VMAllocation
from labkit.errors import LabkitError, StoreTooNew, StoreUnreadable
from labkit.store.records import Record
from labkit.store.schema import VERSION
from labkit.wish import Slice

FORMAT = "labkit-store"


@dataclass(frozen=True, slots=True)
class Entry:
    """One exported slice."""

    key: str
    version: int
    wish: Slice
    allocation: Allocation


def to_dict(records: Sequence[Record]) -> dict[str, Any]:
    """Plain types only; what `from_dict` reads."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "slices": [
            {
                "key": record.key,
                "version": record.version,
                "wish": spec.to_dict(record.wish),
                "allocation": _plain(record.allocation),
            }
            for record in records
        ],
    }


def _plain(allocation: Allocation) -> dict[str, Any]:
    value = asdict(allocation)
    return {key: list(each) if isinstance(each, tuple) else each for key, each in value.items()}


def from_dict(exported: object) -> tuple[Entry, ...]:
    """The slices of an export, checked."""
    if not isinstance(exported, dict) or exported.get("format") != FORMAT:
        raise _unreadable("it is not an export of a labkit store")
    version = exported.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise StoreTooNew(
            f"the export is of version {version!r}",
            why=f"this labkit knows versions up to {VERSION}",
            fix="Use the newer labkit that wrote it; nothing was imported.",
        )
    try:
        return tuple(_entry(one) for one in exported["slices"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(f"a part is missing or of the wrong kind: {error!r}") from error
    except LabkitError as error:
        raise _unreadable(str(error)) from error


def _entry(value: dict[str, Any]) -> Entry:
    wish = spec.from_dict(value["wish"])
    held = value["allocation"]
    if held["slice"] != wish.name:
        raise _unreadable(f"slice {wish.name!r} has the allocation of {held['slice']!r}")
    allocation = Allocation(
        slice=held["slice"],
        uuid=held["uuid"],
        vms=tuple(VMAllocation(**vm) for vm in held["vms"]),
        leaving=tuple(VMAllocation(**vm) for vm in held["leaving"]),
        links=tuple(LinkAllocation(**link) for link in held["links"]),
        leaving_links=tuple(LinkAllocation(**link) for link in held["leaving_links"]),
        pools=tuple(held["pools"]),
    )
    return Entry(value["key"], value["version"], wish, allocation)


def _unreadable(why: str) -> StoreUnreadable:
    fix = "Take an unharmed export; nothing was imported."
    return StoreUnreadable("the export cannot be read", why=why, fix=fix)
