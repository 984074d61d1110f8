"""The worker programs' text is complete in itself and fit for the Python of old workers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

import pytest

from labkit import remote


@pytest.mark.parametrize("name", remote.PROGRAMS)
def test_it_is_python_3_8_and_needs_only_the_standard_library(name: str) -> None:
    tree = ast.parse(remote.source(name), feature_version=(3, 8))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {module.partition(".")[0] for module in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", remote.PROGRAMS)
def test_no_name_of_one_part_hides_that_of_another(name: str) -> None:
    defined = Counter(
        target
        for node in ast.parse(remote.source(name)).body
        for target in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [item.id for item in getattr(node, "targets", []) if isinstance(item, ast.Name)]
        )
    )
    assert [target for target, times in defined.items() if times > 1] == []


@pytest.mark.parametrize("name", remote.PROGRAMS)
def test_it_starts_and_fits_into_one_argument(name: str) -> None:
    text = remote.source(name)
    assert len(text) < 100_000  # the kernel's limit is 128 KiB
    started = subprocess.run(
        [sys.executable, *remote.program(name)[1:]], input=b"", capture_output=True
    )
    assert started.returncode == 1
    assert b"SyntaxError" not in started.stderr
    assert b"NameError" not in started.stderr


def test_a_program_is_recognized() -> None:
    for name in remote.PROGRAMS:
        assert remote.name_of(remote.program(name, "argument")) == name
    assert remote.name_of(("python3", "-c", "pass")) is None
    assert remote.name_of(("python3", "-IS", "-c", "pass")) is None
