"""Hearing what happens to a slice's machines by itself, on every host that serves it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Set
from contextlib import suppress
from functools import partial

from labkit.calls import Facts
from labkit.engines import Engine, SliceId
from labkit.errors import ConnectionLost, WorkerUnreachable
from labkit.events import Listener, MachineTold


class Hearing:
    """Listens at hosts, and tells what it hears as events. Safe to use from many threads."""

    def __init__(self, engine: Engine, tell: Listener) -> None:
        self._engine = engine
        self._tell = tell
        self._lock = threading.RLock()
        self._stops: dict[str, Callable[[], None]] = {}

    def at(self, hosts: Set[str], slice_id: SliceId) -> None:
        """Listen at these hosts, which serve the slice now, and at no others."""
        with self._lock:
            for host in self._stops.keys() - hosts:
                self._stops.pop(host)()  # another one serves the slice there when it comes back
            for host in hosts - self._stops.keys():
                hear = partial(self._hear, host)
                with suppress(WorkerUnreachable, ConnectionLost):  # it has ended since the look
                    self._stops[host] = self._engine.listen(slice_id, host, hear)

    def _hear(self, host: str, facts: Facts) -> None:
        subject = str(facts.get("name") or facts.get("link") or "")
        kind = str(facts["kind"])
        detail = str(facts.get("reason") or facts.get("stage") or "")
        self._tell(MachineTold(host, subject, kind.removeprefix("machine-"), detail))
