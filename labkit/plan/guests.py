"""The steps that make the settings inside guests."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.observed import ObservedMachine
from labkit.plan.steps import ConfigureGuest, Step
from labkit.plan.view import View
from labkit.promise import NOTHING, PARTS, GuestSpec


def configure(view: View) -> Iterator[Step]:
    """Settings of machines that start, and those that differ in machines that stay.

    Systems without labkit's agent take theirs when they start.
    """
    for index, spec in view.wanted.items():
        if not spec.agent:
            continue
        guest = view.guests[index]
        seen = view.machines.get(index)
        stays = seen is not None and index not in view.ends
        done = _done(seen) if seen is not None and stays else None
        parts = _parts(guest, done or {})
        if not parts:
            continue
        if not stays:
            reason = "it starts again" if seen and seen.uuid == spec.uuid else "it is new"
        elif done is None:
            reason = "its system has none since it started"
        else:
            reason = f"{', '.join(parts)} changed"
        yield ConfigureGuest(
            host=view.host,
            name=spec.name,
            reason=reason,
            action="~" if stays and done is not None else "+",
            index=index,
            uuid=spec.uuid,
            guest=guest,
            parts=parts,
        )


def _done(seen: ObservedMachine) -> dict[str, str] | None:
    """The marks of the settings this boot has; None when it has taken none at all."""
    if seen.configured is None or seen.configured.boot_id != seen.boot_id:
        return None
    return dict(seen.configured.marks)


def _parts(guest: GuestSpec, done: dict[str, str]) -> tuple[str, ...]:
    marks = dict(guest.marks)
    parts = {part for part in PARTS if marks[part] != done.get(part, NOTHING)}
    if "addresses" in parts and marks["routes"]:
        parts.add("routes")  # the kernel drops routes together with the addresses they lean on
    return tuple(part for part in PARTS if part in parts)
