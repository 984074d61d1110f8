"""The steps that take machines away so that the next plan makes them anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from labkit.observed import Observed
from labkit.plan.steps import DeleteOverlay, ForgetMachine, Plan, Step, StopMachine
from labkit.promise import Promise

REASON = "it starts anew"


def take_away(promised: Promise, seen: Observed, names: Collection[str]) -> Plan:
    """End the machines of these VMs at once and delete their disks with all that is on them."""
    return Plan(tuple(_steps(promised, seen, names)))


def _steps(promised: Promise, seen: Observed, names: Collection[str]) -> Iterator[Step]:
    wanted = {spec.uuid: spec for spec in promised.machines if spec.name in names}
    for machine in seen.machines:
        spec = wanted.get(machine.uuid)
        if spec is None:
            continue
        place: dict[str, Any] = {
            "host": spec.host,
            "name": spec.name,
            "index": spec.index,
            "uuid": spec.uuid,
        }
        if machine.is_alive:
            touches = tuple(
                link.name
                for link in seen.links
                if any(port.machine == spec.index for port in link.ports)
            )
            yield StopMachine(**place, reason=REASON, action="~", touches=touches, how="off")
        yield ForgetMachine(**place, reason=REASON, action="~")
    disks = {(spec.host, spec.overlay): spec for spec in wanted.values()}
    for disk in seen.overlays:
        spec = disks.get((disk.host, disk.name))
        if spec is not None:
            yield DeleteOverlay(
                host=spec.host,
                name=spec.name,
                reason=REASON,
                action="-",
                overlay=disk.name,
                index=spec.index,
            )
