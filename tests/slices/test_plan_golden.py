"""Plans as golden files: one case each, so that a change of behaviour is read as a diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit import spec
from labkit.plan import plan
from labkit.plan.steps import ConfigureGuest, StopMachine
from labkit.plan_frame import PLAN_COLUMNS, plan_frame
from labkit.promise import promise
from slice_worlds import allocated, observed_from_dict

FOLDER = Path(__file__).parent.parent / "golden" / "plan"
CASES = sorted(FOLDER.glob("*.json"))


def steps_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The plan for `wish`, when `before` was promised and `observed` is there."""
    seen = observed_from_dict(case["observed"])
    kept = allocated(spec.from_dict(case["before"])) if case["before"] else None
    wish = spec.from_dict(case["wish"])
    found = plan(promise(wish, allocated(wish, kept, seen)), seen)
    steps = []
    for step in found.steps:
        row: dict[str, Any] = {"action": step.action, "kind": step.kind, "name": step.name}
        row |= {"reason": step.reason}
        if step.touches:
            row["touches"] = list(step.touches)
        if isinstance(step, ConfigureGuest):
            row["parts"] = " ".join(step.parts)
        if isinstance(step, StopMachine):
            row["how"] = step.how
        steps.append(row)
    return steps


def in_lines(case: dict[str, Any]) -> str:
    """A case as JSON with one step, machine or link in a line."""
    parts = []
    for key, value in case.items():
        if key == "observed":
            inner = ",\n".join(f"  {json.dumps(k)}: {_rows(v, '   ')}" for k, v in value.items())
            parts.append(f' "{key}": {{\n{inner}\n }}')
        else:
            parts.append(f" {json.dumps(key)}: {_rows(value, '  ')}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rows(value: object, indent: str) -> str:
    if isinstance(value, list) and value:
        rows = ",\n".join(indent + json.dumps(row, ensure_ascii=False) for row in value)
        return f"[\n{rows}\n{indent[:-1]}]"
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_the_plan_is_the_golden_one(file: Path, pytestconfig: pytest.Config) -> None:
    case = json.loads(file.read_text())
    steps = steps_of(case)
    if pytestconfig.getoption("--update-golden"):
        file.write_text(in_lines({**case, "steps": steps}))
    else:
        assert steps == case["steps"], case["about"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


def test_a_plan_is_a_table_also_when_empty() -> None:
    case = json.loads((FOLDER / "memory_changed.json").read_text())
    seen = observed_from_dict(case["observed"])
    wish = spec.from_dict(case["wish"])
    before = allocated(spec.from_dict(case["before"]))
    found = plan_frame(plan(promise(wish, allocated(wish, before, seen)), seen))
    assert list(found["name"]) == [step["name"] for step in case["steps"]]
    assert found["touches"].iloc[0] == "h1-r, r-h2"
    empty = plan_frame(plan(promise(wish, allocated(wish)), seen)).head(0)
    assert list(empty.columns) == list(PLAN_COLUMNS)
    assert {str(kind) for kind in empty.dtypes} == {"string"}
