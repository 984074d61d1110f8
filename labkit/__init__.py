"""labkit: real network labs from a notebook cell.

Names are loaded when they are first used, so that ``import labkit`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from labkit.deployment import DeploymentAPI
    from labkit.errors import LabError, LabkitError, UsageError
    from labkit.executor import Executor, Result
    from labkit.frames import interfaces_frame, vms_frame
    from labkit.images.library import ImageLibrary, image_path
    from labkit.images.manager import QCOWManager
    from labkit.lab import Lab, LabLink, LabSlice, LabVM
    from labkit.local import LocalExecutor
    from labkit.model import VM, Flavor, Interface, Link
    from labkit.simulator.executor import SimulatedExecutor
    from labkit.ssh.executor import RemoteExecutor
    from labkit.vm_request import VMRequest

# Public name -> the module that owns it; the groups are those of __all__.
_HOMES = {
    "Lab": "labkit.lab",
    "LabSlice": "labkit.lab",
    "LabVM": "labkit.lab",
    "LabLink": "labkit.lab",
    "DeploymentAPI": "labkit.deployment",
    "VMRequest": "labkit.vm_request",
    "QCOWManager": "labkit.images.manager",
    "VM": "labkit.model",
    "Interface": "labkit.model",
    "Link": "labkit.model",
    "Flavor": "labkit.model",
    "Executor": "labkit.executor",
    "RemoteExecutor": "labkit.ssh.executor",
    "LocalExecutor": "labkit.local",
    "SimulatedExecutor": "labkit.simulator.executor",
    "Result": "labkit.executor",
    "ImageLibrary": "labkit.images.library",
    "image_path": "labkit.images.library",
    "vms_frame": "labkit.frames",
    "interfaces_frame": "labkit.frames",
    "LabkitError": "labkit.errors",
    "UsageError": "labkit.errors",
    "LabError": "labkit.errors",
}

__all__ = [
    # labs
    "Lab",
    "LabSlice",
    "LabVM",
    "LabLink",
    # deploying
    "DeploymentAPI",
    "VMRequest",
    "QCOWManager",
    # values
    "VM",
    "Interface",
    "Link",
    "Flavor",
    # where commands run
    "Executor",
    "RemoteExecutor",
    "LocalExecutor",
    "SimulatedExecutor",
    "Result",
    # base images
    "ImageLibrary",
    "image_path",
    # tables
    "vms_frame",
    "interfaces_frame",
    # errors
    "LabkitError",
    "UsageError",
    "LabError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext labkit``: the magics ``%%vm`` and ``%vm``, and completion of names."""
    importlib.import_module("labkit.lab.faces").show("extension", ipython)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
