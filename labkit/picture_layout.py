"""Where the nodes of a topology go: known shapes as people draw them, all else by distances.

Pure Python and the same picture for the same topology, always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from labkit.picture_stress import by_distances

MOST_ON_A_CIRCLE = 12  # of more, a rectangle needs less room


class Point(NamedTuple):
    """A place in the picture, in pixels."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Room:
    """What a layout must leave free, in pixels.

    `across` and `down` are from the middle of a node to that of its neighbour, `gap` is between
    nodes, and `width` is where a picture should end.
    """

    across: float
    down: float
    gap: float
    width: float


Box = tuple[float, float]
Edges = tuple[tuple[int, int], ...]
Places = list[Point]


@lru_cache(maxsize=64)
def layout(boxes: tuple[Box, ...], edges: Edges, room: Room) -> tuple[Point, ...]:
    """The middles of nodes with these `boxes` (width and height); no two of them overlap."""
    parts = [
        (members, _apart(_part(members, boxes, edges, room), [boxes[m] for m in members], room.gap))
        for members in _components(len(boxes), edges)
    ]
    found: dict[int, Point] = {}
    for members, places in _packed(parts, boxes, room):
        found |= zip(members, places, strict=True)
    return tuple(Point(round(found[n].x, 1), round(found[n].y, 1)) for n in range(len(boxes)))


def _components(count: int, edges: Edges) -> list[list[int]]:
    near = _neighbours(range(count), edges)
    seen: set[int] = set()
    parts = []
    for start in range(count):
        if start not in seen:
            part = [start]
            seen.add(start)
            for node in part:
                fresh = [other for other in near[node] if other not in seen]
                seen.update(fresh)
                part += fresh
            parts.append(sorted(part))
    return parts


def _neighbours(nodes: Iterable[int], edges: Edges) -> dict[int, list[int]]:
    """Each node's neighbours, once each, in the order of the edges."""
    near: dict[int, dict[int, None]] = {node: {} for node in nodes}
    for one, two in edges:
        if one in near and two in near:
            near[one][two] = None
            near[two][one] = None
    return {node: list(others) for node, others in near.items()}


def _part(members: list[int], boxes: Sequence[Box], edges: Edges, room: Room) -> Places:
    """The places of one connected part, in the order of its members."""
    near = _neighbours(members, edges)
    shape = _shape(near)
    if shape is None:
        index = {node: place for place, node in enumerate(members)}
        spots = by_distances([[index[other] for other in near[node]] for node in members])
        extent = max(x for x, _ in spots) - min(x for x, _ in spots)
        across = min(room.across, (room.width - max(boxes[m][0] for m in members)) / extent)
        return [Point(x * across, y * room.down) for x, y in spots]
    order, draw = shape
    box = (max(boxes[node][0] for node in order), max(boxes[node][1] for node in order))
    at = dict(zip(order, draw(len(order), box, room), strict=True))
    return [at[node] for node in members]


Draw = Callable[[int, Box, Room], Places]


def _shape(near: dict[int, list[int]]) -> tuple[list[int], Draw] | None:
    """The shape that a person would see at once: its nodes in order, and how it is drawn."""
    count = len(near)
    degrees = {node: len(others) for node, others in near.items()}
    cables = sum(degrees.values()) // 2
    if cables == count - 1 and max(degrees.values()) <= 2:
        ends = [node for node in near if degrees[node] <= 1]
        return _walk(near, ends[0]), _row
    if cables == count and set(degrees.values()) == {2}:
        return _walk(near, next(iter(near))), _loop
    hub = max(near, key=lambda node: degrees[node])
    if cables == count - 1 and degrees[hub] == count - 1:
        return [hub, *near[hub]], _rays
    if count <= MOST_ON_A_CIRCLE and cables == count * (count - 1) // 2:
        return list(near), _loop
    return None


def _walk(near: dict[int, list[int]], start: int) -> list[int]:
    order = [start]
    while True:
        fresh = [node for node in near[order[-1]] if node not in order]
        if not fresh:
            return order
        order.append(min(fresh))


