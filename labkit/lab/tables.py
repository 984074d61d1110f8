"""Slices as tables: VMs, links, interfaces, events, runs on many VMs. Plain DataFrames, always."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from labkit.allocate import Allocation
from labkit.errors import LabkitError
from labkit.events import Event
from labkit.executor import Result
from labkit.frames import frame
from labkit.observed import Observed, ObservedLink
from labkit.wish import Slice, VMWish, data_interfaces

VMS_COLUMNS = {
    "name": "string",
    "state": "string",
    "host": "string",
    "flavor": "string",
    "cores": "int64",
    "memory_mb": "int64",
    "interfaces": "int64",
    "addresses": "string",
    "internet": "string",
    "vm_id": "Int64",
    "image": "string",
}
LINKS_COLUMNS = {
    "name": "string",
    "state": "string",
    "ends": "string",
    "impairments": "string",
    "vlan": "Int64",
    "link_id": "Int64",
}
INTERFACES_COLUMNS = {
    "vm": "string",
    "interface": "string",
    "mac": "string",
    "addresses": "string",
    "link": "string",
}
EVENTS_COLUMNS = {
    "time": "datetime64[us, UTC]",
    "event": "string",
    "subject": "string",
    "host": "string",
    "detail": "string",
}
RUNS_COLUMNS = {
    "vm": "string",
    "returncode": "Int64",
    "stdout": "string",
    "stderr": "string",
    "seconds": "float64",
    "error": "string",
}
SLICES_COLUMNS = {
    "name": "string",
    "vms": "int64",
    "links": "int64",
    "held": "int64",
    "key": "string",
}
DOCTOR_COLUMNS = {
    "host": "string",
    "check": "string",
    "state": "string",
    "detail": "string",
    "fix": "string",
}
ABSENT, UNKNOWN, LEAVING = "absent", "unknown", "leaving"


def vm_states(wish: Slice, allocation: Allocation, seen: Observed | None) -> dict[str, str]:
    """The state of each VM of the wish: that of its machine, ``absent`` or ``unknown``."""
    places = {vm.name: vm for vm in allocation.vms}
    machines = {one.uuid: one for one in seen.machines} if seen else {}
    states = {}
    for vm in wish.vms:
        place = places.get(vm.name)
        machine = machines.get(place.uuid) if place else None
        if place is not None and (seen is None or place.host in seen.unreachable):
            states[vm.name] = UNKNOWN
        else:
            states[vm.name] = machine.state if machine else ABSENT
    return states


def vms_table(wish: Slice, allocation: Allocation, seen: Observed | None) -> pd.DataFrame:
    """One row per VM of the wish.

    ``state`` is ``absent`` (not deployed), ``running``, ``paused``, ``panicked``, ``off`` or
    ``unknown`` (its host was not reached); ``memory_mb`` counts 2^20 bytes; ``interfaces`` counts
    eth1 to ethN; ``addresses`` are those wished, as ``eth1=10.0.1.1/24`` with spaces; ``internet``
    is the address of eth0 there, missing where it has none; ``vm_id`` is missing until deployed.
    """
    states = vm_states(wish, allocation, seen)
    places = {vm.name: vm for vm in allocation.vms}
    rows = []
    for vm in wish.vms:
        place = places.get(vm.name)
        size = vm.size
        rows.append(
            {
                "name": vm.name,
                "state": states[vm.name],
                "host": place.host if place else pd.NA,
                "flavor": vm.flavor,
                "cores": size.cores,
                "memory_mb": size.memory_mb,
                "interfaces": vm.interfaces,
                "addresses": " ".join(f"{name}={address}" for name, address in vm.addresses),
                "internet": (place.address if place and vm.internet else None) or pd.NA,
                "vm_id": place.vm_id if place else pd.NA,
                "image": size.image,
            }
        )
    return frame(rows, VMS_COLUMNS)


def link_state(wished_up: bool, seen: ObservedLink | None) -> str:  # noqa: FBT001 - a fact
    """``absent``, ``up``, ``down`` or ``disconnected`` (a machine behind it is missing)."""
    if seen is None:
        return ABSENT
    if not seen.up:
        return "down"
    return "up" if len(seen.connected) == len(seen.ports) else "disconnected"


def link_states(wish: Slice, seen: Observed | None) -> dict[str, str]:
    """The state of each link of the wish."""
    there = {one.name: one for one in seen.links} if seen else {}
    return {link.name: link_state(link.up, there.get(link.name)) for link in wish.links}


def links_table(wish: Slice, allocation: Allocation, seen: Observed | None) -> pd.DataFrame:
    """One row per link of the wish.

    ``state`` as `link_state` says; ``ends`` with `` - `` between them; ``impairments`` in words,
    per end where they differ; ``vlan`` and ``link_id`` are missing until deployed.
    """
    numbers = {link.name: link for link in allocation.links}
    states = link_states(wish, seen)
    rows = []
    for link in wish.links:
        number = numbers.get(link.name)
        rows.append(
            {
                "name": link.name,
                "state": states[link.name],
                "ends": " - ".join(link.ends),
                "impairments": impairment_words(link.impairments, len(link.ends)),
                "vlan": number.vlan if number else pd.NA,
                "link_id": number.link_id if number else pd.NA,
            }
        )
    return frame(rows, LINKS_COLUMNS)


def impairment_words(impairments: Sequence[tuple[str, Any]], ends: int) -> str:
    """Impairments in words: once where all ends have the same."""
    texts = [
        (end, ", ".join(f"{k} {v}" for k, v in one.texts().items())) for end, one in impairments
    ]
    if len({text for _, text in texts}) == 1 and len(texts) == ends:
        return texts[0][1]
    return "; ".join(f"{end} sends: {text}" for end, text in texts)


def interfaces_table(wish: Slice, allocation: Allocation) -> pd.DataFrame:
    """One row per interface of each VM; ``mac`` is missing until deployed."""
    places = {vm.name: vm for vm in allocation.vms}
    on = {end: link.name for link in wish.links for end in link.ends}
    rows = []
    for vm in wish.vms:
        place = places.get(vm.name)
        macs = place.macs(1 + vm.interfaces) if place else []
        for number, name in enumerate(("eth0", *data_interfaces(vm.interfaces))):
            rows.append(
                {
                    "vm": vm.name,
                    "interface": name,
                    "mac": macs[number] if macs else pd.NA,
                    "addresses": " ".join(_addresses(vm, name, place.address if place else None)),
                    "link": on.get(f"{vm.name}:{name}", pd.NA),
                }
            )
    return frame(rows, INTERFACES_COLUMNS)


def _addresses(vm: VMWish, interface: str, internet: str | None) -> Iterable[str]:
    if interface == "eth0" and vm.internet and internet:
        return [f"{internet}/24"]
    return vm.addresses_of(interface)


def joined_table(each: Mapping[str, pd.DataFrame], columns: Mapping[str, str]) -> pd.DataFrame:
    """Tables of slices, by their names, as one with the column ``slice`` before the others."""
    empty = frame([], {"slice": "string", **columns})
    parts = [part.assign(slice=name).astype({"slice": "string"}) for name, part in each.items()]
    filled = [part[empty.columns] for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else empty


def events_table(told: Iterable[tuple[float, Event]]) -> pd.DataFrame:
    """One row per event, oldest first: ``time``, ``event`` (its kind in words), ``subject`` (VM,
    link, image …), ``host``, ``detail``."""
    return frame(
        (
            {
                "time": datetime.fromtimestamp(when, UTC),
                "event": event_words(event),
                "subject": event.subject,
                "host": event.host,
                "detail": event_detail(event),
            }
            for when, event in told
        ),
        EVENTS_COLUMNS,
    )


def event_words(event: Event) -> str:
    """``StepDone`` as ``step done``."""
    name = type(event).__name__
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def event_detail(event: Event) -> str:
    """Its other facts as ``name value`` with commas."""
    words = []
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if field.name not in ("host", "subject") and value not in ("", None):
            shown = f"{value:.2f}" if isinstance(value, float) else str(value)
            words.append(f"{field.name} {shown}")
    return ", ".join(words)


def runs_table(results: Mapping[str, Result | LabkitError]) -> pd.DataFrame:
    """One row per VM: how a command ended there; ``error`` where it has no status."""
    rows = []
    for vm, result in results.items():
        if isinstance(result, Result):
            rows.append(
                {
                    "vm": vm,
                    "returncode": result.returncode,
                    "stdout": result.text,
                    "stderr": result.error_text,
                    "seconds": result.seconds,
                    "error": pd.NA,
                }
            )
        else:
            rows.append({"vm": vm, "seconds": float("nan"), "error": str(result)})
    return frame(rows, RUNS_COLUMNS)
