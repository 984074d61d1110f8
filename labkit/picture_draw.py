"""The strokes of a picture: cards, cables, words and the legend, as SVG elements."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from labkit.picture_layout import Point
from labkit.picture_looks import (
    FONT,
    GLOBE_SIGN,
    HOST_SIGN,
    LINK_LOOKS,
    PLAIN,
    ROUTER_SIGN,
    VM_LOOKS,
    WORDS,
    LinkLook,
    VMLook,
)
from labkit.picture_text import Line, Rect, text_width

WHITE = "#ffffff"
BELOW = 10.5  # the size of the second line of a card
LEGEND_SIZE, LEGEND_HEIGHT = 11, 22
# An entry of the legend: where it begins, its row, its width, what it shows.
Entry = tuple[float, int, float, str, str]


def legend_rows(shown: Iterable[tuple[str, str]], width: float) -> tuple[list[Entry], float]:
    """The entries of a legend in rows of at most `width`, and their height together."""
    entries: list[Entry] = []
    x, row = 0.0, 0
    for kind, key in shown:
        wide = 26 + text_width(_word(kind, key), LEGEND_SIZE) + 16
        if x and x + wide > width:
            x, row = 0.0, row + 1
        entries.append((x, row, wide, kind, key))
        x += wide
    return entries, (row + 1) * LEGEND_HEIGHT if entries else 0.0


def _word(kind: str, key: str) -> str:
    if kind == "badge":
        return key
    return VM_LOOKS[key].word if kind == "vm" else f"link {LINK_LOOKS[key].word}"


class Pen:
    """Draws into one SVG; what is begun is a group with ids and data for a live page."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._root = ElementTree.Element("svg")
        self._at = self._root

    def begin(self, kind: str, name: str, state: str, told: str) -> None:
        """A group for a VM or a link."""
        self._at = _add(self._root, "g", id=f"{self._name}-{kind}-{name}")
        self._at.set(f"data-{kind}", name)
        self._at.set("data-state", state)
        _add(self._at, "title").text = told

    def end(self) -> None:
        """The group is complete."""
        self._at = self._root

    def finish(self, view: Rect, title: str, about: str) -> str:
        """The text of the whole SVG, which shows `view`."""
        width, height = view.right - view.left, view.bottom - view.top
        for key, value in {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": _number(width),
            "height": _number(height),
            "viewBox": " ".join(map(_number, (view.left, view.top, width, height))),
            "role": "img",
            "aria-label": title,
            "font-family": FONT,
        }.items():
            self._root.set(key, value)
        words = ElementTree.Element("title")
        words.text = title
        desc = ElementTree.Element("desc")
        desc.text = about
        self._root[:0] = [words, desc]
        return ElementTree.tostring(self._root, encoding="unicode")

    def text(
        self,
        text: str,
        at: Point,
        size: float,
        *,
        fill: str = WORDS,
        weight: str = "",
        anchor: str = "middle",
    ) -> None:
        """A line of text around or from a place, whose middle is at its half height."""
        element = _add(self._at, "text", x=at.x, y=at.y + size * 0.35, fill=fill)
        element.set("font-size", _number(size))
        if anchor != "start":
            element.set("text-anchor", anchor)
        if weight:
            element.set("font-weight", weight)
        element.text = text

    def cable(self, whole: Iterable[Line], shown: Iterable[Line], look: LinkLook) -> None:
        """The lines of a link; a broad one that nobody sees takes the clicks."""
        hit = _add(self._at, "path", d=_path(whole), stroke="#000", fill="none")
        hit.set("stroke-width", "14")
        hit.set("stroke-opacity", "0")
        drawn = _path(shown)
        line = _add(self._at, "path", d=drawn, stroke=look.colour, fill="none")
        line.set("stroke-width", _number(look.width))
        line.set("data-part", "line")
        if look.dashes:
            line.set("stroke-dasharray", look.dashes)
        if look.beads:
            beads = _add(self._at, "path", d=drawn, stroke=look.colour, fill="none")
            beads.set("stroke-width", "6")
            beads.set("stroke-linecap", "round")
            beads.set("stroke-dasharray", "0.1 13")
            beads.set("data-part", "beads")

    def chip(self, text: str, rect: Rect, colour: str) -> None:
        """Words on a line, on a ground of their own."""
        _box(self._at, rect, 8, colour)
        middle = Point((rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2)
        self.text(text, middle, 10, fill=WHITE, weight="500")

    def switch(self, rect: Rect, name: str, colour: str) -> None:
        """Where more than two ends meet."""
        _box(self._at, rect, 3, colour)
        y = (rect.top + rect.bottom) / 2
        self._sign("M-5-3H5M-5 0H5M-5 3H5", Point(rect.left + 14, y), 0.9)
        self.text(name, Point(rect.left + 24, y), 11, fill=WHITE, anchor="start", weight="500")

    def card(
        self,
        rect: Rect,
        name: str,
        below: str,
        look: VMLook | None,
        *,
        is_router: bool,
        badges: Iterable[str],
    ) -> None:
        """A VM: its sign, its name, a second line where there is room, and what it also is."""
        self._ground(rect, look)
        y = (rect.top + rect.bottom) / 2
        roomy = bool(below)
        sign = Point(rect.left + (20 if roomy else 12), y)
        if look is not None:
            self._sign(look.sign, sign, 1.0 if roomy else 0.72, filled=look.filled)
        else:
            self._sign(ROUTER_SIGN if is_router else HOST_SIGN, sign, 1.15 if roomy else 0.72)
        x = rect.left + (36 if roomy else 22)
        size = 13 if roomy else 11
        start = Point(x, y - 8 if roomy else y)
        self.text(name, start, size, fill=WHITE, anchor="start", weight="600")
        if roomy:
            self.text(below, Point(x, y + 9), BELOW, fill=WHITE, anchor="start")
        for number, badge in enumerate(badges):
            path = GLOBE_SIGN if badge == "internet" else ROUTER_SIGN
            self._sign(path, Point(rect.right - 14 - 17 * number, y), 0.95)

    def legend(self, entries: Iterable[Entry], at: Point) -> None:
        """What the signs and the lines mean."""
        for x, row, _, kind, key in entries:
            place = Point(at.x + x + 9, at.y + (row + 0.5) * LEGEND_HEIGHT)
            group = _add(self._root, "g")
            group.set("data-legend", f"{kind}-{key}")
            self._at = group
            if kind == "link":
                line = Line(Point(place.x - 9, place.y), Point(place.x + 11, place.y))
                self.cable([line], [line], LINK_LOOKS[key])
            else:
                look = VM_LOOKS[key] if kind == "vm" else None
                self._ground(Rect.around(place, 18, 16), look, small=True)
                path = look.sign if look is not None else GLOBE_SIGN
                self._sign(path, place, 0.72, filled=look is not None and look.filled)
            words = Point(place.x + 17, place.y)
            self.text(_word(kind, key), words, LEGEND_SIZE, anchor="start")
        self._at = self._root

    def _ground(self, rect: Rect, look: VMLook | None, *, small: bool = False) -> None:
        corner = 9.0 if look is None else look.corner
        if rect.bottom - rect.top < 30:
            corner = min(corner, 4.0) if small else corner * 1.2
        _box(self._at, rect, corner, PLAIN if look is None else look.colour)
        if look is not None and look.dashes:
            rim = _box(self._at, rect.grown(-2), max(corner - 2, 1), "none")
            rim.set("stroke", WHITE)
            rim.set("stroke-opacity", "0.75")
            rim.set("stroke-width", "1.2")
            rim.set("stroke-dasharray", look.dashes)

    def _sign(self, path: str, at: Point, scale: float, *, filled: bool = False) -> None:
        sign = _add(self._at, "path", d=path, stroke=WHITE, fill=WHITE if filled else "none")
        sign.set("transform", f"translate({_number(at.x)} {_number(at.y)}) scale({scale:g})")
        sign.set("stroke-width", "1.6")
        sign.set("stroke-linecap", "round")
        sign.set("stroke-linejoin", "round")


def _path(lines: Iterable[Line]) -> str:
    return "".join(
        f"M{_number(start.x)} {_number(start.y)}L{_number(end.x)} {_number(end.y)}"
        for start, end in lines
    )


def _box(parent: ElementTree.Element, rect: Rect, corner: float, fill: str) -> ElementTree.Element:
    return _add(
        parent,
        "rect",
        x=rect.left,
        y=rect.top,
        width=rect.right - rect.left,
        height=rect.bottom - rect.top,
        rx=corner,
        fill=fill,
    )


def _add(parent: ElementTree.Element, tag: str, **attributes: str | float) -> ElementTree.Element:
    texts = {k: v if isinstance(v, str) else _number(v) for k, v in attributes.items()}
    return ElementTree.SubElement(parent, tag, texts)


def _number(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
