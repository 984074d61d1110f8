"""A topology as text, and as SVG that any viewer shows: attributes only, no style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from labkit.wish import LinkWish, Slice, VMWish

BOX_WIDTH, BOX_HEIGHT = 108, 46
DISTANCE = 190
MARGIN = 60
INK, PAPER, QUIET, ACCENT = "#1f2933", "#ffffff", "#66788a", "#0b6e99"
FONT = "Helvetica, Arial, sans-serif"


def topology_text(wish: Slice) -> str:
    """The VMs and the links of a wish, one in a line."""
    lines = [f"slice {wish.name}: {len(wish.vms)} VMs, {len(wish.links)} links"]
    for vm in wish.vms:
        addresses = " ".join(f"{interface}={address}" for interface, address in vm.addresses)
        words = [vm.name, vm.flavor, _traits(vm), addresses]
        lines.append("  " + "  ".join(filter(None, words)))
    for link in wish.links:
        note = link_note(link)
        lines.append(f"  {' -- '.join(link.ends)}{f'  ({note})' if note else ''}")
    return "\n".join(lines)


def link_note(link: LinkWish) -> str:
    """What a reader should know of a link: down, or what it does to packets."""
    notes = [] if link.up else ["down"]
    texts = [" ".join(one.texts().values()) for _, one in link.impairments]
    if len(set(texts)) == 1 and len(texts) == len(link.ends):
        notes.append(texts[0])
    else:
        notes += [f"{end} sends: {' '.join(o.texts().values())}" for end, o in link.impairments]
    return "; ".join(notes)


def _traits(vm: VMWish) -> str:
    traits = [name for name in ("internet", "forwarding") if getattr(vm, name)]
    return " ".join(traits)


@dataclass(frozen=True, slots=True)
class _Point:
    x: float
    y: float

    def between(self, other: _Point, share: float) -> _Point:
        return _Point(self.x + (other.x - self.x) * share, self.y + (other.y - self.y) * share)


def topology_svg(wish: Slice, *, states: Mapping[str, str] | None = None) -> str:
    """A picture of a wish; `states` colours VMs that run (``running``) or do not."""
    places = _places(wish)
    hubs = {link.name: _hub(link, places) for link in wish.links}
    every = [*places.values(), *hubs.values()]
    width = max((point.x for point in every), default=0) + MARGIN + BOX_WIDTH / 2
    height = max((point.y for point in every), default=0) + MARGIN
    root = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        width=_number(width),
        height=_number(height),
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        role="img",
    )
    ElementTree.SubElement(root, "title").text = f"Topology of {wish.name}"
    _add(root, "rect", width="100%", height="100%", fill=PAPER)
    for link in wish.links:
        _draw_link(root, link, places, hubs[link.name])
    for vm in wish.vms:
        _draw_vm(root, vm, places[vm.name], (states or {}).get(vm.name))
    return ElementTree.tostring(root, encoding="unicode")


def _places(wish: Slice) -> dict[str, _Point]:
    """A chain in a line, all else on a circle, in the order in which links reach the VMs."""
    order = _order(wish)
    if len(order) <= 4 and all(len(link.ends) == 2 for link in wish.links):
        return {
            name: _Point(MARGIN + BOX_WIDTH / 2 + number * DISTANCE, MARGIN + BOX_HEIGHT / 2)
            for number, name in enumerate(order)
        }
    radius = max(DISTANCE * len(order) / (2 * math.pi), DISTANCE * 0.8)
    middle = radius + MARGIN + BOX_WIDTH / 2
    turns = [2 * math.pi * number / len(order) - math.pi / 2 for number in range(len(order))]
    return {
        name: _Point(middle + radius * math.cos(turn), middle + radius * math.sin(turn))
        for name, turn in zip(order, turns, strict=True)
    }


def _order(wish: Slice) -> list[str]:
    near: dict[str, list[str]] = {vm.name: [] for vm in wish.vms}
    for link in wish.links:
        for name in link.vms:
            near[name] += [other for other in link.vms if other != name]
    found: dict[str, None] = {}
    for start in sorted(near, key=lambda name: len(near[name]) != 1):  # ends of chains first
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting += reversed(near[name])
    return list(found)


def _hub(link: LinkWish, places: Mapping[str, _Point]) -> _Point:
    """Where a link's ends meet; a switch is drawn towards the middle, away from the boxes."""
    hub = _middle([places[name] for name in link.vms])
    return hub if len(link.ends) == 2 else hub.between(_middle(list(places.values())), 0.4)


def _middle(points: list[_Point]) -> _Point:
    return _Point(
        sum(point.x for point in points) / len(points),
        sum(point.y for point in points) / len(points),
    )


def _draw_link(
    root: ElementTree.Element, link: LinkWish, places: Mapping[str, _Point], hub: _Point
) -> None:
    line = {"stroke": INK, "stroke-width": "1.6"}
    if not link.up:
        line = {"stroke": QUIET, "stroke-width": "1.6", "stroke-dasharray": "5 4"}
    for end in link.ends:
        vm, _, interface = end.partition(":")
        place = places[vm]
        _add(root, "line", x1=place.x, y1=place.y, x2=hub.x, y2=hub.y, **line)
        reach = math.dist((place.x, place.y), (hub.x, hub.y)) or 1.0
        label = place.between(hub, min(0.75, (BOX_WIDTH / 2 + 16) / reach))
        _write(root, interface, _Point(label.x, label.y - 5), size=10, fill=QUIET)
    if len(link.ends) > 2:
        _add(root, "circle", cx=hub.x, cy=hub.y, r=7, fill=INK)
    if note := link_note(link):
        _write(root, note, _Point(hub.x, hub.y + 16), size=10, fill=ACCENT)


def _draw_vm(root: ElementTree.Element, vm: VMWish, place: _Point, state: str | None) -> None:
    colour = {"running": ACCENT, None: INK}.get(state, QUIET)
    _add(
        root,
        "rect",
        x=place.x - BOX_WIDTH / 2,
        y=place.y - BOX_HEIGHT / 2,
        width=BOX_WIDTH,
        height=BOX_HEIGHT,
        rx=7,
        fill=PAPER,
        stroke=colour,
        **{"stroke-width": "2"},
    )
    _write(root, _short(vm.name, 15), _Point(place.x, place.y - 3), size=13, fill=colour)
    below = state or " ".join(filter(None, [vm.flavor, "+ internet" if vm.internet else ""]))
    _write(root, below, _Point(place.x, place.y + 14), size=10, fill=QUIET)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _write(root: ElementTree.Element, text: str, place: _Point, *, size: int, fill: str) -> None:
    element = _add(root, "text", x=place.x, y=place.y, fill=fill)
    element.set("font-family", FONT)
    element.set("font-size", str(size))
    element.set("text-anchor", "middle")
    element.set("stroke", PAPER)
    element.set("stroke-width", "3")
    element.set("paint-order", "stroke")
    element.text = text


def _add(root: ElementTree.Element, tag: str, **attributes: str | float) -> ElementTree.Element:
    texts = {k: v if isinstance(v, str) else _number(v) for k, v in attributes.items()}
    return ElementTree.SubElement(root, tag, texts)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
