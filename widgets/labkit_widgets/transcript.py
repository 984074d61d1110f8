"""What a terminal showed, as plain text: its lines without escape sequences."""

from __future__ import annotations

import codecs
import html
import re
from collections import deque

LINES = 1000
SAVED_LINES = 200
_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[([0-9;?<=>!]*)[ -/]*([@-~])"  # CSI: parameters and what to do
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles
    r"|[PX^_][^\x1b]*\x1b\\"  # strings for devices
    r"|[ -/]+[0-~]|[0-~])"
    r"|[\x00-\x1f\x7f]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?<=>!]*[ -/]*|\][^\x07\x1b]*|[PX^_][^\x1b]*|[ -/]*)?\Z")
_MOST_UNFINISHED = 4096


class Transcript:
    """The lines that went through a terminal. A program that draws a whole screen leaves none."""

    def __init__(self, lines: int = LINES) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str] = deque(maxlen=lines)
        self._line: list[str] = []
        self._column = 0
        self._rest = ""
        self._full_screen = False
        self.dropped = 0  # lines that were forgotten

    def add(self, data: bytes) -> None:
        """The terminal was sent bytes."""
        text = self._rest + self._decoder.decode(data)
        cut = _UNFINISHED.search(text)
        end = cut.start() if cut and len(text) - cut.start() < _MOST_UNFINISHED else len(text)
        self._rest = text[end:]
        at = 0
        for match in _SEQUENCE.finditer(text, 0, end):
            self._put(text[at : match.start()])
            self._control(match)
            at = match.end()
        self._put(text[at:end])

    def lines(self, limit: int = SAVED_LINES) -> list[str]:
        """The last lines; the first one says how many are left out."""
        found = [*self._lines, "".join(self._line)]
        found = [line.rstrip() for line in found]
        while found and not found[-1]:
            found.pop()
        hidden = max(0, len(found) - limit)
        left_out = hidden + self.dropped
        head = [f"[{left_out} earlier line{'' if left_out == 1 else 's'}]"] if left_out else []
        return head + found[hidden:]

    def _put(self, text: str) -> None:
        if not text or self._full_screen:
            return
        line, column = self._line, self._column
        line.extend(" " * (column - len(line)))
        line[column : column + len(text)] = text
        self._column = column + len(text)

    def _control(self, match: re.Match[str]) -> None:
        code = match.group(0)
        if code == "\n":
            self._new_line()
        elif code == "\r":
            self._column = 0
        elif code == "\b":
            self._column = max(0, self._column - 1)
        elif code == "\t":
            self._column += 8 - self._column % 8
        elif match.group(2):
            self._sequence(match.group(1), match.group(2))

    def _new_line(self) -> None:
        if self._full_screen:
            return
        if len(self._lines) == self._lines.maxlen:
            self.dropped += 1
        self._lines.append("".join(self._line))
        self._line, self._column = [], 0

    def _sequence(self, parameters: str, final: str) -> None:
        first = parameters.split(";")[0]
        number = int(first) if first.isascii() and first.isdigit() else 0
        if final == "K":
            self._erase(number)
        elif final == "C":
            self._column += min(max(number, 1), 1000)
        elif final == "D":
            self._column = max(0, self._column - max(number, 1))
        elif final == "G":
            self._column = min(max(number - 1, 0), 1000)
        elif final == "P":
            del self._line[self._column : self._column + max(number, 1)]
        elif (final in "Hf" or (final == "J" and number in (2, 3))) and self._line:
            self._new_line()  # the screen is drawn over; what was there stays in the transcript
        elif final in "hl" and parameters in ("?1049", "?1047", "?47"):
            self._full_screen = final == "h"

    def _erase(self, how: int) -> None:
        if how == 0:
            del self._line[self._column :]
        else:
            end = self._column + 1 if how == 1 else len(self._line)
            self._line[: min(end, len(self._line))] = " " * min(end, len(self._line))


def as_html(title: str, lines: list[str]) -> str:
    """Lines as they read on a page without style sheets or scripts."""
    text = html.escape("\n".join(lines), quote=False)
    return f'<div class="labkit-twin"><p>{html.escape(title)}</p><pre>{text}</pre></div>'
