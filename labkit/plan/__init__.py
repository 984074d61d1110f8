"""From what was promised and what is there to what must be done. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.observed import Observed
from labkit.plan import guests, links, machines
from labkit.plan.steps import Plan, RemoveLeftover, StartSteward, Step, StopSteward
from labkit.plan.view import View
from labkit.promise import Promise

__all__ = ["Plan", "Step", "plan"]


def plan(promised: Promise, seen: Observed) -> Plan:
    """The steps that turn what is there into what was promised; none when nothing is to do.

    A host that cannot be reached gets none. Where machines run without their steward, it is
    started and nothing else: what it serves is seen only then.
    """
    hosts = {host: View(host) for host in _hosts(promised, seen)}
    for machine in promised.machines:
        hosts[machine.host].wanted[machine.index] = machine
        hosts[machine.host].guests[machine.index] = promised.guest_of[machine.name]
    for link in promised.links:
        hosts[link.host].wanted_links[link.name] = link
    for found in seen.machines:
        hosts[found.host].machines[found.index] = found
    for seen_link in seen.links:
        hosts[seen_link.host].links[seen_link.name] = seen_link
    for overlay in seen.overlays:
        hosts[overlay.host].overlays[overlay.name] = overlay
    for leftover in seen.leftovers:
        hosts[leftover.host].leftovers.append(leftover)
    steps: list[Step] = []
    look_again = False
    for host, view in hosts.items():
        if host not in seen.unreachable:
            view.served, view.folder = host in seen.stewards, host in seen.folders
            steps += _host_steps(view)
            look_again = look_again or view.is_blind
    return Plan(tuple(steps), look_again, tuple(sorted(seen.unreachable)))


def _hosts(promised: Promise, seen: Observed) -> list[str]:
    named = {*promised.hosts, *seen.stewards, *seen.folders, *seen.unreachable}
    for each in (seen.machines, seen.links, seen.overlays, seen.leftovers):
        named |= {one.host for one in each}
    return sorted(named)


def _host_steps(view: View) -> list[Step]:
    if view.is_blind:
        reason = "machines run without it; what else is to do is seen when it serves them"
        return [StartSteward(host=view.host, name=view.host, reason=reason)]
    view.work_out()
    steps = [
        *_remove_leftovers(view),
        *links.delete_links(view),
        *machines.end_machines(view),
        *machines.disks(view),
        *machines.change_running(view),
        *machines.start_machines(view),
        *links.set_links(view),
        *guests.configure(view),
    ]
    started = list(_start_steward(view, steps))
    return [*started, *steps, *_stop_steward(view, is_started=bool(started))]


def _start_steward(view: View, steps: list[Step]) -> Iterator[Step]:
    if not view.served and any(f"steward {view.host}" in step.needs for step in steps):
        reason = "it does not run" if view.folder else "it is new"
        yield StartSteward(host=view.host, name=view.host, reason=reason)


def _stop_steward(view: View, *, is_started: bool) -> Iterator[Step]:
    if not view.wanted and (view.served or view.folder or is_started):
        reason = "nothing is left to serve"
        yield StopSteward(host=view.host, name=view.host, reason=reason, action="-")


def _remove_leftovers(view: View) -> Iterator[Step]:
    for one in view.leftovers:
        yield RemoveLeftover(host=view.host, name=one.name, reason=one.why, action="-")
