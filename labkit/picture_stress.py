"""Places on a plane whose distances are as the hops of a graph: stress majorisation.

After Gansner, Koren and North, Graph Drawing by Stress Majorization (2004), one node at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Spot = tuple[float, float]
Table = list[list[float]]

MOST_ROUNDS = 120
STILL = 3e-4  # share by which the stress must fall for another round
CROWD = 6  # with more neighbours than this, they stand further away


def by_distances(near: Sequence[Sequence[int]]) -> list[Spot]:
    """Places of the nodes of a connected graph, one step between neighbours, lying flat.

    `near` are the neighbours of each node. The start with the fewest crossings wins.
    """
    want = _wanted(near)
    edges = [(one, two) for one, others in enumerate(near) for two in others if one < two]
    tries = 4 if len(near) <= 20 else 2
    found = []
    for number in range(tries):
        spots = _start(want, number)
        stress = _relax(spots, want)
        found.append((_crossings(edges, spots), round(stress, 6), number, spots))
    return _flat(min(found)[3])


def _wanted(near: Sequence[Sequence[int]]) -> Table:
    crowd = [max(0, len(others) - CROWD) * 0.12 for others in near]
    table = []
    for start in range(len(near)):
        hops = {start: 0.0}
        waiting = [start]
        for node in waiting:
            for other in near[node]:
                if other not in hops:
                    hops[other] = hops[node] + 1
                    waiting.append(other)
        table.append(
            [
                hop + max(crowd[start], crowd[node]) if hop == 1 else hop
                for node, hop in sorted(hops.items())
            ]
        )
    return table


def _start(want: Table, number: int) -> list[Spot]:
    """Far pivots span the plane; a small spiral keeps apart what has the same distances."""
    nodes = range(len(want))
    sign = 1 if number % 2 == 0 else -1
    one = max(nodes, key=lambda node: (sign * sum(want[node]), -node))
    two = max(nodes, key=lambda node: (want[one][node], -node))
    tie = -1 if number < 2 else 1
    three = max(nodes, key=lambda node: (min(want[one][node], want[two][node]), tie * node))
    return [
        (
            want[one][node] - want[two][node] + 0.3 * math.cos(2.4 * node + number),
            2 * want[three][node]
            - want[one][node]
            - want[two][node]
            + 0.3 * math.sin(2.4 * node + number),
        )
        for node in nodes
    ]


def _relax(spots: list[Spot], want: Table) -> float:
    """Move each node to where its distances pull it, until that changes little; the stress left."""
    weights = [[1 / (d * d) if d else 0.0 for d in row] for row in want]
    totals = [sum(row) for row in weights]
    stress = math.inf
    for _ in range(MOST_ROUNDS):
        left = 0.0
        for node, (wanted, weight) in enumerate(zip(want, weights, strict=True)):
            x, y = spots[node]
            to_x = to_y = 0.0
            for (other_x, other_y), far, pull in zip(spots, wanted, weight, strict=True):
                dx, dy = x - other_x, y - other_y
                apart = math.sqrt(dx * dx + dy * dy) or 1e-9
                left += pull * (apart - far) * (apart - far)
                share = far / apart
                to_x += pull * (other_x + dx * share)
                to_y += pull * (other_y + dy * share)
            spots[node] = (to_x / totals[node], to_y / totals[node])
        if stress - left < STILL * stress:
            return left
        stress = left
    return stress


def _crossings(edges: Sequence[tuple[int, int]], spots: Sequence[Spot]) -> int:
    return sum(
        _cross(spots[a], spots[b], spots[c], spots[d])
        for number, (a, b) in enumerate(edges)
        for c, d in edges[:number]
        if a not in (c, d) and b not in (c, d)
    )


def _cross(a: Spot, b: Spot, c: Spot, d: Spot) -> bool:
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(p: Spot, q: Spot, r: Spot) -> float:
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def _flat(spots: Sequence[Spot]) -> list[Spot]:
    """Turned so that the longest extent lies flat: pages are wider than high."""
    count = len(spots)
    mean_x, mean_y = sum(x for x, _ in spots) / count, sum(y for _, y in spots) / count
    around = [(x - mean_x, y - mean_y) for x, y in spots]
    spread_x, spread_y = sum(x * x for x, _ in around), sum(y * y for _, y in around)
    shared = sum(x * y for x, y in around)
    turn = -0.5 * math.atan2(2 * shared, spread_x - spread_y)
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in around]
