"""A slice in a lab: its wish, what is there, and the verbs between them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pandas as pd

from labkit import rules, spec
from labkit.captures import Capture
from labkit.engines import Engine, SliceId
from labkit.errors import LabkitError, UnknownSlice
from labkit.events import Event, GaveUp, Listener, Listeners
from labkit.lab import faces, link_steps, reprs, tables, together
from labkit.lab.applying import Application
from labkit.lab.converging import (
    Aim,
    Outlook,
    converge,
    look_ahead,
    nothing,
    slice_id,
    whole,
)
from labkit.lab.hearing import Hearing
from labkit.lab.link_handle import LabLink
from labkit.lab.vm_handle import LabVM
from labkit.markup import Bundle
from labkit.observed import Observed
from labkit.plan import Plan
from labkit.plan.again import take_away
from labkit.plan_frame import plan_frame
from labkit.store import Lease, Record, Store
from labkit.wish import LinkWish, Slice
from labkit.wish.links import link_wish
from labkit.wish.vms import vm_wish

MOST_EVENTS = 10_000

Value = TypeVar("Value")


class LabSlice:
    """A slice: get it from `Lab.slice`. Safe to use from many threads.

    What you wish is saved at once; `deploy` makes it so. Properties show what was seen last;
    `refresh` looks again.
    """

    def __init__(self, engine: Engine, store: Store, name: str) -> None:
        self._engine = engine
        self._store = store
        self._name = name
        self._record = store.get_or_create(name)
        self._seen: Observed | None = None
        self._told: deque[tuple[float, Event]] = deque(maxlen=MOST_EVENTS)
        self.listeners = Listeners(self._remember)
        self.views: dict[str, object] = {}  # what faces keep of it, by their name
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._hearing = Hearing(engine, self.listeners)
        if self._record.holds_anything:
            self.refresh()
        else:
            self._seen = Observed()

    def __repr__(self) -> str:
        return reprs.slice_text(self.wish, self.states, self.link_states)

    def _repr_mimebundle_(self, **_options: Any) -> Bundle:
        return reprs.slice_bundle(self)

    def _ipython_display_(self) -> None:
        """As a live panel, where notebooks can show one; else IPython takes the bundle."""
        faces.display("panel", self)

    def _ipython_key_completions_(self) -> list[str]:
        return [vm.name for vm in self.wish.vms]

    def __getitem__(self, name: str) -> LabVM:
        return self.get_vm(name)

    def __iter__(self) -> Iterator[LabVM]:
        return iter([LabVM(self, vm.name) for vm in self.wish.vms])

    def __len__(self) -> int:
        return len(self.wish.vms)

    def __contains__(self, name: object) -> bool:
        return any(vm.name == name for vm in self.wish.vms)

    # the wish

    @property
    def name(self) -> str:
        """Its name in the lab."""
        return self._name

    @property
    def wish(self) -> Slice:
        """What you want: a frozen value."""
        return self._record.wish

    def set_wish(self, wish: Slice) -> None:
        """Want something else altogether, whatever its name is; nothing is done until `deploy`.

        Raises `SliceChanged` when another process has changed it since it was read here.
        """
        wish = Slice(self._name, wish.vms, wish.links)
        with self._lock:
            self._record = self._store.save_wish(wish, seen_version=self._record.version)

    def add_vm(self, name: str, **settings: Any) -> LabVM:
        """Want one more VM. The settings, all of them optional:

        - ``flavor``: ``"micro"`` if not given; ``cores``, ``memory_mb``, ``disk_gb`` and ``image``
          take its place, one by one
        - ``interfaces``: how many beside eth0, eth1 to ethN; 1 if not given
        - ``internet``: True connects eth0
        - ``addresses``: ``{"eth1": "10.0.1.1/24"}``, or a list of them for one interface
        - ``routes``: ``["default via 10.0.1.254", "10.0.9.0/24 via 10.0.1.2"]``
        - ``forwarding``: True makes it a router
        - ``hosts``: further names, ``{"printer": "10.0.1.9"}``; the other VMs are known by name
          unless ``knows_others=False``
        - ``files``: ``{"/etc/motd": "Hello\\n"}``; ``commands``: what runs after each boot
        - ``screen``: True gives it a display
        - ``host``: where it must run

        One that is wished already, just so, is left as it is: a notebook can be run again. Raises
        `InvalidArgument` for what cannot be, before anything is saved.
        """
        if name not in self or self.wish[name] != vm_wish(name, **settings):
            self.set_wish(self.wish.with_vm(name, **settings))
        return LabVM(self, name)

    def change_vm(self, name: str, **settings: Any) -> LabVM:
        """Want other settings of a VM, those of `add_vm`; the ones not given stay."""
        self.set_wish(self.wish.with_changed_vm(name, **settings))
        return LabVM(self, name)

    def remove_vm(self, name: str) -> None:
        """Want a VM no more, nor its ends of links."""
        self.set_wish(self.wish.without_vm(name))

    def link(self, *ends: str, name: str | None = None, **settings: Any) -> LabLink:
        """Want a link between interfaces, two or more: ``link("r1:eth1", "r2:eth1", loss="1%")``.

        An end may be only a VM's name: its first free interface is taken. The settings are
        ``delay`` and ``jitter`` (``"20ms"``), ``loss``, ``duplicate`` and ``corrupt`` (``"1%"``),
        ``rate`` (``"10Mbit"``), for what every end sends; ``sends`` with these for single ends
        (``{"r1:eth1": {"loss": "5%"}}``); and ``up``. A link that joins these ends already is left
        as it is, unless it should be another.
        """
        there = self.wish.joining(*ends)
        if there is not None and name in (None, there.name) and _is_so(there, settings):
            return LabLink(self, there.name)
        before = {link.name for link in self.wish.links}
        self.set_wish(self.wish.with_link(*ends, name=name, **settings))
        made = next(link.name for link in self.wish.links if link.name not in before)
        return LabLink(self, made)

    def remove_link(self, name: str) -> None:
        """Want a link no more."""
        self.set_wish(self.wish.without_link(name))

    def load(self, text: str) -> None:
        """Want what a YAML or JSON text says, in the place of all that was wished."""
        self.set_wish(spec.from_yaml(text, name=self._name))

    def to_yaml(self) -> str:
        """The wish as YAML, for `load`."""
        return spec.to_yaml(self.wish)

    # parts

    def get_vm(self, name: str) -> LabVM:
        """A VM of the wish; raises `InvalidArgument` naming those there are."""
        return LabVM(self, self.wish[name].name)

    def get_link(self, name: str) -> LabLink:
        """A link of the wish."""
        return LabLink(self, self.wish.link(name).name)

    # the lab

    def plan(self) -> pd.DataFrame:
        """What `deploy` would do now, and why; see `labkit.plan_frame.plan_frame`."""
        return plan_frame(self.steps())

    def steps(self) -> Plan:
        """What `deploy` would do now, as values."""
        self.reread()
        outlook = look_ahead(self._engine, self._store, self._name)
        self._seen = outlook.seen
        return outlook.plan

    def deploy(self) -> pd.DataFrame:
        """Make it so, from whatever state it is in; answers with the table of VMs.

        Ctrl-C is safe: what is done stays, and `deploy` goes on from there.
        """
        with faces.progress(self, is_watched=len(self.listeners) > 1):
            self._seen = self._work(self._converge).seen
        self._listen()
        return self.vms

    def delete(self) -> None:
        """End all of it and forget it; answers when it is gone. Again is fine."""
        try:
            self._work(self._delete)
        except UnknownSlice:
            return
        self._seen = Observed()
        self._listen()

    def reset(self, *names: str) -> pd.DataFrame:
        """Start VMs anew, all or those named, as if they had never run: disks are made again."""
        gone = {self.wish[name].name for name in names}

        def anew(lease: Lease) -> Outlook:
            outlook = look_ahead(self._engine, self._store, self._name)
            these = gone or {vm.name for vm in self.wish.vms}
            self._application(lease).apply(take_away(outlook.promised, outlook.seen, these))
            return self._converge(lease)

        self._seen = self._work(anew).seen
        self._listen()
        return self.vms

    def cancel(self) -> None:
        """End work on this slice that goes on in another thread; it ends soon, by `Interrupted`.

        What it has done stays, and machines run on; see `delete`.
        """
        self._stopping.set()

    def _work(self, do: Callable[[Lease], Value]) -> Value:
        """Do something as the only one who works on the slice."""
        self.reread()
        self._stopping.clear()
        held = self._store.lease(self._name)
        try:
            with held as lease:
                try:
                    return do(lease)
                except BaseException as error:
                    self.listeners(GaveUp("", self._name, str(error) or type(error).__name__))
                    raise
                finally:
                    with suppress(UnknownSlice):  # it was deleted
                        self.reread()
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"Work on slice {self._name!r} was interrupted: nothing of it goes on by itself, "
                "what was done stays. deploy() goes on from here, delete() ends it."
            )
            held.end()
            self._look_anyway()
            raise
        except LabkitError:
            self._look_anyway()
            raise
        finally:
            held.end()

    def _look_anyway(self) -> None:
        """Show what is there after work that did not end well, where that can be seen."""
        with suppress(LabkitError):  # the first error is the one to be told
            self.refresh()

    def _converge(self, lease: Lease, aim: Aim = whole) -> Outlook:
        return converge(
            self._engine, self._store, lease, self.listeners, self._stopping.is_set, aim=aim
        )

    def _delete(self, lease: Lease) -> None:
        emptied = self.wish.emptied()
        self._record = self._store.save_wish(emptied, seen_version=self._record.version)
        self._converge(lease, nothing)
        self._store.remove(lease)

    def change_link(self, name: str, **settings: Any) -> None:
        """Wish for another state of a link, and make the living link so, and nothing else.

        A link that is not there yet, or joins other interfaces than it should, takes it with the
        next `deploy`. `settings` are ``up`` and those of `LabLink.impair`.
        """
        self.reread()
        wish = self.wish.with_changed_link(name, **settings)
        if not self._record.holds_anything:
            self.set_wish(wish)
            return

        def change(lease: Lease) -> None:
            self.set_wish(wish)
            seen = self._looked_at(lease)
            step = link_steps.to_change(self.wish.link(name), self._record.allocation, seen)
            if step:
                self._application(lease).apply(step)

        self._work(change)
        self.refresh()

    def _looked_at(self, lease: Lease) -> Observed:
        """What is there, of hosts without their steward too."""
        seen = self._engine.observe(self.id, self._record.allocation)
        starts = link_steps.to_see_all(seen)
        if not starts:
            return seen
        self._application(lease).apply(starts)
        return self._engine.observe(self.id, self._record.allocation)

    def _application(self, lease: Lease) -> Application:
        return Application(
            self._engine, self._store, lease, self.id, self.listeners, self._stopping.is_set
        )

    def refresh(self) -> pd.DataFrame:
        """Look at what is there; answers with the table of VMs."""
        self.reread()
        self._seen = self._engine.observe(self.id, self._record.allocation)
        self._listen()
        return self.vms

    def reread(self) -> None:
        """Read the wish again, which another process may have changed; raises `UnknownSlice`."""
        with self._lock:
            self._record = self._store.get(self._name)

    # tables

    @property
    def vms(self) -> pd.DataFrame:
        """The VMs, as last seen; columns as `labkit.lab.tables.vms_table` says."""
        return tables.vms_table(self.wish, self._record.allocation, self._seen)

    @property
    def links(self) -> pd.DataFrame:
        """The links, as last seen; columns as `labkit.lab.tables.links_table` says."""
        return tables.links_table(self.wish, self._record.allocation, self._seen)

    @property
    def interfaces(self) -> pd.DataFrame:
        """The interfaces of all VMs; columns as `labkit.lab.tables.interfaces_table` says."""
        return tables.interfaces_table(self.wish, self._record.allocation)

    @property
    def events(self) -> pd.DataFrame:
        """What happened since this object was made; columns as `tables.events_table` says."""
        return tables.events_table(self.told)

    @property
    def told(self) -> list[tuple[float, Event]]:
        """The same as values: when (seconds since 1970), and what."""
        return list(self._told)

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each VM, as last seen."""
        return tables.vm_states(self.wish, self._record.allocation, self._seen)

    @property
    def link_states(self) -> Mapping[str, str]:
        """The state of each link, as last seen."""
        return tables.link_states(self.wish, self._seen)

    # many at once

    def run(
        self,
        command: str | Sequence[str],
        *,
        on: Sequence[str] | None = None,
        timeout: float | None = 60.0,
    ) -> pd.DataFrame:
        """Run a command on all VMs, or those named in `on`, at once; a row for each.

        A VM that cannot run it has an ``error`` in its row and hides nothing of the others.
        """
        names = [vm.name for vm in self.wish.vms] if on is None else list(dict.fromkeys(on))
        handles = [self.get_vm(name) for name in names]
        return tables.runs_table(together.run_on(handles, command, timeout))

    def capture(self, *links: str, snaplen: int = 262144, where: str = "sent") -> Capture:
        """Capture packets of all links, or of those named, in one: for a ``with`` statement."""
        names = links or tuple(link.name for link in self.wish.links)
        if not names:
            rules.invalid("links", names, f"links to capture; slice {self._name!r} has none")
        host = together.common_host({name: self.link_host(name) for name in names})
        found = self._engine.links(self.id, host)
        return found.capture(*names, snaplen=snaplen, where=where)

    # for handles

    @property
    def id(self) -> SliceId:
        """By which the engine knows it."""
        return slice_id(self._record)

    @property
    def engine(self) -> Engine:
        """What carries it."""
        return self._engine

    @property
    def record(self) -> Record:
        """What is stored of it."""
        return self._record

    @property
    def seen(self) -> Observed | None:
        """What was seen last."""
        return self._seen

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell a function of all events from now on; returns the way to stop that."""
        return self.listeners.add(listener)

    def link_host(self, name: str) -> str:
        """The host that serves a link."""
        vm = self.wish.link(name).vms[0]
        return self.get_vm(vm).place.host

    def _remember(self, event: Event) -> None:
        self._told.append((time.time(), event))

    def _listen(self) -> None:
        self._hearing.at(self._seen.stewards if self._seen else frozenset(), self.id)


def _is_so(link: LinkWish, settings: Mapping[str, Any]) -> bool:
    """Whether a link has these settings; those not given may be any."""
    return not settings or link_wish(link.name, link.ends, **settings) == link
