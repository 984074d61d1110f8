"""What a panel shows of a slice, as plain values for the page. Pure, but for the slice it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from labkit.captures import Capture
from labkit.errors import LabkitError
from labkit.events import (
    Converged,
    Event,
    GaveUp,
    GuestWaiting,
    ImageCopyProgress,
    MachineTold,
    PackageProgress,
    PlanMade,
    StepBegun,
    StepDone,
    StepFailed,
)
from labkit.lab import LabSlice, reprs, tables
from labkit.picture_looks import VM_LOOKS, vm_look
from labkit.progress import Work
from labkit.wish import LinkWish, Slice, VMWish
from labkit_widgets.progress_words import words

Facts = dict[str, Any]

MOST_EVENTS, MOST_PACKETS = 40, 12
PACKET_COLUMNS = ("source", "destination", "protocol", "length", "info")
# What comes many times a second, or tells what the progress shows better.
_TOO_MANY = (GuestWaiting, ImageCopyProgress, PackageProgress, StepBegun)
# What the panel's controls set: the rest of the impairments stays as it is.
CONTROLS = ("delay", "jitter", "loss", "rate")


def looks() -> Facts:
    """The looks of VM states, for the page to draw the signs of the picture in its tables."""
    return {
        name: {"colour": look.colour, "sign": look.sign, "filled": look.filled, "word": look.word}
        for name, look in VM_LOOKS.items()
    }


def vm_row(vm: VMWish, state: str, place: Facts) -> Facts:
    """A row of the table of VMs."""
    key, look = vm_look(reprs.picture_state(state))
    size = vm.size
    return {
        "name": vm.name,
        "look": key,
        "state": state if key == "unknown" else look.word,
        "flavor": vm.flavor,
        "size": reprs.size_words(size.cores, size.memory_mb),
        "addresses": ", ".join(f"{address}" for _, address in vm.addresses),
        "internet": place.get("internet", "yes") if vm.internet else "",
        "host": place.get("host", ""),
    }


def vm_rows(slice_: LabSlice, wish: Slice, states: Mapping[str, str]) -> list[Facts]:
    """The table of VMs."""
    places = {
        place.name: {"host": place.host, "internet": place.address or "yes"}
        for place in slice_.record.allocation.vms
    }
    return [vm_row(vm, states[vm.name], places.get(vm.name, {})) for vm in wish.vms]


def link_rows(wish: Slice, states: Mapping[str, str]) -> list[Facts]:
    """The table of links."""
    return [
        {
            "name": link.name,
            "state": link_word(link, states[link.name]),
            "ends": " — ".join(link.ends),
            "impairments": tables.impairment_words(link.impairments, len(link.ends)),
        }
        for link in wish.links
    ]


def link_word(link: LinkWish, state: str) -> str:
    """The state of a link for people."""
    shown = reprs.picture_link_state(link, state)
    return {reprs.NOT_DEPLOYED: "not deployed"}.get(shown, shown)


def states_now(slice_: LabSlice, wish: Slice, work: Work) -> tuple[dict[str, str], dict[str, str]]:
    """The states of VMs and links: as last seen, and what work has done to them since."""
    vms = tables.vm_states(wish, slice_.record.allocation, slice_.seen)
    links = tables.link_states(wish, slice_.seen)
    vms |= {name: state for name, state in work.vms.items() if name in vms}
    for link in wish.links:
        if link.name in work.links:
            state = work.links[link.name]
            links[link.name] = "down" if state == "up" and not link.up else state
    return vms, links


def work_facts(work: Work, tails: Mapping[str, str], job: str, *, told: str = "") -> Facts:
    """The progress; `job` is what the panel does itself, `told` what it has told as an error."""
    return {
        "state": work.state,
        "job": job,
        "words": words(work),
        "done": work.done,
        "steps": work.steps,
        "seconds": round(work.seconds, 1),
        "left": None if work.left is None else round(work.left, 1),
        "failures": [one for one in work.failures if not told or told not in one],
        "late": [
            {
                "vm": one.vm,
                "what": one.what,
                "seconds": round(one.seconds),
                "tail": tails.get(one.vm, ""),
            }
            for one in work.late
        ],
    }


def event_rows(told: Iterable[tuple[float, Event]]) -> list[Facts]:
    """Rows of the last events, oldest first."""
    rows = (event_row(when, event) for when, event in told)
    return [row for row in rows if row is not None][-MOST_EVENTS:]


def event_row(when: float, event: Event) -> Facts | None:
    """A row of the last events; None for those that are too many."""
    if isinstance(event, _TOO_MANY):
        return None
    words, detail = event_words(event)
    return {
        "time": datetime.fromtimestamp(when).strftime("%H:%M:%S"),
        "event": words,
        "subject": event.subject,
        "detail": detail,
        "bad": isinstance(event, StepFailed | GaveUp),
    }


def event_words(event: Event) -> tuple[str, str]:
    """What happened, and the facts of it, for people."""
    match event:
        case PlanMade():
            return "work begins", event.words
        case Converged(_, _, seconds):
            return "as wished", f"after {seconds:.1f} s"
        case GaveUp(_, _, why):
            return "work ends early", why
        case StepDone(_, _, kind, seconds, reason):
            took = f"{seconds:.1f} s"
            return kind, ", ".join(filter(None, [reason, took if took != "0.0 s" else ""]))
        case StepFailed(_, _, kind, _, why):
            return f"{kind}: failed", why
        case MachineTold(_, _, kind, detail):
            return f"machine {kind}", detail
    return tables.event_words(event), tables.event_detail(event)


def problem(error: Exception, doing: str) -> Facts:
    """An error for people: what, why, and what to do."""
    if isinstance(error, LabkitError):
        return {"doing": doing, "what": error.what, "why": error.why, "do": error.fix}
    return {
        "doing": doing,
        "what": f"{type(error).__name__}: {error}",
        "why": "labkit did not expect this",
        "do": "Please report it; the log has the traceback.",
    }


def chosen_vm(slice_: LabSlice, name: str, state: str) -> Facts:
    """What the panel shows of a VM that was clicked on."""
    vm = slice_[name]
    key, look = vm_look(reprs.picture_state(state))
    return {
        "kind": "vm",
        "name": name,
        "look": key,
        "state": state if key == "unknown" else look.word,
        "facts": [list(pair) for pair in reprs.vm_facts(vm)],
        "is_there": state not in (tables.ABSENT, tables.UNKNOWN, "starting"),
        "is_alive": state in ("running", "paused", "starting", "panicked"),
        "is_paused": state == "paused",
        "has_screen": vm.wish.screen,
    }


def chosen_link(slice_: LabSlice, name: str, state: str, capture: Facts, trouble: str) -> Facts:
    """What the panel shows of a link that was clicked on."""
    link = slice_.wish.link(name)
    words = [one for _, one in link.impairments]
    same = len(set(words)) <= 1 and len(words) in (0, len(link.ends))
    texts = words[0].texts() if words and same else {}
    return {
        "kind": "link",
        "name": name,
        "state": link_word(link, state),
        "ends": list(link.ends),
        "up": link.up,
        "is_there": state != tables.ABSENT,
        "values": {key: texts.get(key, "") for key in CONTROLS},
        "differs": "" if same else tables.impairment_words(link.impairments, len(link.ends)),
        "capture": capture,
        "trouble": trouble,
    }


def capture_facts(capture: Capture | None, *, is_running: bool) -> Facts:
    """The last packets of a capture."""
    if capture is None:
        return {"running": False, "count": 0, "rows": []}
    return {
        "running": is_running,
        "count": len(capture),
        "dropped": capture.dropped,
        "rows": [list(row) for row in capture.last(MOST_PACKETS, PACKET_COLUMNS)],
    }


def head(wish: Slice, states: Mapping[str, str], *, is_real: bool) -> Facts:
    """The bar of a panel."""
    told = reprs.summary(wish, {name: _word(state) for name, state in states.items()})
    return {"name": wish.name, "summary": told, "is_real": is_real, "vms": len(wish.vms)}


def _word(state: str) -> str:
    return "not deployed" if state == tables.ABSENT else state
