"""How labs, slices, VMs and links look in a cell: as text, compact HTML, and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labkit import markup
from labkit.lab import tables
from labkit.markup import Bundle, state_cell, tone
from labkit.picture import link_note, topology_svg
from labkit.wish import LinkWish, Slice, VMWish

if TYPE_CHECKING:
    from labkit.lab.lab import Lab
    from labkit.lab.link_handle import LabLink
    from labkit.lab.slice_handle import LabSlice
    from labkit.lab.vm_handle import LabVM

VMS_SHOWN = ("name", "state", "flavor", "size", "addresses", "internet", "host")
LINKS_SHOWN = ("name", "state", "ends", "impairments")
NOT_DEPLOYED = "design"  # as pictures call it
MIB_PER_GIB = 1024


def slice_text(wish: Slice, states: Mapping[str, str], links: Mapping[str, str]) -> str:
    """A slice in plain text: its VMs and links, one in a line, with their states."""
    width = max(map(len, [*states, *links]), default=0)
    word = max(map(len, [*states.values(), *links.values()]), default=0)
    vms = (
        (vm.name.ljust(width), states[vm.name].ljust(word), vm.flavor, _vm_words(vm))
        for vm in wish.vms
    )
    joined = (
        (
            link.name.ljust(width),
            links[link.name].ljust(word),
            " -- ".join(link.ends),
            _in_brackets(link_note(link)),
        )
        for link in wish.links
    )
    shown = [f"slice {wish.name}: {summary(wish, states)}"]
    shown += [markup.text_table(rows) for rows in (vms, joined)]
    return "\n".join(filter(None, shown))


def summary(wish: Slice, states: Mapping[str, str]) -> str:
    """``3 VMs (2 running, 1 absent), 2 links``."""
    counts = Counter(states.values())
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), key=_by_state))
    vms = markup.counted(len(wish.vms), "VM")
    return f"{vms}{f' ({told})' if told else ''}, {markup.counted(len(wish.links), 'link')}"


def _by_state(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != "running", item[0]


def slice_bundle(slice_: LabSlice) -> Bundle:
    """A slice as one output: text, a picture, and HTML that has both the picture and a table."""
    wish, states, links = slice_.wish, slice_.states, slice_.link_states
    svg = slice_svg(wish, states, links)
    text = slice_text(wish, states, links)
    told = f"Topology of {wish.name}: {summary(wish, states)}"
    return markup.bundle(text, markup.picture(svg, told), *_slice_tables(slice_), svg=svg)


def picture_bundle(slice_: LabSlice) -> Bundle:
    """The picture alone: where a viewer is offered HTML as well, it shows no picture."""
    wish, states, links = slice_.wish, slice_.states, slice_.link_states
    svg = slice_svg(wish, states, links)
    return markup.bundle(slice_text(wish, states, links), svg=svg)


def tables_bundle(slice_: LabSlice) -> Bundle:
    """The tables alone, to stand below the picture, which has the text."""
    return markup.bundle(
        f"slice {slice_.name}: {summary(slice_.wish, slice_.states)}", *_slice_tables(slice_)
    )


def slice_svg(wish: Slice, states: Mapping[str, str], links: Mapping[str, str]) -> str:
    """The picture of a slice in its state."""
    return topology_svg(
        wish,
        states={name: picture_state(state) for name, state in states.items()},
        link_states={link.name: picture_link_state(link, links[link.name]) for link in wish.links},
    )


def picture_state(state: str) -> str:
    """The state of a VM as pictures call it."""
    return NOT_DEPLOYED if state == tables.ABSENT else state


def picture_link_state(link: LinkWish, state: str) -> str:
    """The state of a link as pictures call it: what is done to its packets counts as one."""
    if state == tables.ABSENT:
        return NOT_DEPLOYED
    return "impaired" if state == "up" and link.impairments else state


def _slice_tables(slice_: LabSlice) -> list[str]:
    wish = slice_.wish
    parts = [markup.heading(wish.name, "", summary(wish, slice_.states))]
    if wish.vms:
        parts.append(markup.table(VMS_SHOWN, _vm_rows(slice_)))
    if wish.links:
        rows = slice_.links[list(LINKS_SHOWN)].fillna("").itertuples(index=False)
        parts.append(
            markup.table(
                ("link", *LINKS_SHOWN[1:]),
                ((name, state_cell(state), *others) for name, state, *others in rows),
            )
        )
    return parts


def _vm_rows(slice_: LabSlice) -> list[list[object]]:
    rows = slice_.vms.astype(object).fillna("").to_dict("records")
    return [
        [
            row["name"],
            state_cell(row["state"]),
            row["flavor"],
            size_words(row["cores"], row["memory_mb"]),
            row["addresses"],
            row["internet"],
            row["host"],
        ]
        for row in rows
    ]


def size_words(cores: int, memory_mb: int) -> str:
    """``1 core, 96 MB``."""
    whole = memory_mb >= MIB_PER_GIB and memory_mb % (MIB_PER_GIB // 2) == 0
    memory = f"{memory_mb / MIB_PER_GIB:g} GB" if whole else f"{memory_mb} MB"
    return f"{markup.counted(cores, 'core')}, {memory}"


def vm_facts(vm: LabVM) -> list[tuple[str, str]]:
    """What is worth knowing of a VM, as pairs."""
    wish = vm.wish
    place = next((p for p in vm.slice.record.allocation.vms if p.name == vm.name), None)
    rows = [
        ("flavor", f"{wish.flavor}: {size_words(wish.size.cores, wish.size.memory_mb)}"),
        ("image", wish.image or ""),
        ("addresses", " ".join(f"{name}={address}" for name, address in wish.addresses)),
        ("internet", (place.address if place else "yes") or "yes" if wish.internet else ""),
        ("routes", "; ".join(map(str, wish.routes))),
        ("forwarding", "yes" if wish.forwarding else ""),
        ("links", ", ".join(_links_of(vm))),
        ("host", f"{place.host}, VM {place.vm_id}" if place else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _links_of(vm: LabVM) -> list[str]:
    found = []
    for link in vm.slice.wish.links:
        for end in link.ends:
            name, _, interface = end.partition(":")
            if name == vm.name:
                others = ", ".join(other for other in link.ends if other != end)
                found.append(f"{interface} to {others}")
    return found


def vm_bundle(vm: LabVM) -> Bundle:
    """A VM: its state and facts."""
    facts = vm_facts(vm)
    text = f"VM {vm.name}: {vm.state}\n{markup.text_table(facts)}"
    head = markup.heading(vm.name, markup.chip(vm.state, tone(vm.state)), "VM")
    return markup.bundle(text, head, markup.facts(facts))


def link_facts(link: LabLink) -> list[tuple[str, str]]:
    """What is worth knowing of a link, as pairs."""
    wish = link.wish
    words = tables.impairment_words(wish.impairments, len(wish.ends))
    rows = [("ends", " -- ".join(wish.ends)), ("impairments", words or "none")]
    return rows if wish.up else [*rows, ("wished", "down")]


def link_bundle(link: LabLink) -> Bundle:
    """A link: its state, its ends, and what it does to packets."""
    facts = link_facts(link)
    text = f"link {link.name}: {link.state}\n{markup.text_table(facts)}"
    head = markup.heading(link.name, markup.chip(link.state, tone(link.state)), "link")
    return markup.bundle(text, head, markup.facts(facts))


def lab_bundle(lab: Lab) -> Bundle:
    """A lab: its slices."""
    rows: Sequence[tuple[object, ...]] = [
        (row.name, row.vms, row.links, "yes" if row.held else "")
        for row in lab.slices.itertuples(index=False)
    ]
    kind = "real machines" if lab.is_real else "simulated"
    head = markup.heading(f"Lab {lab.profile}", "", kind, markup.counted(len(rows), "slice"))
    shown = [markup.table(("slice", "VMs", "links", "deployed"), rows)] if rows else []
    return markup.bundle(repr(lab), head, *shown)


def _vm_words(vm: VMWish) -> str:
    traits = [name for name in ("internet", "forwarding") if getattr(vm, name)]
    traits += [f"image {vm.image}"] if vm.image else []
    return " ".join([*(f"{name}={address}" for name, address in vm.addresses), *traits])


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""
