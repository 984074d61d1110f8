"""How the command line looks: tables, errors, sizes and progress on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console, JustifyMethod
from rich.markup import escape as escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from labkit.errors import LabkitError

if TYPE_CHECKING:
    import pandas as pd

UNBROKEN = 20  # characters: names, addresses and numbers stay in one piece

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def say(text: str = "") -> None:
    """A line of rich markup on standard output."""
    out.print(text, soft_wrap=True)


def note(text: str) -> None:
    """A line for people on standard error, as it is: no markup, never broken."""
    err.print(text, markup=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; numbers to the right, missing values empty."""
    out.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    lines = [list(row) for row in rows]
    for index, column in enumerate(columns):
        cells = [line[index] for line in lines]
        justify: JustifyMethod = "left"
        if cells and all(isinstance(cell, int | float) for cell in cells):
            justify = "right"
        short = all(len(str(cell)) <= UNBROKEN for cell in cells)
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=short)
    for line in lines:
        grid.add_row(*("" if value is None else escape(str(value)) for value in line))
    out.print(grid)
    if not lines:
        out.print("[dim](none)[/dim]")


def frame(title: str, data: pd.DataFrame, columns: Sequence[str]) -> None:
    """Some columns of a DataFrame; missing values empty."""
    shown = data[list(columns)].astype(object)
    table(title, columns, shown.where(shown.notna(), None).itertuples(index=False))


def records(data: pd.DataFrame) -> list[dict[str, Any]]:
    """A DataFrame as plain rows for JSON: times in ISO 8601, missing values null."""
    text = data.to_json(orient="records", date_format="iso", date_unit="us")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def plain(value: object) -> None:
    """A value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def error(problem: LabkitError, *, to: Console = err) -> None:
    """An error as three short paragraphs: what, why, what to do."""
    lines = [f"[bold red]Error:[/bold red] {escape(problem.what)}"]
    if problem.why:
        lines.append(f"  [bold]why[/bold]  {_below(problem.why)}")
    if problem.fix:
        lines.append(f"  [bold]do[/bold]   {_below(problem.fix)}")
    to.print("\n".join(lines), soft_wrap=True)  # unbroken, so that a command can be copied


def _below(text: str) -> str:
    """A text whose further lines begin below the first."""
    return escape(text).replace("\n", "\n       ")


def size(count: int | float | None) -> str:
    """Bytes for people, in powers of 1024 as qemu-img counts."""
    if count is None:
        return "?"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar for bytes on their way, on standard error; gone when done."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=err,
        transient=True,
    ) as bar:
        yield bar
