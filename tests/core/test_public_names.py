"""What `import labkit` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import labkit


def test_every_public_name_is_there() -> None:
    for name in labkit.__all__:
        assert getattr(labkit, name) is not None
    assert set(labkit.__all__) <= set(dir(labkit))


def test_the_list_of_homes_is_the_list_of_names() -> None:
    assert set(labkit._HOMES) | {"__version__"} == set(labkit.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Deployment'"):
        labkit.Deployment  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import labkit",
        "import labkit; labkit.DeploymentAPI(labkit.SimulatedExecutor())",
        "import labkit; labkit.LocalExecutor(); labkit.Flavor.get('cirros')",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    code = (
        f"import sys; {statement}; "
        "heavy = {'pandas', 'numpy', 'paramiko', 'IPython', 'ipywidgets', 'rich', 'click'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
