"""One host while it is planned: what is wanted there, what is there, and what does not fit."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit import rules
from labkit.observed import (
    PANICKED,
    PAUSED,
    RUNNING,
    Leftover,
    ObservedLink,
    ObservedMachine,
    ObservedOverlay,
)
from labkit.promise import GuestSpec, LinkSpec, MachineSpec, Port

GONE = "no longer wished"


@dataclass
class View:
    """What is wanted on `host` and what is there, by number and by name.

    `work_out` fills in the rest: why a machine cannot stay as it is (`ends`), which links hang on
    it (`touched`), and which ports belong to machines that start (`fresh`, with the reason).
    """

    host: str
    served: bool = False
    folder: bool = False
    wanted: dict[int, MachineSpec] = field(default_factory=dict)
    guests: dict[int, GuestSpec] = field(default_factory=dict)
    wanted_links: dict[str, LinkSpec] = field(default_factory=dict)
    machines: dict[int, ObservedMachine] = field(default_factory=dict)
    links: dict[str, ObservedLink] = field(default_factory=dict)
    overlays: dict[str, ObservedOverlay] = field(default_factory=dict)
    leftovers: list[Leftover] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    touched: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    fresh: dict[Port, str] = field(default_factory=dict)

    @property
    def is_blind(self) -> bool:
        """Whether machines run here that only a steward could tell about."""
        return not self.served and any(one.is_alive for one in self.machines.values())

    def work_out(self) -> None:
        """Compare machine by machine."""
        for link in self.links.values():
            for machine in dict.fromkeys(port.machine for port in link.ports):
                self.touched[machine].append(link.name)
        for index, seen in self.machines.items():
            reason = self._why_it_ends(seen)
            if reason:
                self.ends[index] = reason
        for index, spec in self.wanted.items():
            if index not in self.machines or index in self.ends:
                again = " again" if index in self.machines else ""
                for nic in spec.nics:
                    self.fresh[Port(index, nic.number)] = f"{spec.name} starts{again}"

    def kept(self) -> Iterator[tuple[MachineSpec, ObservedMachine]]:
        """The machines that stay as they are, with what is wanted of them."""
        for index, spec in self.wanted.items():
            if index in self.machines and index not in self.ends:
                yield spec, self.machines[index]

    def _why_it_ends(self, seen: ObservedMachine) -> str:
        """Why a machine cannot stay as it is; empty when it can."""
        spec = self.wanted.get(seen.index)
        if spec is None:
            return GONE
        if spec.uuid != seen.uuid:
            return f"it has the place of {spec.name} and is another machine"
        reasons = []
        if not seen.is_alive:
            reasons.append("it has ended")
        elif seen.state == PANICKED:
            reasons.append("its system has panicked")
        elif seen.state not in (RUNNING, PAUSED):
            reasons.append(f"it is {seen.state}")
        for name in ("cores", "memory_mb", "image"):
            old, new = getattr(seen, name), getattr(spec, name)
            if old != new:
                reasons.append(f"{name} {_short(old)} -> {_short(new)}")
        reasons += self._interface_reasons(spec, seen)
        if seen.screen != spec.screen:
            reasons.append("it gets a screen" if spec.screen else "it loses its screen")
        if seen.seed != spec.seed and seen.image == spec.image:
            reasons.append("its settings changed, and its system takes them only when it starts")
        return "; ".join([*reasons, *self._disk_reasons(spec)])

    def _interface_reasons(self, spec: MachineSpec, seen: ObservedMachine) -> Iterator[str]:
        old, new = len(seen.nics) - 1, len(spec.nics) - 1
        if old != new:
            yield f"data interfaces {old} -> {new}"
        elif [nic.mac for nic in seen.nics] != [nic.mac for nic in spec.nics]:
            yield f"MAC {seen.nics[0].mac} -> {spec.nics[0].mac}"

    def _disk_reasons(self, spec: MachineSpec) -> Iterator[str]:
        if spec.disk_gb is None:
            return
        disk = self.overlays.get(spec.overlay)
        if disk is None:
            yield "its disk is missing"
        elif disk.image != posixpath.basename(spec.image):
            yield "its disk is made anew"
        elif disk.size < rules.disk_bytes(spec.disk_gb):
            yield f"its disk grows to {spec.disk_gb:g} GB"


def _short(value: object) -> str:
    return posixpath.basename(str(value))
