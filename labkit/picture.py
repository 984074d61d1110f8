"""A topology as text, and as SVG that any viewer shows: attributes only, no style sheet.

The page behind it may be light or dark, so nothing is painted there: words stand on cards, or
have a grey that can be read on both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from labkit.markup import counted
from labkit.picture_draw import BELOW, Pen, legend_rows
from labkit.picture_layout import Edges, Point, Room, layout
from labkit.picture_looks import PLAIN, VM_LOOKS, link_look, vm_look
from labkit.picture_text import Line, Page, Rect, fitting, short, text_width
from labkit.wish import LinkWish, Slice, VMWish

MARGIN = 14
WIDTH = 940
MOST_ROOMY, MOST_LABELLED = 20, 45  # nodes with two lines, links with the names of interfaces


def topology_text(wish: Slice) -> str:
    """The VMs and the links of a wish, one in a line."""
    lines = [
        f"slice {wish.name}: {counted(len(wish.vms), 'VM')}, {counted(len(wish.links), 'link')}"
    ]
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
    if texts := _common(link):
        notes.append(texts)
    else:
        notes += [f"{end} sends: {' '.join(o.texts().values())}" for end, o in link.impairments]
    return "; ".join(notes)


def _common(link: LinkWish) -> str:
    """What a link does to packets, where it does the same to those of every end."""
    texts = {" ".join(one.texts().values()) for _, one in link.impairments}
    return texts.pop() if len(texts) == 1 and len(link.impairments) == len(link.ends) else ""


def _traits(vm: VMWish) -> str:
    traits = [name for name in ("internet", "forwarding") if getattr(vm, name)]
    return " ".join(traits)


def topology_svg(
    wish: Slice,
    *,
    states: Mapping[str, str] | None = None,
    link_states: Mapping[str, str] | None = None,
) -> str:
    """A picture of a wish, for light pages and dark ones.

    `states` are those of VMs, by name: ``running``, ``starting``, ``paused``, ``panicked``,
    ``off``, ``design`` (not deployed) or any other word, which is shown as one that is not known;
    a VM that is left out is not deployed. `link_states` are ``up``, ``traffic``, ``impaired``,
    ``down``, ``disconnected`` or ``design``; a link that is left out is what the wish says.

    Each VM is a group with ``data-vm`` and ``data-state``, each link one with ``data-link`` and
    ``data-state``; their ids are ``SLICE-vm-NAME`` and ``SLICE-link-NAME``.
    """
    return _Picture(wish, states, link_states or {}).svg()


@dataclass(frozen=True, slots=True)
class _Cable:
    """A line of a link, from a VM to another or to the link's switch."""

    link: LinkWish
    ends: tuple[str, str]  # the second is empty at a switch
    line: Line


