"""What Binder does with binder/, on this machine: install exactly that, and run the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINUTES = 60.0


@pytest.mark.slow
@pytest.mark.timeout(20 * MINUTES)
def test_the_notebooks_run_where_exactly_these_files_were_installed(tmp_path: Path) -> None:
    source = _clean_copy(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    environment |= {"PATH": f"{tmp_path}/venv/bin:{os.environ['PATH']}", "HOME": str(home)}

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"

    run("pip", "install", "--quiet", "-r", "binder/requirements.txt")
    run("pip", "check")
    run("binder/postBuild")
    notebooks = sorted(str(path.relative_to(source)) for path in source.glob("notebooks/*.ipynb"))
    assert len(notebooks) >= 4
    run("binder/start", "jupyter", "execute", "--timeout=60", *notebooks)


def _clean_copy(folder: Path) -> Path:
    """The committed files and nothing else, as Binder would fetch them."""
    archive, source = folder / "source.tar", folder / "source"
    with archive.open("wb") as file:
        subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=file, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    return source
