"""How long a plan will take, from how long its steps took here before. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from labkit.plan import Plan


def expected_seconds(plan: Plan, usual: Mapping[str, float]) -> float | None:
    """The longest chain of steps that wait for one another; None when one was never done here."""
    if any(step.kind not in usual for step in plan.steps):
        return None
    ends: list[float] = []
    for step, before in zip(plan.steps, plan.after, strict=True):
        ends.append(max((ends[number] for number in before), default=0.0) + usual[step.kind])
    return max(ends, default=0.0)
