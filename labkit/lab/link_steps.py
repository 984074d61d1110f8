"""Changing a link while it lives: what must be done for it, and nothing else. Pure."""

from __future__ import annotations

from labkit.allocate import Allocation
from labkit.lab.tables import impairment_words
from labkit.observed import Observed, ObservedLink
from labkit.plan import Plan
from labkit.plan.steps import SetLink, StartSteward
from labkit.promise import LinkSpec, link_spec
from labkit.wish import LinkWish


def to_see_all(seen: Observed) -> Plan:
    """The stewards to start where there is something that only they can tell of."""
    reason = "only it can tell of what it serves"
    blind = sorted(seen.folders - seen.stewards)
    return Plan(tuple(StartSteward(host=host, name=host, reason=reason) for host in blind))


def to_change(link: LinkWish, allocation: Allocation, seen: Observed) -> Plan:
    """The step for a link that joins what it should; none where it is not there so."""
    spec = link_spec(link, allocation)
    there = next((one for one in seen.links if one.name == link.name), None)
    if spec is None or there is None or set(spec.ports) != set(there.ports):
        return Plan(())
    reason = _what_is_set(link, spec, there)
    return Plan((SetLink(host=there.host, name=link.name, reason=reason, action="~", link=spec),))


def _what_is_set(link: LinkWish, spec: LinkSpec, there: ObservedLink) -> str:
    """``down``, ``delay 80ms``, ``up, cleared`` …"""
    found = []
    if spec.up != there.up:
        found.append("up" if spec.up else "down")
    if dict(spec.impairments) != dict(there.impairments):
        found.append(impairment_words(link.impairments, len(link.ends)) or "cleared")
    return ", ".join(found) or "as it is"
