"""What was promised, saved before it is touched: slices, allocations, leases and intents."""

from __future__ import annotations

from labkit.store.database import default_path
from labkit.store.lease import Lease
from labkit.store.records import Record
from labkit.store.store import Intent, Store

__all__ = ["Intent", "Lease", "Record", "Store", "default_path"]
