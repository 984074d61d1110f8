"""`labkit capture`: packets of links, as lines, as JSON and as a pcap file."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import rich_click as click

from labkit.cli import show
from labkit.cli.completing import complete_links
from labkit.cli.interrupting import noted_interrupts
from labkit.cli.labs import find_links, lab_of, profile_option
from labkit.errors import TransferError
from labkit.markup import counted

if TYPE_CHECKING:
    from labkit.captures import Capture

Row = dict[str, Any]
LOOK = 0.25  # seconds: how soon Ctrl-C and the end are seen
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)?")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """``10s``, ``500ms``, ``5m``, ``1h`` in seconds; a bare number is seconds."""
    if value is None:
        return None
    match = DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time such as 10s, 500ms, 5m or 1h")
    return float(match[1]) * UNITS[match[2] or "s"]


@click.command()
@click.argument(
    "links", metavar="[SLICE/]LINK…", nargs=-1, required=True, shell_complete=complete_links
)
@click.option("-o", "--output", metavar="FILE", help="Write a pcap file; - is standard output.")
@click.option(
    "--for", "seconds", metavar="TIME", callback=duration, help="Stop after so long: 10s, 5m, 1h."
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many packets.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each packet.")
@click.option(
    "--where",
    type=click.Choice(["sent", "delivered"]),
    default="sent",
    show_default=True,
    help="See packets as they are sent, or as they arrive, after loss and delay.",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each packet.")
@profile_option
def capture(
    links: tuple[str, ...],
    output: str | None,
    seconds: float | None,
    count: int | None,
    quiet: bool,
    where: str,
    as_json: bool,
    profile: str | None,
) -> None:
    """Show the packets of LINKs as they pass, and write them to FILE.

    Ctrl-C ends it; the file is then whole. Several links of a slice are captured in one.

    \b
    Examples:
      labkit capture r1-r2
      labkit capture ospf/r1-r2 ospf/r2-r3 -o ospf.pcap --for 10s
      labkit capture r1-r2 -q -o - | wireshark -k -i -
      labkit capture r1-r2 --json --count 5 | jq -r .info
    """
    lines = Lines(sys.stderr if output == "-" else sys.stdout, as_json=as_json)
    with lab_of(profile) as lab:
        net, found = find_links(lab, links)
        names = [link.name for link in found]
        lines.shows_links = len(names) > 1
        show.note(f"Capturing {', '.join(names)}; Ctrl-C ends it.")
        with (
            noted_interrupts() as asked,
            net.capture(*names, where=where) as running,
            opened(output) as file,
        ):
            seen = follow(running, asked, file, None if quiet else lines, seconds, count)
    place = f", in {output}" if output not in (None, "-") else ""
    lost = f"; {running.dropped} more came too fast to be kept" if running.dropped else ""
    show.note(f"{counted(seen, 'packet')}{place}{lost}.")


def follow(
    running: Capture,
    asked: threading.Event,
    file: BinaryIO | None,
    lines: Lines | None,
    seconds: float | None,
    count: int | None,
) -> int:
    """Take packets as they come, until it is asked to end or enough was seen; how many."""
    deadline = None if seconds is None else time.monotonic() + seconds
    seen, ending = 0, False
    while True:
        left = LOOK if deadline is None else min(LOOK, deadline - time.monotonic())
        ending = ending or asked.is_set() or left <= 0
        if ending:
            running.stop()  # whatever passed until now is still told
        data, rows = running.take(max(0.0, left), None if count is None else count - seen)
        if file is not None:
            file.write(data)
            file.flush()
        for row in rows:
            if lines is not None:
                lines.write(row)
        seen += len(rows)
        if seen == count or (ending and not data):
            return seen


class Lines:
    """A line for each packet: for people, with seconds since the first, or JSON."""

    def __init__(self, file: TextIO, *, as_json: bool) -> None:
        self.shows_links = False
        self._file = file
        self._as_json = as_json
        self._first: int | None = None

    def write(self, row: Row) -> None:
        """Show a packet at once."""
        text = json_line(row) if self._as_json else self._text(row)
        self._file.write(f"{text}\n")
        self._file.flush()

    def _text(self, row: Row) -> str:
        self._first = row["time"] if self._first is None else self._first
        since = (row["time"] - self._first) / 1e9
        link = f"{row['link']}  " if self.shows_links else ""
        ends = f"{row['source']} → {row['destination']}"
        return f"{since:11.6f}  {link}{ends}  {row['protocol']} {row['length']}  {row['info']}"


def json_line(row: Row) -> str:
    """A packet as JSON: its time in ISO 8601, only the fields it has."""
    seconds, rest = divmod(row["time"], 1_000_000_000)
    stamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    return json.dumps({**row, "time": stamp}, ensure_ascii=False)


@contextmanager
def opened(output: str | None) -> Iterator[BinaryIO | None]:
    """The file to write to, if one is wanted."""
    if output is None:
        yield None
    elif output == "-":
        yield sys.stdout.buffer
    else:
        try:
            file = Path(output).expanduser().open("wb")
        except OSError as error:
            raise TransferError(
                f"cannot write {output}",
                why=error.strerror or str(error),
                fix="Give a file in a folder that you may write to.",
                path=output,
            ) from error
        with file:
            yield file
