"""The Dockerfile that repo2docker makes of binder/: every file there has its step, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rendered without Docker and without the network, from the files of binder/ alone."""
    source = tmp_path_factory.mktemp("source")
    (source / "binder").symlink_to(BINDER)
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug"]
    identity = ["--user-id", "1000", "--user-name", "jovyan"]
    done = subprocess.run(
        [*command, *identity, "."], cwd=source, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_step_is_there_and_in_order(dockerfile: str) -> None:
    packages = " ".join((BINDER / "apt.txt").read_text().split())
    steps = [
        f"apt-get install --yes --no-install-recommends {packages}",
        "COPY --chown=1000:1000 src/ ${REPO_DIR}/",
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "RUN ./binder/postBuild",
        'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"',
    ]
    places = [dockerfile.find(step) for step in steps]
    assert -1 not in places, steps[places.index(-1)]
    assert places == sorted(places)


def test_the_real_disks_and_vms_have_their_programs() -> None:
    assert (BINDER / "apt.txt").read_text().split() == [
        "python-apt-common",
        "qemu-system-x86",
        "qemu-utils",
    ]


def test_labkit_itself_is_installed_and_every_other_version_is_pinned() -> None:
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    first, *rest = [line for line in lines if line and not line.startswith("#")]
    assert first == ".[notebook,plots]"
    assert rest
    assert all(line.count("==") == 1 for line in rest)


def test_the_python_is_one_that_labkit_supports() -> None:
    assert (BINDER / "runtime.txt").read_text() == "python-3.11\n"


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_run_and_stop_at_the_first_error(name: str) -> None:
    script = BINDER / name
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text


def test_start_hands_over_to_what_it_is_asked_to_run() -> None:
    done = subprocess.run(
        [BINDER / "start", "sh", "-c", 'echo "$0|$1"', "one two", "$three"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "one two|$three\n"
    assert (BINDER / "start").read_text().rstrip().endswith('exec "$@"')
