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
    ResumeMachine,
    SetInternet,
    StartMachine,
    Step,
    StopMachine,
)
from labkit.plan.view import GONE, View
from labkit.promise import MachineSpec


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
                why = f"image {disk.image} -> {new}" if disk.image else "it cannot be read"
                reason = f"{why}; what is on the disk is lost"
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


def change_running(view: View) -> Iterator[Step]:
    """What is done to machines that stay: going on, and the way to the internet."""
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
        old, new = seen.internet, spec.internet
        if old != new:
            yield SetInternet(
                host=view.host,
                name=spec.name,
                reason=f"internet {old or 'off'} -> {new or 'off'}",
                action="~",
                index=spec.index,
                uuid=spec.uuid,
                address=new,
            )
