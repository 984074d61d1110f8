"""The steps that make, change and delete links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labkit.observed import ObservedLink
from labkit.plan.steps import DeleteLink, SetLink, Step
from labkit.plan.view import GONE, View
from labkit.promise import LinkSpec, Port
from labkit.wish import Impairment

UNIMPAIRED = "nothing"


def delete_links(view: View) -> Iterator[Step]:
    """Links that are not wanted, and those that hold an interface another link is to have."""
    holder = {port: link.name for link in view.wanted_links.values() for port in link.ports}
    for name, link in view.links.items():
        moved = [holder[port] for port in link.ports if holder.get(port, name) != name]
        if name in view.wanted_links and not moved:
            continue
        yield DeleteLink(
            host=view.host,
            name=name,
            reason=f"an interface of it goes to link {moved[0]}" if moved else GONE,
            action="~" if name in view.wanted_links else "-",
            ports=link.ports,
        )


def set_links(view: View) -> Iterator[Step]:
    """Links that are missing or differ, and those whose machines are new behind them."""
    deleted = {step.name for step in delete_links(view)}
    for name, spec in view.wanted_links.items():
        seen = view.links.get(name)
        reason = "it is new" if seen is None else "; ".join(_differences(view, spec, seen))
        if name in deleted:
            reason = "; ".join(["its interfaces changed hands", *filter(None, [reason])])
        if reason:
            yield SetLink(
                host=view.host,
                name=name,
                reason=reason,
                action="+" if seen is None else "~",
                link=spec,
            )


def _differences(view: View, spec: LinkSpec, seen: ObservedLink) -> Iterator[str]:
    names = dict(zip(spec.ports, spec.ends, strict=True))
    if set(spec.ports) != set(seen.ports):
        joined = (end for port, end in names.items() if port not in seen.ports)
        left = (_place(view, port) for port in seen.ports if port not in names)
        yield ", ".join([*(f"{end} joins" for end in joined), *(f"{one} leaves" for one in left)])
    yield from dict.fromkeys(view.fresh[port] for port in spec.ports if port in view.fresh)
    for port, end in names.items():
        if port in seen.ports and port not in seen.connected and port not in view.fresh:
            yield f"{end} is not connected"
    old, new = dict(seen.impairments), dict(spec.impairments)
    for port, end in names.items():
        if old.get(port) != new.get(port):
            yield f"packets from {end}: {_words(old, port)} -> {_words(new, port)}"
    if spec.up != seen.up:
        yield "it goes up" if spec.up else "it goes down"


def _place(view: View, port: Port) -> str:
    machine = view.machines.get(port.machine)
    return f"{machine.name if machine else f'machine {port.machine}'}:eth{port.nic}"


def _words(impairments: Mapping[Port, Impairment], port: Port) -> str:
    found = impairments.get(port)
    return " ".join(f"{k} {v}" for k, v in found.texts().items()) if found else UNIMPAIRED
