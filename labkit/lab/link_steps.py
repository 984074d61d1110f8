"""Changing a link while it lives: what must be done for it, and nothing else. Pure."""

from __future__ import annotations

from labkit.allocate import Allocation
from labkit.observed import Observed
from labkit.plan import Plan
from labkit.plan.steps import SetLink, StartSteward
from labkit.promise import link_spec
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
    reason = "its wish was changed while it lives"
    return Plan((SetLink(host=there.host, name=link.name, reason=reason, action="~", link=spec),))
