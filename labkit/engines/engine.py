"""The seam between slices and what carries them: few verbs, and values in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.allocate import Allocation
from labkit.calls import Facts
from labkit.events import Listener
from labkit.links import Links
from labkit.machines import Machine
from labkit.observed import Observed
from labkit.plan import Plan, Step
from labkit.room import Host

IsStopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class SliceId:
    """Which slice: its name for people, its key for run folders, its uuid for marks."""

    name: str
    key: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Survey:
    """One slice's run folder on a host, as seen without its steward.

    `machines` are dicts with index, name, uuid and pid (None: dead); `strange` are files that
    nothing accounts for.
    """

    host: str
    key: str
    folder: str
    steward: int | None
    machines: tuple[dict[str, Any], ...]
    strange: tuple[str, ...]


class Engine(Protocol):
    """Carries slices. Safe to use from many threads.

    Only `do` changes anything, and only what its step says; a step that was done before, or half
    done, may be asked for again.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def is_real(self) -> bool:
        """Whether machines really run."""

    def hosts(self) -> tuple[Host, ...]:
        """The hosts machines can be placed on, and what they can give."""

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        """What there is of a slice, on every host; starts nothing."""

    def survey(self) -> tuple[Survey, ...]:
        """The run folders of all slices on all hosts that can be reached."""

    def prepare(self, plan: Plan, tell: Listener) -> None:
        """See to it that all the plan needs is there; raises before anything of it is done."""

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        """Do one step. A step that waits ends early, by `Interrupted`, when it is to stop."""

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        """A machine of a slice that was deployed."""

    def links(self, slice_id: SliceId, host: str) -> Links:
        """The links of a slice on a host."""

    def listen(
        self, slice_id: SliceId, host: str, listener: Callable[[Facts], None]
    ) -> Callable[[], None]:
        """Tell a function what happens to the machines; returns the way to stop that."""

    def close(self) -> None:
        """Let go of all connections; what runs goes on."""
