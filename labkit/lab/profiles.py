"""Profiles: what engine and what store a lab of some name has."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from labkit.engines import Engine, HostsEngine
from labkit.engines.system_images import LocalSystemImages, SimulatedSystemImages
from labkit.errors import InvalidArgument
from labkit.local import LocalExecutor
from labkit.profile_names import LOCAL, PROFILE_VARIABLE, SIMULATED
from labkit.store import Store

THIS_HOST = "localhost"


def engine_of(profile: str) -> Engine:
    """The engine of a profile; raises `InvalidArgument`, naming those there are."""
    if profile == LOCAL:
        return HostsEngine(LOCAL, LocalExecutor(), (THIS_HOST,), LocalSystemImages(), is_real=True)
    if profile == SIMULATED:
        from labkit.simulator.executor import SimulatedExecutor  # noqa: PLC0415 - it is large

        executor = SimulatedExecutor(workers=(THIS_HOST,))
        return HostsEngine(
            SIMULATED, executor, (THIS_HOST,), SimulatedSystemImages(executor), is_real=False
        )
    raise InvalidArgument(
        f"profile is {profile!r}",
        why=f"the profiles are {LOCAL} (this machine) and {SIMULATED} (simulated)",
        fix=f"Name one of them, here or in {PROFILE_VARIABLE}.",
        argument="profile",
        value=profile,
    )


def store_of(profile: str) -> Store:
    """The store of a profile: the user's; for simulated labs one that ends with it."""
    if profile == SIMULATED:
        folder = tempfile.mkdtemp(prefix="labkit-sim-")
        store = Store(Path(folder) / "labkit.db")
        weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
        return store
    return Store()
