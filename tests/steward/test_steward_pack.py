"""The steward's zip file: the same bytes every time, for every Python from 3.8 on."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from labkit.remote import pack, start

LOAD = "import sys; sys.path.insert(0, sys.argv[1]); import steward.__main__"


def test_the_same_sources_give_the_same_bytes() -> None:
    environment = {**os.environ, "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7"}
    program = "from labkit.remote import pack; print(pack.steward_build())"
    again = subprocess.run(
        (sys.executable, "-c", program), env=environment, capture_output=True, check=True
    )
    assert again.stdout.decode().strip() == pack.steward_build()
    assert pack.steward_build() == hashlib.sha256(pack.steward()).hexdigest()


def test_it_is_plain_python_of_3_8_and_its_standard_library() -> None:
    with zipfile.ZipFile(io.BytesIO(pack.steward())) as archive:
        for name in archive.namelist():
            tree = ast.parse(archive.read(name), feature_version=(3, 8))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    first = (node.module or "").split(".")[0]
                    assert first in sys.stdlib_module_names or name == "__main__.py"
                elif isinstance(node, ast.Import):
                    assert all(one.name in sys.stdlib_module_names for one in node.names)


def other_pythons() -> list[str]:
    """Those of this machine that work, this one always among them."""
    names = (shutil.which(f"python3.{minor}") for minor in range(8, 15))
    works = [
        name
        for name in names
        if name and subprocess.run((name, "-c", ""), capture_output=True).returncode == 0
    ]
    return [sys.executable, *works]


@pytest.mark.parametrize("python", other_pythons())
def test_other_pythons_can_load_it(python: str, tmp_path: Path) -> None:
    path = tmp_path / "steward.pyz"
    path.write_bytes(pack.steward())
    loaded = subprocess.run((python, "-IS", "-c", LOAD, str(path)), capture_output=True)
    assert (loaded.returncode, loaded.stderr) == (0, b"")


def test_on_a_host_it_is_not_compiled_by_each_steward(tmp_path: Path) -> None:
    """Compiling would cost the process memory that it never gives back."""
    whole, bare = tmp_path / "steward.pyz", tmp_path / "bytecode.pyz"
    whole.write_bytes(start.with_bytecode(pack.steward(), str(whole)))
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(bare, "w") as rest:
        for name in archive.namelist():
            if not name.endswith(".py"):
                rest.writestr(name, archive.read(name))
    for python, path in [(sys.executable, bare), *((one, whole) for one in other_pythons())]:
        loaded = subprocess.run((python, "-IS", "-c", LOAD, str(path)), capture_output=True)
        assert (python, loaded.returncode, loaded.stderr) == (python, 0, b"")
