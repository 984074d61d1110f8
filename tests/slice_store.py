"""What tests of the store share: a clock to turn, and a wish saved and reserved."""

from __future__ import annotations

from labkit.allocate import Allocation, Taken, allocate
from labkit.store import Record, Store
from labkit.wish import Slice
from slice_worlds import HOSTS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def decide(record: Record, taken: Taken) -> Allocation:
    return allocate(record.wish, record.allocation, HOSTS, taken)


def wished(store: Store, wish: Slice) -> Record:
    """Save and reserve, as `deploy` does before it touches anything."""
    before = store.get_or_create(wish.name)
    store.save_wish(wish, seen_version=before.version)
    with store.lease(wish.name) as lease:
        return store.reserve(lease, decide)
