"""What every error of labkit is: what happened, why, and what to do; and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from labkit import markup, tracebacks


class LabkitError(Exception):
    """The root: says what happened and to what, why, and what to do next.

    `what` names the thing ("cannot create the disk of vm1 on 10.0.10.1"), `why` the cause,
    `fix` the next step; `context` keeps the facts as plain values for programs, and `code` is a
    stable word for them to branch on.
    """

    code: ClassVar[str] = "labkit"

    def __init__(self, what: str, *, why: str = "", fix: str = "", **context: Any) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.context = context

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text.rstrip('.')}. {self.fix}" if self.fix else text

    def located(self, place: str) -> Self:
        """It, saying first in which place ("lab.yaml, line 3") it was found."""
        self.what = f"{place}: {self.what}"
        self.args = (self.what,)
        return self

    def report(self) -> list[tuple[str, str]]:
        """It in a few lines, each with its title: what, why, what to do, and where in your code."""
        found = [("Why", self.why), ("Do", self.fix)]
        found += [("Note", note) for note in getattr(self, "__notes__", ())]
        found.append(("Where", tracebacks.users_line(self.__traceback__)))
        told = [(title, text.strip()) for title, text in found if text.strip()]
        return [(type(self).__name__, self.what), *told]

    @property
    def _render_traceback_(self) -> Callable[[], list[str]]:
        """IPython shows this in the place of a long traceback, where it has the attribute."""
        if not tracebacks.wants_short():
            raise AttributeError("_render_traceback_")
        return self._short_traceback

    def _short_traceback(self) -> list[str]:
        bold, red, off = tracebacks.colours()
        (kind, what), *others = self.report()
        shown = [f"{bold}{red}{kind}{off}{bold}: {what}{off}"]
        others.append(("More", "%tb verbose shows the whole traceback"))
        for title, text in others:
            shown.append(f"{bold}{title:<6}{off} " + text.replace("\n", "\n       "))
        return shown

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        (kind, what), *others = self.report()
        rows = [(markup.Cell(f"<b>{title}</b>", title), text) for title, text in others]
        shown = markup.heading(what, markup.chip(kind, markup.BAD))
        text = f"{kind}: {what}\n{markup.text_table([(t, x) for t, x in others])}".rstrip()
        return markup.bundle(text, shown, markup.facts(rows))
