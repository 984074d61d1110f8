"""What Binder does with the files of binder/, as it does it: a plain user, 2 GB, no KVM."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.archives import unpack

ROOT = Path(__file__).parents[2]
MINUTES = 60
NOBODY = 65534
POD_MEMORY = 2 << 30
GROUPS = Path("/sys/fs/cgroup")
PYTHON = "/usr/bin/python3"  # one that every user may run


class Pod:
    """A folder, a user and a limit of memory for a visitor."""

    def __init__(self, home: Path, group: Path) -> None:
        self.home = home
        self.source = home / "source"
        self._group = group
        keep = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
        path = f"{home}/venv/bin:/usr/local/bin:/usr/bin:/bin"
        self.environment = {**keep, "PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}

    def run(self, *command: str) -> str:
        """Run a command in it; its output, when it ends well."""
        enter = f'echo $$ > {self._group}/cgroup.procs && exec "$@"'
        user = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"]
        done = subprocess.run(
            ["sh", "-c", enter, "sh", "setpriv", *user, *command],
            cwd=self.source,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    @property
    def most_memory(self) -> int:
        """The most bytes that everything in it had at once."""
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            if (self._group / name).exists():
                return int((self._group / name).read_text())
        raise AssertionError(f"{self._group} tells no peak")


@pytest.fixture
def pod() -> Iterator[Pod]:
    assert os.getuid() == 0, "only root can make a pod"
    home = Path(tempfile.mkdtemp(prefix="labkit-pod-"))
    base = GROUPS / "memory" if (GROUPS / "memory").is_dir() else GROUPS
    group = base / home.name
    group.mkdir()
    limit = "memory.limit_in_bytes" if base != GROUPS else "memory.max"
    (group / limit).write_text(str(POD_MEMORY))
    _clean_copy(home / "source")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", home], check=True)
    try:
        yield Pod(home, group)
    finally:
        shutil.rmtree(home)
        group.rmdir()


@pytest.mark.slow
@pytest.mark.vm
@pytest.mark.timeout(20 * MINUTES)
def test_the_notebooks_run_real_labs_in_a_pod_of_exactly_these_files(pod: Pod) -> None:
    pod.run(PYTHON, "-m", "venv", str(pod.home / "venv"))
    pod.run("pip", "install", "--quiet", "-r", "binder/requirements.txt")
    pod.run("pip", "check")
    pod.run("binder/postBuild")
    notebooks = sorted(str(path.relative_to(pod.source)) for path in pod.source.glob("notebooks/*"))
    assert len(notebooks) >= 6
    pod.run("binder/start", "jupyter", "execute", "--timeout=120", *notebooks)
    assert pod.run("labkit", "ls", "--json").strip() == "[]"
    assert pod.most_memory < POD_MEMORY


def _clean_copy(source: Path) -> None:
    """The committed files and nothing else, as Binder would fetch them."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        subprocess.run(["git", "archive", "-o", archive.name, "HEAD"], cwd=ROOT, check=True)
        with tarfile.open(archive.name) as tar:
            unpack(tar, source)
