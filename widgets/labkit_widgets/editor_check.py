"""From what is typed in the slice editor to a wish, or to what is wrong, at the field that is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from labkit import rules
from labkit.errors import UsageError
from labkit.wish import Impairment, LinkWish, Slice, VMWish
from labkit.wish.links import link_wish
from labkit.wish.vms import vm_wish
from labkit_widgets.editor_draft import Draft, LinkDraft, VMDraft

Field = tuple[str, str]  # the key of a VM or link, and which of its fields
SHOWN = ("name", "flavor", "interfaces", "internet", "forwarding", "addresses", "routes")
STAND_IN = "x"  # the name under which a VM without a good one is checked
WHOLE = ("", "")  # what is wrong with no field in particular


@dataclass(frozen=True, slots=True)
class Checked:
    """The wish that a draft is, or what is wrong with which of its fields."""

    wish: Slice | None
    problems: Mapping[Field, str]


def check(draft: Draft) -> Checked:
    """The wish of a draft; every field with a problem is found, not only the first."""
    problems: dict[Field, str] = {}
    vms: dict[str, VMWish] = {}
    for typed in draft.vms:
        vm, found = _checked_vm(typed)
        problems |= {(typed.key, name): text for name, text in found}
        if vm is not None:
            vms[typed.key] = vm
    counts = Counter(vm.name for vm in draft.vms)
    names = {vm.key: vm.name for vm in draft.vms if counts[vm.name] == 1}
    links: dict[str, LinkWish] = {}
    for drawn in draft.links:
        link, found = _checked_link(drawn, tuple(names.get(key, "") for key, _ in drawn.ends))
        problems |= {(drawn.key, name): text for name, text in found}
        if link is not None:
            links[drawn.key] = link
    if not problems:
        try:
            return Checked(Slice(draft.name, tuple(vms.values()), tuple(links.values())), {})
        except UsageError:
            pass  # which field it was is found out below
    problems |= _together(draft, vms, links)
    return Checked(None, problems)


def reason(error: UsageError) -> str:
    """Why a value was refused, without the name of the field, beside which it stands."""
    rule = str(error.context.get("rule", error.why))
    said = rule if error.why == rule else f"must be {rule}"
    return said if not error.fix or "nothing was done" in error.fix else f"{said}. {error.fix}"


Problems = tuple[tuple[str, str], ...]


@lru_cache(maxsize=2048)
def _checked_vm(typed: VMDraft) -> tuple[VMWish | None, Problems]:
    """Each field is added to those that are right; the one that makes it wrong has the problem."""
    problems: dict[str, str] = {}
    name = typed.name
    try:
        VMWish(name=name)
    except UsageError as error:
        problems["name"] = reason(error)
        name = STAND_IN
    good: dict[str, Any] = {}
    for where, settings in _settings(typed):
        if _hangs_on(where, problems):
            continue
        merged = {**good, **{key: change(good.get(key)) for key, change in settings.items()}}
        try:
            vm_wish(name, **merged)
        except UsageError as error:
            problems.setdefault(where, reason(error))
        else:
            good = merged
    return (None if problems else vm_wish(name, **good)), tuple(problems.items())


def _hangs_on(where: str, problems: Mapping[str, str]) -> bool:
    """Whether a field can only be judged once another, which has a problem, is right."""
    if where != "routes" and not where.startswith("address:"):
        return False
    waits_for = ("interfaces", "address:") if where == "routes" else ("interfaces",)
    return any(field.startswith(waits_for) for field in problems)


Change = Callable[[Any], Any]


def _settings(typed: VMDraft) -> Iterator[tuple[str, dict[str, Change]]]:
    """The fields in the order in which they depend on each other, as changes of settings."""

    def to(value: Any) -> Change:
        return lambda _before: value

    first: dict[str, Change] = {"flavor": to(typed.flavor)}
    if typed.base is not None:
        kept = [one.name for one in fields(VMWish) if one.name not in (*SHOWN, "name")]
        for key in kept:
            value = getattr(typed.base, key)
            first[key] = to(_written(key, value))
    yield "flavor", first
    count = typed.interfaces.strip()
    yield "interfaces", {"interfaces": to(int(count) if count.isdecimal() else typed.interfaces)}
    yield "internet", {"internet": to(typed.internet)}
    yield "forwarding", {"forwarding": to(typed.forwarding)}
    for interface, text in typed.addresses:
        if interface in typed.data_interfaces:
            for one in filter(None, re.split(r"[,\s]+", text)):
                yield f"address:{interface}", {"addresses": _with_address(interface, one)}
    for line in filter(None, map(str.strip, re.split(r"[,\n]+", typed.routes))):
        yield "routes", {"routes": _with_one(line)}


def _written(key: str, value: Any) -> Any:
    """A setting of a wish as people write it."""
    if key == "hosts":
        return dict(value)
    return {file.path: file for file in value} if key == "files" else value


def _with_address(interface: str, address: str) -> Change:
    def change(before: dict[str, list[str]] | None) -> dict[str, list[str]]:
        old = before or {}
        return old | {interface: [*old.get(interface, []), address]}

    return change


def _with_one(line: str) -> Change:
    return lambda before: [*(before or []), line]


@lru_cache(maxsize=2048)
def _checked_link(drawn: LinkDraft, vms: tuple[str, ...]) -> tuple[LinkWish | None, Problems]:
    """`vms` are the names at its ends, empty where two VMs have the same one."""
    problems: dict[str, str] = {}
    for number, texts in enumerate(drawn.texts):
        suffix = f":{number}" if drawn.apart else ""
        good: dict[str, object] = {}
        for kind, text in sorted(texts, key=lambda pair: pair[0] == "jitter"):  # after the delay
            try:
                Impairment.parse({**good, kind: text})
            except UsageError as error:
                problems[f"{kind}{suffix}"] = reason(error)
            else:
                good[kind] = text
    has_vms = all(map(rules.NAME.fullmatch, vms))
    if drawn.named or has_vms:  # else it is called after a VM, whose field tells what is wrong
        try:
            rules.name(drawn.name, "name of a link")
        except UsageError as error:
            problems["name"] = reason(error)
    if problems or not has_vms:
        return None, tuple(problems.items())
    ends = tuple(f"{vm}:{interface}" for vm, (_, interface) in zip(vms, drawn.ends, strict=True))
    sends = {end: dict(texts) for end, texts in zip(ends, drawn.texts, strict=True)}
    try:
        return link_wish(drawn.name, ends, up=drawn.up, sends=sends), ()
    except UsageError as error:
        value = error.context.get("value")
        where = f"end:{ends.index(value)}" if value in ends else "end:0"
        return None, ((where, reason(error)),)


def _together(
    draft: Draft, vms: Mapping[str, VMWish], links: Mapping[str, LinkWish]
) -> dict[Field, str]:
    """What is right by itself and does not fit the rest: the later one has the problem."""
    problems: dict[Field, str] = {}
    built = Slice(draft.name) if rules.NAME.fullmatch(draft.name) else Slice(STAND_IN)
    if built.name != draft.name:
        problems["", "name"] = "must be 1 to 63 letters, digits, '_', '.' or '-'"
    for key, vm in vms.items():
        try:
            built = built.with_vms([vm])
        except UsageError as error:
            problems[key, "name"] = reason(error)
    missing = {vm.key for vm in draft.vms} - {k for k in vms if (k, "name") not in problems}
    for drawn in draft.links:
        link = links.get(drawn.key)
        if link is None or missing & {key for key, _ in drawn.ends}:
            continue
        try:
            built = built.with_links([link])
        except UsageError as error:
            problems.setdefault(_field_of(error, drawn, link, draft), reason(error))
    return problems


def _field_of(error: UsageError, drawn: LinkDraft, link: LinkWish, draft: Draft) -> Field:
    """The field that a refused link is to blame on, by the argument that the error names."""
    argument = str(error.context.get("argument", ""))
    of_end = dict(zip(link.ends, drawn.ends, strict=True))
    if argument.startswith("address of "):
        key, interface = of_end[argument.removeprefix("address of ")]
        return draft.vm(key).key, f"address:{interface}"
    value = error.context.get("value")
    if value in link.ends:
        return drawn.key, f"end:{link.ends.index(str(value))}"
    return drawn.key, "name"