class _Picture:
    """One drawing: places first, then words, then lines where no words are."""

    def __init__(
        self, wish: Slice, states: Mapping[str, str] | None, link_states: Mapping[str, str]
    ) -> None:
        self.wish, self.states = wish, states
        self.switches = [link for link in wish.links if len(link.ends) > 2]
        self.link_states = {
            link.name: _shown(link, link_states.get(link.name)) for link in wish.links
        }
        self.roomy = len(wish.vms) + len(self.switches) <= MOST_ROOMY
        self.labelled = (
            self.roomy and sum(len(link.ends) for link in wish.links) <= 2 * MOST_LABELLED
        )

    def state(self, vm: str) -> str | None:
        return None if self.states is None else self.states.get(vm, "design")

    # sizes and places

    @cached_property
    def card(self) -> tuple[float, float]:
        """One size for all VMs, whatever their states: the picture is calmer."""
        if not self.roomy:
            return max(54.0, round(self.widest_name * 11 / 13 + 27)), 24.0
        badges = max((vm.internet + vm.forwarding for vm in self.wish.vms), default=0)
        return round(self.words + 46 + 16 * badges), 44.0

    @cached_property
    def widest_name(self) -> float:
        return max((text_width(short(vm.name, 16), 13) for vm in self.wish.vms), default=0)

    @cached_property
    def words(self) -> float:
        """How wide the words on a card may be: enough for every state that is known."""
        below = {vm.flavor for vm in self.wish.vms} | {look.word for look in VM_LOOKS.values()}
        return max(self.widest_name, *(text_width(text, BELOW) for text in below))

    def below(self, vm: VMWish) -> str:
        """The second line of a card."""
        word = self.word(vm)
        return vm.flavor if word is None else fitting(word, self.words, BELOW)

    def word(self, vm: VMWish) -> str | None:
        """The state of a VM in a word; one that is not known here stands for itself."""
        state = self.state(vm.name)
        if state is None:
            return None
        key, look = vm_look(state)
        return state if key == "unknown" else look.word

    def badges(self, vm: VMWish) -> Iterator[str]:
        if vm.internet:
            yield "internet"
        if vm.forwarding and self.states is not None:
            yield "router"

    @cached_property
    def boxes(self) -> dict[str, tuple[float, float]]:
        """VMs by name, and switches by their link's name with a colon, which no VM has."""
        boxes = {vm.name: self.card for vm in self.wish.vms}
        for link in self.switches:
            width = text_width(short(link.name, 16), 11) + 32
            boxes[f":{link.name}"] = (round(width), 24.0)
        return boxes

    @cached_property
    def places(self) -> dict[str, Point]:
        index = {name: number for number, name in enumerate(self.boxes)}
        edges: Edges = tuple(
            (index[one], index[two]) for link in self.wish.links for one, two in _pairs(link)
        )
        width, height = self.card
        notes = max((text_width(note, 10) + 18 for note in self._notes()), default=0.0)
        names = 64.0 if self.labelled else 0.0  # of the interfaces at both ends
        room = Room(
            across=width + names + max(48.0 if self.roomy else 40.0, notes),
            down=height + (76.0 if self.labelled else 38.0),
            gap=26.0 if self.roomy else 14.0,
            width=WIDTH,
        )
        found = layout(tuple(self.boxes.values()), edges, room)
        return dict(zip(self.boxes, found, strict=True))

    def _notes(self) -> Iterator[str]:
        """What will stand on lines."""
        for link in self.wish.links:
            if len(link.ends) == 2 and (link.impairments or not link.up):
                common = _common(link)
                each = (" ".join(one.texts().values()) for _, one in link.impairments)
                yield common if common or not link.up else f"→ {max(each, key=len)}"

    @cached_property
    def cards(self) -> dict[str, Rect]:
        return {name: Rect.around(self.places[name], *box) for name, box in self.boxes.items()}

    @cached_property
    def cables(self) -> list[_Cable]:
        """Every line, cut off at its cards; cables between the same two run side by side."""
        found: list[_Cable] = []
        together = Counter(frozenset(link.vms) for link in self.wish.links if len(link.ends) == 2)
        drawn: Counter[frozenset[str]] = Counter()
        for link in self.wish.links:
            pair = frozenset(link.vms)
            beside = 0.0
            if len(link.ends) == 2:
                beside = (drawn[pair] - (together[pair] - 1) / 2) * 18
                drawn[pair] += 1
            for one, two in _pairs(link):
                line = Line(self.places[min(one, two)], self.places[max(one, two)]).moved(beside)
                line = line if one < two else Line(line.end, line.start)
                ends = link.ends if len(link.ends) == 2 else (_end_at(link, one), "")
                line = line.between(self.cards[one], self.cards[two])
                found.append(_Cable(link, (ends[0], ends[1]), line))
        return found

    # the drawing

    def svg(self) -> str:
        page = Page(rect.grown(2) for rect in self.cards.values())
        labels = list(self._labels(page)) if self.labelled else []
        chips = list(self._chips(page))
        pen = Pen(self.wish.name)
        for link in self.wish.links:
            self._draw_link(pen, link, [rect for rect, *_ in labels], labels, chips)
        for vm in self.wish.vms:
            self._draw_vm(pen, vm)
        if not self.wish.vms:
            pen.text("no VMs yet", Point(52, 10), 12)
        frame = Rect.holding([*page.taken, *((Rect(0, 0, 104, 20),) if not self.wish.vms else ())])
        looks = self._legend()
        foot, height = legend_rows(looks, max(frame.right - frame.left, 260))
        pen.legend(foot, Point(frame.left, frame.bottom + 18))
        whole = Rect(
            frame.left,
            frame.top,
            max([frame.right, *(frame.left + x + width for x, _, width, *_ in foot)]),
            frame.bottom + (height + 18 if foot else 0),
        ).grown(MARGIN)
        return pen.finish(whole, *self._told())

    def _chips(self, page: Page) -> Iterator[tuple[Rect, str, str]]:
        """What links do to packets, on their lines: place, text, and the link's name."""
        for cable in self.cables:
            link = cable.link
            common = _common(link)
            share = (0.5, 0.42, 0.58, 0.34, 0.66)
            if len(link.ends) > 2:
                if common or not link.up:
                    continue
                texts = self._sent(cable, 0)
            elif not link.up or common:
                texts = [(" ".join(filter(None, ["" if link.up else "down", common])), share)]
            else:
                texts = [*self._sent(cable, 0), *self._sent(cable, 1)]
            for text, shares in texts:
                places = (cable.line.at(at) for at in shares)
                rect = page.room_for(places, text_width(text, 10) + 12, 16)
                if rect is not None:
                    yield rect, text, link.name
        for link in self.switches:
            text = link_note(link) if _common(link) or not link.up else ""
            middle = self.places[f":{link.name}"]
            rect = (
                page.room_for(
                    (Point(middle.x, middle.y + down) for down in (23, -23)),
                    text_width(text, 10) + 12,
                    16,
                )
                if text
                else None
            )
            if rect is not None:
                yield rect, text, link.name

    @staticmethod
    def _sent(cable: _Cable, which: int) -> list[tuple[str, tuple[float, ...]]]:
        """What happens to what one end sends, with an arrow that way."""
        impaired = dict(cable.link.impairments).get(cable.ends[which])
        if impaired is None:
            return []
        start, end = cable.line if which == 0 else (cable.line.end, cable.line.start)
        dx, dy = end.x - start.x, end.y - start.y
        arrow = ("→" if dx > 0 else "←") if abs(dx) > abs(dy) else ("↓" if dy > 0 else "↑")
        shares = (0.38, 0.46, 0.3, 0.54) if which == 0 else (0.62, 0.54, 0.7, 0.46)
        return [(f"{arrow} {' '.join(impaired.texts().values())}", shares)]

    def _labels(self, page: Page) -> Iterator[tuple[Rect, str, str]]:
        """The names of interfaces, where the lines leave the cards: place, text, link's name."""
        for cable in self.cables:
            for end, line in zip(
                cable.ends, (cable.line, Line(cable.line.end, cable.line.start)), strict=True
            ):
                if not end or line.length < 1:
                    continue
                text = end.partition(":")[2]
                width, height = text_width(text, 10) + 4, 13.0
                flat = abs(line.end.x - line.start.x) / line.length
                steep = abs(line.end.y - line.start.y) / line.length
                reach = min(width / 2 / max(flat, 1e-6), height / 2 / max(steep, 1e-6)) + 4
                steps = (reach + 7 * step for step in range(8))
                places = (line.at(far / line.length) for far in steps if far < line.length * 0.62)
                rect = page.room_for(places, width, height)
                if rect is not None:
                    yield rect, text, cable.link.name

    def _draw_link(
        self,
        pen: Pen,
        link: LinkWish,
        hidden: list[Rect],
        labels: list[tuple[Rect, str, str]],
        chips: list[tuple[Rect, str, str]],
    ) -> None:
        key, look = link_look(self.link_states[link.name])
        note = link_note(link)
        told = f"{link.name}: {' to '.join(link.ends)}, {look.word}{f' ({note})' if note else ''}"
        pen.begin("link", link.name, key, told)
        lines = [cable.line for cable in self.cables if cable.link is link]
        hidden = [rect.grown(3) for rect in hidden] if look.beads else hidden
        pen.cable(lines, [part for line in lines for part in line.outside(hidden)], look)
        for rect, text, name in labels:
            if name == link.name:
                pen.text(text, rect.middle, 10)
        if len(link.ends) > 2:
            pen.switch(
                self.cards[f":{link.name}"],
                short(link.name, 16),
                PLAIN if key == "up" else look.colour,
            )
        for rect, text, name in chips:
            if name == link.name:
                pen.chip(text, rect, look.colour)
        pen.end()

    def _draw_vm(self, pen: Pen, vm: VMWish) -> None:
        state = self.state(vm.name)
        key, look = vm_look(state or "design")
        pen.begin("vm", vm.name, key, self._told_of(vm))
        pen.card(
            self.cards[vm.name],
            short(vm.name, 16),
            self.below(vm) if self.roomy else "",
            look if state is not None else None,
            is_router=vm.forwarding,
            badges=list(self.badges(vm)) if self.roomy else [],
        )
        pen.end()

    def _legend(self) -> list[tuple[str, str]]:
        """The states that are in the picture, in the order of their tables."""
        links = {link_look(state)[0] for state in self.link_states.values()}
        if self.states is None:
            return [("link", key) for key in _LINK_ORDER if key in links - {"up"}]
        vms = {vm_look(self.state(vm.name) or "design")[0] for vm in self.wish.vms}
        found = [("vm", key) for key in _VM_ORDER if key in vms]
        found += [("link", key) for key in _LINK_ORDER if key in links]
        if any(vm.internet for vm in self.wish.vms) and self.roomy:
            found.append(("badge", "internet"))
        return found

    def _told(self) -> tuple[str, str]:
        """Title and description for those who hear the picture."""
        vms, links = counted(len(self.wish.vms), "VM"), counted(len(self.wish.links), "link")
        title = f"Slice {self.wish.name}: {vms}, {links}"
        sentences = [f"{self._told_of(vm)}." for vm in self.wish.vms]
        for link in self.wish.links:
            word = link_look(self.link_states[link.name])[1].word
            sentences.append(f"Link {link.name} joins {' and '.join(link.ends)}, {word}.")
        return title, " ".join(sentences)

    def _told_of(self, vm: VMWish) -> str:
        word = self.word(vm)
        words = [] if word is None else [word]
        words += [vm.flavor, *_traits(vm).split()]
        words += [f"{interface} {address}" for interface, address in vm.addresses]
        return f"{vm.name}: {', '.join(words)}"


_VM_ORDER = ("running", "starting", "paused", "panicked", "off", "unknown", "design")
_LINK_ORDER = ("up", "traffic", "impaired", "down", "unknown", "design")


def _shown(link: LinkWish, state: str | None) -> str:
    """The state of a link as it is drawn: one that is up and impairs packets is told apart."""
    if state is None:
        state = "up" if link.up else "down"
    return "impaired" if state == "up" and link.impairments else state


def _pairs(link: LinkWish) -> Iterator[tuple[str, str]]:
    """The nodes that a link's lines join."""
    if len(link.ends) == 2:
        yield link.vms[0], link.vms[1]
    else:
        for vm in link.vms:
            yield vm, f":{link.name}"


def _end_at(link: LinkWish, vm: str) -> str:
    return next(end for end in link.ends if end.partition(":")[0] == vm)
