"""The steps that end, start and change machines, their disks and their interfaces."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from labkit import rules
from labkit.observed import PAUSED, RUNNING
from labkit.plan.steps import (
    DeleteOverlay,
    ForgetMachine,
    GrowOverlay,
    MakeOverlay,
    PlugNic,
    ResumeMachine,
    StartMachine,
    Step,
    StopMachine,
    UnplugNic,
)
from labkit.plan.view import GONE, View
from labkit.promise import MachineSpec, NicSpec


def end_machines(view: View) -> Iterator[Step]:
    for index, reason in view.ends.items():
        seen = view.machines[index]
        spec = view.wanted.get(index)
        comes_back = spec is not None and spec.uuid == seen.uuid
        has_state = comes_back and bool(seen.overlay) and seen.state == RUNNING
        if seen.is_alive:
            yield StopMachine(
                host=view.host,
                name=seen.name,
                reason=reason,
                action="~" if comes_back else "-",
                touches=tuple(view.touched[index]),
                index=index,
                uuid=seen.uuid,
                how="shutdown" if has_state else "off",
            )
        yield ForgetMachine(
            host=view.host,
            name=seen.name,
            reason=reason,
            action="~" if comes_back else "-",
            index=index,
            uuid=seen.uuid,
        )


def start_machines(view: View) -> Iterator[Step]:
    for index, spec in view.wanted.items():
        seen = view.machines.get(index)
        if seen is not None and index not in view.ends:
            continue
        again = seen is not None and seen.uuid == spec.uuid
        yield StartMachine(
            host=view.host,
            name=spec.name,
            reason=view.ends[index] if again else "it is new",
            action="~" if again else "+",
            index=index,
            uuid=spec.uuid,
            machine=spec,
            guest=view.guests[index],
        )


def disks(view: View) -> Iterator[Step]:
    users = {one.overlay: one for one in view.machines.values() if one.overlay}
    wanted = {s.overlay: s for s in view.wanted.values() if s.disk_gb is not None}
    for name, disk in view.overlays.items():
        spec, user = wanted.get(name), users.get(name)
        if spec is None or disk.image != posixpath.basename(spec.image):
            reason = GONE
            if spec is not None:
                new = posixpath.basename(spec.image)
                reason = f"image {disk.image} -> {new}; what is on the disk is lost"
            yield DeleteOverlay(
                host=view.host,
                name=spec.name if spec else user.name if user else name,
                reason=reason,
                action="-",
                overlay=name,
                index=user.index if user else None,
            )
    for spec in wanted.values():
        yield from _disk(view, spec)


def _disk(view: View, spec: MachineSpec) -> Iterator[Step]:
    disk = view.overlays.get(spec.overlay)
    size = spec.disk_gb or 0.0
    fits = disk is not None and disk.image == posixpath.basename(spec.image)
    if disk is None or not fits:
        image = posixpath.basename(spec.image)
        reason = "disk missing" if disk is None else f"image {disk.image} -> {image}"
        yield MakeOverlay(
            host=view.host,
            name=spec.name,
            reason=reason,
            overlay=spec.overlay,
            index=spec.index,
            image=spec.image,
            disk_gb=size,
        )
    elif disk.size < rules.disk_bytes(size):
        yield GrowOverlay(
            host=view.host,
            name=spec.name,
            reason=f"{disk.size / rules.GIB:g} GB -> {size:g} GB",
            action="~",
            overlay=spec.overlay,
            index=spec.index,
            disk_gb=size,
        )


def unplug(view: View) -> Iterator[Step]:
    for spec, seen in view.kept():
        wanted = {nic.name: nic for nic in spec.nics}
        for nic in seen.nics:
            if wanted.get(nic.name) != nic:
                yield UnplugNic(
                    host=view.host,
                    name=spec.name,
                    reason=_why_nic(nic, wanted.get(nic.name)),
                    action="~" if nic.name in wanted else "-",
                    touches=view.links_of(seen, nic),
                    index=seen.index,
                    uuid=seen.uuid,
                    nic=nic,
                )


def plug(view: View) -> Iterator[Step]:
    for spec, seen in view.kept():
        if seen.state == PAUSED:
            yield ResumeMachine(
                host=view.host,
                name=spec.name,
                reason="it is paused",
                action="~",
                index=spec.index,
                uuid=spec.uuid,
            )
        there = {nic.name: nic for nic in seen.nics}
        for nic in spec.nics:
            if there.get(nic.name) != nic:
                yield PlugNic(
                    host=view.host,
                    name=spec.name,
                    reason=_why_nic(there.get(nic.name), nic),
                    action="~" if nic.name in there else "+",
                    index=spec.index,
                    uuid=spec.uuid,
                    nic=nic,
                )


def _why_nic(old: NicSpec | None, new: NicSpec | None) -> str:
    """Why an interface is plugged or unplugged."""
    if old is None and new is not None:
        return f"{new.name} is new"
    if old is None or new is None:
        return GONE
    if old.mac != new.mac:
        return f"MAC {old.mac} -> {new.mac}"
    return f"internet {old.internet or 'off'} -> {new.internet or 'off'}"
