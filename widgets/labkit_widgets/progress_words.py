"""What the work on a slice does now, in a line."""

from __future__ import annotations

from labkit.progress import BUILD, COPY, Activity, Work

MOST_NAMES = 4
# Kind of work -> what people call it; their order is that of a deployment.
VERBS = {
    BUILD: "building the system image, once:",
    COPY: "copying",
    "start steward": "preparing",
    "stop machine": "ending",
    "forget machine": "clearing away",
    "delete link": "taking away link",
    "delete overlay": "deleting the disk of",
    "make overlay": "making the disk of",
    "grow overlay": "growing the disk of",
    "start machine": "starting",
    "resume machine": "resuming",
    "set internet": "connecting the internet of",
    "set link": "laying link",
    "configure guest": "setting up",
    "stop steward": "leaving",
    "remove leftover": "clearing away",
}


def words(work: Work) -> str:
    """What is being done, the same things together: ``starting r1, r2; laying link l1``."""
    if work.state == "working" and not work.steps and not work.active:
        return "looking at what is there"
    found: dict[str, list[Activity]] = {}
    for one in work.active:
        found.setdefault(one.kind, []).append(one)
    known = [*VERBS, *found]  # steps that have no verb are called what they are
    return "; ".join(
        f"{VERBS.get(kind, kind)} {_names(sorted(map(_named, group)))}"
        for kind, group in sorted(found.items(), key=lambda item: known.index(item[0]))
    )


def line(work: Work) -> str:
    """What is done, how far it is, and how long it takes, where there is work."""
    if work.state != "working":
        return ""
    return " · ".join(filter(None, [words(work), work.count, work.time]))


def _named(one: Activity) -> str:
    return one.detail if one.kind == BUILD else f"{one.subject} {one.detail}".rstrip()


def _names(names: list[str]) -> str:
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1} more"
