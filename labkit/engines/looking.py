"""What hosts tell about a slice, as the values that plans are made from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labkit.allocate import Allocation
from labkit.engines.engine import Survey
from labkit.images.values import WorkerFacts
from labkit.links import LinkState
from labkit.machines import MachineState
from labkit.observed import (
    OFF,
    RUNNING,
    Configured,
    Leftover,
    ObservedLink,
    ObservedMachine,
    ObservedOverlay,
)
from labkit.promise import MachineSpec, NicSpec, Port
from labkit.remote.steward.egress import GATEWAY_NIC

INTERNET, CONFIGURED = "internet", "configured"  # notes that are kept with a machine
SLICE_MARK = "slice_uuid"  # in the mark of a disk
STORE = "store"  # whose slice it is of, with a machine and in the mark of a disk


def survey_of(host: str, facts: Mapping[str, Any]) -> Survey:
    """One run folder, as the worker program `survey` tells of it."""
    return Survey(
        host,
        facts["key"],
        facts["folder"],
        facts["steward"],
        tuple(facts["machines"]),
        tuple(facts["strange"]),
    )


def about(machine: MachineSpec, store: str) -> dict[str, Any]:
    """What is kept with a machine: what is compared with what is wanted later, and whose it is."""
    return {
        "cores": machine.cores,
        "memory_mb": machine.memory_mb,
        "image": machine.image,
        "overlay": machine.overlay if machine.disk_gb is not None else "",
        "screen": machine.screen,
        "seed": machine.seed,
        "nics": [[nic.name, nic.mac] for nic in machine.nics],
        INTERNET: machine.internet,
        STORE: store,
    }


def internet_link(index: int) -> str:
    """The link between eth0 of a machine and its way out; users' names never begin so."""
    return f"-internet-{index}"


def machine_seen(host: str, state: MachineState) -> ObservedMachine:
    """A machine as its steward tells of it."""
    word = RUNNING if state.state == "starting" else state.state
    return _machine(
        host, word, state.boot_id or None, state.about, state.notes, state.index, state.name,
        state.uuid,
    )  # fmt: skip


def machine_found(host: str, facts: Mapping[str, Any]) -> ObservedMachine:
    """A machine as it was found without its steward: running, or off."""
    word = OFF if facts["pid"] is None else RUNNING
    return _machine(
        host, word, None, facts["about"], facts["notes"], facts["index"], facts["name"],
        facts["uuid"],
    )  # fmt: skip


def _machine(
    host: str,
    state: str,
    boot_id: str | None,
    kept: Mapping[str, Any],
    notes: Mapping[str, Any],
    index: int,
    name: str,
    uuid: str,
) -> ObservedMachine:
    done = notes.get(CONFIGURED)
    configured = done and Configured(done["boot_id"], tuple(map(tuple, done["marks"])))
    return ObservedMachine(
        host=host,
        index=index,
        name=name,
        uuid=uuid,
        state=state,
        cores=kept.get("cores", 0),
        memory_mb=kept.get("memory_mb", 0),
        image=kept.get("image", ""),
        overlay=kept.get("overlay", ""),
        screen=kept.get("screen", False),
        seed=kept.get("seed", ""),
        boot_id=boot_id,
        nics=tuple(NicSpec(*nic) for nic in kept.get("nics", ())),
        internet=notes.get(INTERNET, kept.get(INTERNET)) or None,
        configured=configured or None,
    )


def links_seen(host: str, states: Iterable[LinkState]) -> tuple[ObservedLink, ...]:
    """The links between machines; their ways to the internet belong to the machines."""
    return tuple(
        ObservedLink(
            host=host,
            name=state.name,
            ports=tuple(Port(*one.port) for one in state.ports),
            connected=tuple(Port(*one.port) for one in state.ports if one.connected),
            impairments=tuple(
                (Port(*one.port), state.out[one.port])
                for one in state.ports
                if one.port in state.out and not state.out[one.port].is_none
            ),
            up=state.up,
        )
        for state in states
        if not any(one.port.nic == GATEWAY_NIC for one in state.ports)
    )


def overlays_seen(
    host: str, facts: WorkerFacts, allocation: Allocation
) -> tuple[ObservedOverlay, ...]:
    """The slice's own disks: of its names, and with its mark where the file system keeps marks."""
    names = {f"{vm.overlay}_img.qcow2": vm.overlay for vm in allocation.everyone if vm.host == host}
    return tuple(
        ObservedOverlay(host=host, name=names[one.file], image=one.base or "", size=one.size or 0)
        for one in facts.overlays
        if one.file in names
        and (one.mark or {}).get(SLICE_MARK, allocation.uuid) == allocation.uuid
    )


def leftovers_seen(host: str, strange: Iterable[str]) -> tuple[Leftover, ...]:
    """Files in the run folder that nothing accounts for."""
    return tuple(
        Leftover(
            host=host, name=name, why="nothing accounts for it: it was half made, or put there"
        )
        for name in strange
    )
