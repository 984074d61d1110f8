"""Room for words in a picture: how wide they are, and where they fit without covering others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from labkit.picture_layout import Point

# Widths of letters in shares of the font's size, a little above those of usual fonts.
STUMP = 7  # pixels; a shorter piece of a line says nothing
_NARROW, _WIDE = "fijlrtI.,:;'|!()[]- ", "mwMW%@…"


def text_width(text: str, size: float) -> float:
    """About how wide a text is; rather too much than too little."""
    shares = (
        0.36
        if letter in _NARROW
        else 0.92
        if letter in _WIDE
        else 0.68
        if letter.isupper()
        else 0.6
        for letter in text
    )
    return sum(shares) * size


def short(text: str, most: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def fitting(text: str, width: float, size: float) -> str:
    """A text, cut where it would be wider than `width`."""
    lengths = range(len(text), 1, -1)
    texts = (short(text, most) for most in lengths)
    return next((one for one in texts if text_width(one, size) <= width), text[:1])


class Rect(NamedTuple):
    """A rectangle of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, middle: Point, width: float, height: float) -> Rect:
        x, y = middle
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @classmethod
    def holding(cls, rects: Sequence[Rect]) -> Rect:
        """The smallest with all of these inside."""
        return cls(
            min(rect.left for rect in rects),
            min(rect.top for rect in rects),
            max(rect.right for rect in rects),
            max(rect.bottom for rect in rects),
        )

    @property
    def middle(self) -> Point:
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)

    def meets(self, other: Rect) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def grown(self, by: float) -> Rect:
        return Rect(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def within(self, line: Line) -> tuple[float, float] | None:
        """The share of a line that lies inside, as two shares of its length."""
        low, high = 0.0, 1.0
        start, end = line
        for at, to, least, most in (
            (start.x, end.x, self.left, self.right),
            (start.y, end.y, self.top, self.bottom),
        ):
            step = to - at
            if abs(step) < 1e-9:
                if not least < at < most:
                    return None
                continue
            one, two = sorted(((least - at) / step, (most - at) / step))
            low, high = max(low, one), min(high, two)
        return (low, high) if low < high else None


class Line(NamedTuple):
    """A straight line of the picture."""

    start: Point
    end: Point

    def at(self, share: float) -> Point:
        return Point(
            self.start.x + (self.end.x - self.start.x) * share,
            self.start.y + (self.end.y - self.start.y) * share,
        )

    @property
    def length(self) -> float:
        across, down = self.end.x - self.start.x, self.end.y - self.start.y
        return float((across * across + down * down) ** 0.5)

    def moved(self, by: float) -> Line:
        """The same line, so far to its side."""
        (start, end), length = self, self.length or 1.0
        x, y = -(end.y - start.y) / length * by, (end.x - start.x) / length * by
        return Line(Point(start.x + x, start.y + y), Point(end.x + x, end.y + y))

    def between(self, first: Rect, last: Rect) -> Line:
        """What is left of it from the edge of one rectangle to that of another."""
        start, end = first.within(self), last.within(self)
        return Line(self.at(start[1] if start else 0.0), self.at(end[0] if end else 1.0))

    def outside(self, rects: Iterable[Rect]) -> Iterator[Line]:
        """What is left of it where rectangles hide the rest, without stumps."""
        stump = STUMP / (self.length or 1.0)
        hidden = sorted(filter(None, (rect.within(self) for rect in rects)))
        done = 0.0
        for low, high in hidden:
            if low > done + stump:
                yield Line(self.at(done), self.at(low))
            done = max(done, high)
        if done + stump < 1:
            yield Line(self.at(done), self.end)


class Page:
    """What of the picture is taken, by cards and by words."""

    def __init__(self, cards: Iterable[Rect]) -> None:
        self.taken = list(cards)

    def room_for(self, places: Iterable[Point], width: float, height: float) -> Rect | None:
        """The first of the places where so much is free, which is taken then; or none."""
        for place in places:
            rect = Rect.around(place, width, height)
            if not any(rect.meets(other) for other in self.taken):
                self.taken.append(rect)
                return rect
        return None
