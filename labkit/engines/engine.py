"""The seam between slices and what carries them: few verbs, and values in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.allocate import Allocation
from labkit.calls import Facts
from labkit.check_states import CheckState
from labkit.errors import CommandTimeout, ConnectionLost, WorkerUnreachable
from labkit.events import Listener
from labkit.links import Links
from labkit.machines import Machine
from labkit.observed import Observed
from labkit.plan import Plan, Step
from labkit.room import Host

IsStopping = Callable[[], bool]
OUT_OF_REACH = (WorkerUnreachable, ConnectionLost, CommandTimeout)  # a host cannot be asked now


@dataclass(frozen=True, slots=True)
class SliceId:
    """Which slice: its name for people, its key for run folders, its uuid for marks.

    `store` is the file it is written down in.
    """

    name: str
    key: str
    uuid: str
    store: str


@dataclass(frozen=True, slots=True)
class Survey:
    """One slice's run folder on a host, as seen without its steward.

    `machines` are dicts with index, name, uuid and pid (None: off); `strange` are files that
    nothing accounts for.
    """

    host: str
    key: str
    folder: str
    steward: int | None
    machines: tuple[dict[str, Any], ...]
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at on a host.

    `state`: ``ok``, ``note`` (it works, and this is good to know) or ``bad``; `fix` says what to
    do.
    """

    host: str
    check: str
    state: CheckState
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Belonging:
    """Something of labkit's on a host: a ``run folder``, a ``disk``, or a ``machine`` whose folder
    was removed under it.

    `name` finds it again; `owner` is the key or the uuid of the slice it is of, and `stores` the
    files it says that slice is written down in (two when the store was moved meanwhile); empty
    where nobody can tell. A `young` one may be of work that has only begun.
    """

    host: str
    kind: str
    name: str
    owner: str
    detail: str
    young: bool = False
    stores: tuple[str, ...] = ()


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

    def hosts(self, *, with_disks: bool) -> tuple[Host, ...]:
        """The hosts machines can be placed on, and what they can give; of disks only if asked."""

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        """What there is of a slice, on every host; starts nothing."""

    def survey(self) -> tuple[Survey, ...]:
        """The run folders of all slices on all hosts that can be reached."""

    def check(self, plan: Plan) -> None:
        """Raise what `prepare` would of a plan that cannot be done whatever is made ready for it;
        builds nothing, touches nothing, asks no host."""

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
        """Tell a function what happens to the machines; returns the way to stop that.

        Who listens changes nothing: where the steward has ended, that is `WorkerUnreachable`.
        """

    def checks(self, tell: Listener) -> tuple[Check, ...]:
        """Whether each host is ready for slices; tries out what can only be known by trying."""

    def belongings(self) -> tuple[Belonging, ...]:
        """All that is labkit's on the hosts that can be reached, of whatever slice."""

    def remove(self, belonging: Belonging) -> None:
        """End it and remove it; one that is gone by now is fine."""

    def close(self) -> None:
        """Let go of all connections; what runs goes on."""
