"""labkit stays light: at most 15 distributions beyond what Jupyter brings."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

JUPYTER = ("jupyterlab", "ipywidgets", "ipykernel")
MOST = 15


def closure(*names: str) -> set[str]:
    """All distributions that installing these brings, without extras."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        environments = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found.add(key)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or any(map(needed.marker.evaluate, environments)):
                waiting.append(needed)
    return {key.split("[")[0] for key in found}


def test_few_dependencies_beyond_jupyter() -> None:
    beyond = closure("labkit[notebook]") - closure(*JUPYTER) - {"labkit"}
    assert len(beyond) <= MOST, sorted(beyond)


def test_labkit_alone_needs_no_jupyter() -> None:
    assert not closure("labkit") & {"jupyterlab", "ipywidgets", "ipykernel", "ipython"}
