"""A plan as a table: what is made, changed and removed, why, and what else it touches."""

from __future__ import annotations

import pandas as pd

from labkit.frames import report
from labkit.plan import Plan

PLAN_COLUMNS = {
    "action": "string",
    "kind": "string",
    "name": "string",
    "reason": "string",
    "touches": "string",
    "host": "string",
}


def plan_frame(plan: Plan) -> pd.DataFrame:
    """One row per step, in the order of the plan; right also when there is nothing to do.

    ``action`` is ``+`` (made), ``~`` (changed) or ``-`` (removed); ``kind`` and ``name`` say what
    is done to what; ``reason`` says why; ``touches`` are the links that suffer, with commas.
    """
    rows = (
        {
            "action": step.action,
            "kind": step.kind,
            "name": step.name,
            "reason": step.reason,
            "touches": ", ".join(step.touches),
            "host": step.host,
        }
        for step in plan.steps
    )
    return report(rows, PLAN_COLUMNS, nothing="There is nothing to do.")
