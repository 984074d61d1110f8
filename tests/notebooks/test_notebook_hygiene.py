"""The notebooks as saved: readable without a kernel, and the same whoever saved them."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What the stories themselves speak of; every other absolute path is one of a machine.
OWN_PATHS = ("/tmp/vm_images/", "/srv/images/", "/home/ubuntu/", "/root#")
PATH = re.compile(r"(?<![\w~.:/<])/(?:home|root|tmp|usr|opt|work|var|srv|mnt|etc|Users)\b[\w./-]*")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


@pytest.fixture
def notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in code(notebook) for output in cell.outputs]


def test_the_tutorials_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_quickstart",
        "02_forms",
        "03_deployment_api",
        "04_when_things_fail",
        "05_first_network",
        "06_packets",
        "07_shell_and_screen",
        "08_teach_live",
    ]


def test_it_is_valid_and_of_a_format_with_stable_ids(path: Path, notebook: Any) -> None:
    raw = json.loads(path.read_text())
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    nbformat.validate(raw)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_it_runs_on_any_kernel_called_python3(notebook: Any) -> None:
    assert dict(notebook.metadata) == {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }


def test_it_was_saved_after_running_once_from_top_to_bottom(notebook: Any) -> None:
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]


def test_every_output_can_be_read_without_a_kernel(notebook: Any) -> None:
    for output in outputs(notebook):
        if output.output_type in ("execute_result", "display_data"):
            assert "text/plain" in output.data
            assert not [kind for kind in output.data if "widget" in kind]


def test_nothing_of_the_machine_it_was_saved_on_is_in_it(path: Path, notebook: Any) -> None:
    text = json.dumps(outputs(notebook), ensure_ascii=False)
    found = [match for match in PATH.findall(text) if not match.startswith(OWN_PATHS)]
    assert not found
    for word in {str(FOLDER.parent), str(Path.home()), socket.gethostname()}:
        assert len(word) < 6 or word not in text  # shorter ones are words of the stories too
    user = getpass.getuser()
    assert not re.search(rf"owner\W{{1,6}}{re.escape(user)}\b", text)


def test_it_is_a_story_of_small_steps(notebook: Any) -> None:
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.source.startswith("# ")
    assert last.cell_type == "markdown"
    assert last.source.startswith("## What next")
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 15
        assert not re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert len(cell.source.split()) <= 130


def test_no_cell_is_skipped_in_tests(notebook: Any) -> None:
    for cell in code(notebook):
        assert "NBVAL" not in cell.source


def test_one_line_decides_where_it_happens(notebook: Any) -> None:
    lines = [line for cell in code(notebook) for line in cell.source.splitlines()]
    chosen = [line for line in lines if "Executor" in line or "Lab(" in line]
    places = ['executor, worker = labkit.SimulatedExecutor(), "10.0.10.1"', "lab = labkit.Lab()"]
    assert len(chosen) == 1
    assert chosen[0] in places


def test_links_lead_somewhere(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)", cell.source):
                assert target.startswith("https://") or (FOLDER / target).exists(), target
