"""How values look in a notebook: aligned text, and HTML that needs no style sheet and no script.

Viewers of saved notebooks strip style sheets, and some strip ``style`` too: what matters is said by
words, signs and plain tags; colours only help. Words have the page's own colour, so that they can
be read on light and dark pages alike.
"""

from __future__ import annotations

import base64
import html
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Bundle = dict[str, Any]

GOOD, QUIET, WARN, BAD = "good", "quiet", "warn", "bad"
# White words on these have a contrast of 4.5 and more, whatever page is behind.
_GROUNDS = {GOOD: "#1a7f37", QUIET: "#5c6773", WARN: "#8a5a00", BAD: "#c2242d"}
_SIGNS = {GOOD: "✓", QUIET: "○", WARN: "△", BAD: "✗"}
_LINE = "1px solid rgba(128,128,128,.35)"
_DIM = "opacity:.75"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TONES = {
    "ok": GOOD,
    "running": GOOD,
    "up": GOOD,
    "note": WARN,
    "paused": WARN,
    "disconnected": WARN,
    "unknown": WARN,
    "starting": WARN,
    "bad": BAD,
    "panicked": BAD,
    "off": BAD,
}


def bundle(text: str, *parts: str, **others: str) -> Bundle:
    """A MIME bundle: plain text, the parts as one piece of HTML, and others such as ``svg``."""
    found: Bundle = {"text/plain": text}
    if parts:
        found["text/html"] = f"<div>{''.join(parts)}</div>"
    if "svg" in others:
        found["image/svg+xml"] = others["svg"]
    return found


def escape(text: object) -> str:
    """A value as HTML."""
    return html.escape(str(text))


def tone(state: str) -> str:
    """Whether the state of a VM, a link or a check is good, bad or neither."""
    return _TONES.get(state, QUIET)


def chip(words: str, kind: str) -> str:
    """A state: a sign and words on a ground of their own."""
    style = (
        f"background:{_GROUNDS[kind]};color:#fff;border-radius:9px;padding:1px 8px;"
        "font-size:85%;white-space:nowrap"
    )
    return f'<span style="{style}">{_SIGNS[kind]} {escape(words)}</span>'


def heading(name: str, mark: str = "", *facts: object) -> str:
    """What it is, its state as a `chip`, and facts with dots between them."""
    told = " · ".join(escape(fact) for fact in facts if str(fact))
    after = f' <span style="{_DIM}">{told}</span>' if told else ""
    return f'<div style="margin:2px 0"><b>{escape(name)}</b> {mark}{after}</div>'


def note(text: str) -> str:
    """A line of less weight."""
    return f'<div style="{_DIM};font-size:90%;margin:2px 0">{escape(text)}</div>'


def lines(text: str, *, kind: str = QUIET) -> str:
    """Text as it is, line by line."""
    border = f"3px solid {_GROUNDS[kind]}"
    style = f"border-left:{border};margin:3px 0;padding:1px 0 1px 10px;white-space:pre-wrap"
    return f'<pre style="{style}">{escape(text)}</pre>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; a cell that is a `Cell` is HTML already."""
    style = f"text-align:left;padding:2px 14px 2px 0;border-bottom:{_LINE}"
    head = "".join(f'<th style="{style}">{escape(one)}</th>' for one in columns)
    body = "".join(f"<tr>{''.join(_cell(one, style) for one in row)}</tr>" for row in rows)
    return (
        '<table style="border-collapse:collapse;margin:4px 0"><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def facts(rows: Iterable[tuple[object, object]]) -> str:
    """Names and their values, one in a row."""
    style = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"
    body = "".join(f"<tr>{_cell(name, style)}{_cell(value, style)}</tr>" for name, value in rows)
    return f'<table style="border-collapse:collapse;margin:4px 0"><tbody>{body}</tbody></table>'


class Cell(str):
    """A cell that is HTML already; its value as text is `plain`."""

    plain: str

    def __new__(cls, markup: str, plain: str) -> Cell:
        found = super().__new__(cls, markup)
        found.plain = plain
        return found


def state_cell(state: str) -> Cell:
    """A state in a table."""
    return Cell(chip(state, tone(state)), state)


def _cell(value: object, style: str) -> str:
    shown = value if isinstance(value, Cell) else escape("" if value is None else value)
    return f'<td style="{style}">{shown}</td>'


def text_table(
    rows: Iterable[Sequence[object]], indent: str = "  ", width: int | None = None
) -> str:
    """Rows with aligned columns, in plain text.

    With `width`, long cells are broken into lines between words, so that a path can be copied.
    """
    texts = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column), default=0) for column in zip(*texts, strict=True)]
    if width is not None:
        least = [max(map(_longest_word, column)) for column in zip(*texts, strict=True)]
        widths = _narrowed(widths, least, width - len(indent))
        texts = [line for row in texts for line in _broken(row, widths)]
    shown = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in shown)


def _longest_word(cell: str) -> int:
    return max(map(len, cell.split()), default=0)


def _narrowed(widths: list[int], least: list[int], room: int) -> list[int]:
    """The widest columns give way until all fit, or none can."""
    found = list(widths)
    while sum(found) + 2 * (len(found) - 1) > room:
        wide = [column for column, width in enumerate(found) if width > least[column]]
        if not wide:
            break
        found[max(wide, key=found.__getitem__)] -= 1
    return found


def _broken(row: list[str], widths: list[int]) -> Iterator[list[str]]:
    """The lines of one row."""
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) if cell.strip() else [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    for line in itertools.zip_longest(*cells, fillvalue=""):
        yield list(line)


def _plain(value: object) -> str:
    if isinstance(value, Cell):
        return value.plain
    return "" if value is None else str(value)


def picture(svg: str, told: str) -> str:
    """A picture inside HTML: viewers show an image where they would strip the drawing itself."""
    data = base64.b64encode(svg.encode()).decode()
    style = "max-width:100%;height:auto"
    return f'<img alt="{escape(told)}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def readable(text: str, *, most: int = 60) -> str:
    """What a program printed, without colours and control codes, its middle left out if long."""
    plain = _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n"))).rstrip("\n")
    found = plain.split("\n")
    if len(found) > most:
        kept = most // 2
        gap = f"… {len(found) - 2 * kept} lines …"
        found = [*found[:kept], gap, *found[-kept:]]
    return "\n".join(line if len(line) <= 2000 else f"{line[:2000]}…" for line in found)


def counted(number: int, noun: str) -> str:
    """``1 VM``, ``2 VMs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def counted_were(number: int, noun: str) -> str:
    """``1 step was``, ``2 steps were``."""
    return f"{counted(number, noun)} {'was' if number == 1 else 'were'}"