def _row(count: int, box: Box, room: Room) -> Places:
    """A chain in a row; a long one turns at the end of each row, as one writes in furrows."""
    most = max(2, 1 + int((room.width - box[0]) // room.across))
    rows = math.ceil(count / most)
    columns = math.ceil(count / rows)
    places = []
    for number in range(count):
        row, column = divmod(number, columns)
        places.append(
            Point((columns - 1 - column if row % 2 else column) * room.across, row * room.down)
        )
    return places


def _loop(count: int, box: Box, room: Room) -> Places:
    """A circle that begins at the upper left, or a rectangle for many."""
    if count > MOST_ON_A_CIRCLE:
        return _frame(count, room.across, box[1] + room.gap + 8, room.width)
    return _circle(count, room.across, room.down, room.across, room.down)


def _rays(count: int, box: Box, room: Room) -> Places:
    """One in the middle, and the others around it."""
    middle, leaves = Point(0.0, 0.0), count - 1
    across, down = box[0] + room.gap, box[1] + room.gap
    if leaves <= MOST_ON_A_CIRCLE:
        return [middle, *_circle(leaves, room.across, room.down, across, down)]
    if leaves <= 2 * MOST_ON_A_CIRCLE:
        return [middle, *_frame(leaves, across, down, room.width)]
    inner = math.ceil(leaves / 2)
    frame = _frame(inner, across, down, room.width - 2 * across)
    right, bottom = max(p.x for p in frame), max(p.y for p in frame)
    stretch = Point((right + across) / right, (bottom + 1.7 * down) / bottom)
    outer = []
    for number in range(leaves - inner):  # between two of the inner ones, so that rays pass
        one, two = frame[number], frame[(number + 1) % inner]
        outer.append(Point((one.x + two.x) / 2 * stretch.x, (one.y + two.y) / 2 * stretch.y))
    mixed = [place for pair in zip(frame, outer, strict=False) for place in pair]
    return [middle, *mixed, *frame[len(outer) :]]


def _circle(count: int, wide: float, high: float, across: float, down: float) -> Places:
    """An ellipse of at least `wide` and `high`, with neighbours `across` or `down` apart."""
    turns = [
        2 * math.pi * number / count - math.pi / 2 - math.pi / count for number in range(count)
    ]
    if count % 2:
        turns = [turn + math.pi / count for turn in turns]
    places = [Point(wide * math.cos(turn), high * math.sin(turn)) for turn in turns]
    nearest = min(
        max(abs(one.x - two.x) / across, abs(one.y - two.y) / down)
        for one, two in zip(places, [*places[1:], places[0]], strict=True)
    )
    least = 0.62 if across == wide else 1.0  # a ring's radius may be shorter than its cables
    growth = max(least, 1 / nearest)
    return [Point(place.x * growth, place.y * growth) for place in places]


def _frame(count: int, across: float, down: float, width: float) -> Places:
    """A rectangle with a node at every step of its border, around the middle."""
    half = math.ceil(count / 2)
    columns = min(
        int(width // across) - 1, max(half // 2, round(half * down / (across + down) * 2))
    )
    columns = max(1, min(columns, half - 1))
    rows = half - columns
    steps = [(column, 0) for column in range(columns)]
    steps += [(columns, row) for row in range(rows)]
    steps += [(column, rows) for column in range(columns, 0, -1)]
    steps += [(0, row) for row in range(rows, 0, -1)]
    return [
        Point((column - columns / 2) * across, (row - rows / 2) * down)
        for column, row in steps[:count]
    ]


def _apart(places: Places, boxes: Sequence[Box], gap: float) -> Places:
    """Push nodes that overlap away from each other, the shorter way; little else moves."""
    spots = [[place.x, place.y] for place in places]
    for _ in range(200):
        moved = False
        for one in range(len(spots)):
            for two in range(one):
                moved |= _push(spots[one], spots[two], boxes[one], boxes[two], gap)
        if not moved:
            break
    return [Point(x, y) for x, y in spots]


def _push(one: list[float], two: list[float], box1: Box, box2: Box, gap: float) -> bool:
    """Move two nodes until they are `gap` apart, along the axis that needs less; tell if so."""
    lack = [(box1[axis] + box2[axis]) / 2 + gap - abs(one[axis] - two[axis]) for axis in (0, 1)]
    if min(lack) <= 0.01:
        return False
    axis = 0 if lack[0] < lack[1] else 1
    step = (lack[axis] + 0.02) / 2
    sign = 1 if one[axis] >= two[axis] else -1
    one[axis] += sign * step
    two[axis] -= sign * step
    return True


Part = tuple[list[int], Places]


def _packed(parts: list[Part], boxes: Sequence[Box], room: Room) -> list[Part]:
    """Parts beside each other and below, the largest first, each row in the middle."""
    parts = sorted(parts, key=lambda part: -len(part[0]))
    gap = room.gap * 2.5
    rows: list[list[tuple[Part, float, float, float]]] = []
    used = 0.0
    for members, places in parts:
        left = min(p.x - boxes[m][0] / 2 for m, p in zip(members, places, strict=True))
        right = max(p.x + boxes[m][0] / 2 for m, p in zip(members, places, strict=True))
        top = min(p.y - boxes[m][1] / 2 for m, p in zip(members, places, strict=True))
        bottom = max(p.y + boxes[m][1] / 2 for m, p in zip(members, places, strict=True))
        part = (members, [Point(p.x - left, p.y - top) for p in places])
        wide, high = right - left, bottom - top
        if not rows or used + gap + wide > room.width:
            rows.append([])
            used = -gap
        used += gap + wide
        rows[-1].append((part, used - wide, wide, high))
    whole = max((row[-1][1] + row[-1][2] for row in rows), default=0.0)
    found, y = [], 0.0
    for row in rows:
        tall = max(high for *_, high in row)
        start = (whole - row[-1][1] - row[-1][2]) / 2
        for (members, places), x, _wide, high in row:
            down = y + (tall - high) / 2
            found.append((members, [Point(p.x + start + x, p.y + down) for p in places]))
        y += tall + gap
    return found
