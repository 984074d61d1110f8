"""What is labkit's on a host: found by folder, mark and uuid, never by a name; and removed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labkit import steward
from labkit.engines import looking
from labkit.engines.engine import OUT_OF_REACH, Belonging
from labkit.errors import MachineStuck
from labkit.machines import Machines

if TYPE_CHECKING:
    from labkit.engines.hosts import HostsEngine

RUN_FOLDER, DISK, MACHINE = "run folder", "disk", "machine"
GROWN_UP = 60.0  # seconds; a younger folder may be of a slice that is made right now


def find_belongings(engine: HostsEngine, host: str) -> list[Belonging]:
    """Those on one host; none are known of one that is out of reach."""
    try:
        health = engine.health(host)
        folders = engine.survey_host(host, None)["slices"]
        facts = engine.disks().look(host)
    except OUT_OF_REACH:
        return []
    found = [_folder(host, one, health["ages"]) for one in folders]
    for overlay in facts.overlays:
        mark = overlay.mark or {}
        owner = mark.get(looking.SLICE_MARK)
        if owner is not None:  # others are of a `DeploymentAPI`, which keeps no store
            detail = f"the disk of {mark.get('vm')} of slice {mark.get('slice')}"
            path = posixpath.join(facts.base_dir, overlay.file)
            found.append(Belonging(host, DISK, path, owner, detail, stores=_stores([mark])))
    return [*found, *_strays(host, health["strays"])]


def _folder(host: str, facts: dict[str, Any], ages: dict[str, float]) -> Belonging:
    alive = [one["name"] for one in facts["machines"] if one["pid"] is not None]
    parts = [
        f"running: {', '.join(alive)}" if alive else "no machine runs",
        *(["its steward runs"] if facts["steward"] is not None else []),
        *([f"strange files: {', '.join(facts['strange'])}"] if facts["strange"] else []),
    ]
    young = ages.get(facts["key"], 0.0) < GROWN_UP
    detail = f"{facts['folder']} ({'; '.join(parts)})"
    stores = _stores(one["about"] for one in facts["machines"])
    return Belonging(host, RUN_FOLDER, facts["key"], facts["key"], detail, young, stores)


def _stores(marks: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The stores that marks name; older labkits and other hands named none."""
    found = (mark.get(looking.STORE) for mark in marks)
    return tuple(dict.fromkeys(store for store in found if store and isinstance(store, str)))


def _strays(host: str, strays: list[dict[str, Any]]) -> Iterator[Belonging]:
    """A steward without a folder ends by itself once no machine of it runs."""
    for one in strays:
        if one["kind"] == "machine":
            detail = f"process {one['pid']}, whose folder {one['folder']} was removed under it"
            yield Belonging(host, MACHINE, one["uuid"], "", detail)


def remove_belonging(engine: HostsEngine, belonging: Belonging) -> None:
    """End and remove it, as what it is."""
    if belonging.kind == DISK:
        engine.disks().delete_overlays(belonging.host, [belonging.name])
    elif belonging.kind == MACHINE:
        left = engine.health(belonging.host, end=[belonging.name])["strays"]
        if any(one["uuid"] == belonging.name for one in left):
            raise MachineStuck(
                f"cannot end machine {belonging.name} on {belonging.host}",
                why=f"{belonging.detail}, does not end when it is told to",
                fix="End that process there yourself.",
            )
    else:
        _remove_folder(engine, belonging.host, belonging.name)


def _remove_folder(engine: HostsEngine, host: str, key: str) -> None:
    """By its steward, which proves by pidfile and uuid what it ends."""
    found = engine.survey_host(host, [key])["slices"]
    if not found:
        return
    for name in found[0]["strange"]:
        path = posixpath.join(found[0]["folder"], name)
        engine.executor.run(host, ("rm", "-rf", "--", path)).check()
    with steward.ensure(engine.executor, host, key) as served:
        machines = Machines(served, engine.executor)
        for state in machines.list():
            machine = machines.get(state.index)
            if state.is_running:
                machine.power_off()
            machine.forget()
        served.quit(forget=True)
