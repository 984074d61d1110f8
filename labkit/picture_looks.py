"""How states look: a colour, a shape and a word for each, on light pages and on dark ones.

Every colour has a contrast of 4.5 to white text on it, and of 3 to a white and to a dark page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PLAIN = "#52677a"  # what has no state: cards of a design, switches
INTERNET = "#0969da"
LINE = "#848d97"
WORDS = "#717b87"  # text on the page itself, as dark and as light as the other
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class VMLook:
    """The look of a VM's state: `sign` is a path around 0, 0 of 12 pixels, `corner` its card's.

    `dashes` is for the card's rim; what is not there yet or not known has a broken one.
    """

    word: str
    colour: str
    sign: str
    corner: float
    dashes: str = ""
    filled: bool = False


@dataclass(frozen=True, slots=True)
class LinkLook:
    """The look of a link's state; `beads` is whether something is seen to run along it."""

    word: str
    colour: str
    width: float
    dashes: str = ""
    beads: bool = False


VM_LOOKS: Mapping[str, VMLook] = {
    "running": VMLook("running", "#1a7f37", "M-3.5-5L5 0L-3.5 5Z", 9, filled=True),
    "starting": VMLook("starting", "#9a6700", "M0-5A5 5 0 1 1-5 0", 9, dashes="6 3"),
    "paused": VMLook("paused", "#0969da", "M-3-4.5V4.5M3-4.5V4.5", 9),
    "panicked": VMLook("panicked", "#bf3989", "M0-5.5V1M0 5V5.2", 0),
    "off": VMLook("off", "#cf222e", "M-4-4L4 4M4-4L-4 4", 0),
    "design": VMLook("not deployed", PLAIN, "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0", 9, dashes="3 3"),
    "unknown": VMLook("unknown", "#6e7781", "M-3-3A3 3 0 1 1 1.4 0C.4.8 0 1.2 0 2.4M0 5.4V5.6", 3),
}
LINK_LOOKS: Mapping[str, LinkLook] = {
    "up": LinkLook("up", LINE, 2),
    "traffic": LinkLook("traffic", "#0969da", 2, beads=True),
    "impaired": LinkLook("impaired", "#bc4c00", 2.4, dashes="12 3"),
    "down": LinkLook("down", "#cf222e", 2, dashes="2 5"),
    "design": LinkLook("not deployed", LINE, 1.6, dashes="6 5"),
    "unknown": LinkLook("unknown", WORDS, 2, dashes="1 6"),
}
_SAME_VM = {"ready": "running", "booting": "starting", "absent": "design"}
_SAME_LINK = {"absent": "design", "disconnected": "down"}

# What a VM is, where there is no state to tell: a screen, or the crossed ways of a router.
HOST_SIGN = "M-6-5H6V3H-6ZM-3 6H3"
ROUTER_SIGN = "M-5.5-2.5H5M2-5.5L5-2.5L2 .5M5.5 2.5H-5M-2-.5L-5 2.5L-2 5.5"
GLOBE_SIGN = (
    "M5.5 0A5.5 5.5 0 1 1-5.5 0A5.5 5.5 0 1 1 5.5 0M-5.5 0H5.5"
    "M0-5.5C3.4-2.4 3.4 2.4 0 5.5C-3.4 2.4-3.4-2.4 0-5.5"
)


def vm_look(state: str) -> tuple[str, VMLook]:
    """The key and the look of a VM's state; a state that is not known here is ``unknown``."""
    key = _SAME_VM.get(state, state)
    return (key, VM_LOOKS[key]) if key in VM_LOOKS else ("unknown", VM_LOOKS["unknown"])


def link_look(state: str) -> tuple[str, LinkLook]:
    """The key and the look of a link's state; a state that is not known here is ``unknown``."""
    key = _SAME_LINK.get(state, state)
    return (key, LINK_LOOKS[key]) if key in LINK_LOOKS else ("unknown", LINK_LOOKS["unknown"])
