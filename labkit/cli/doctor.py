"""`labkit doctor`: what is wrong here, and putting right what may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from labkit.check_states import BAD, NOTE, OK
from labkit.cli import show
from labkit.cli.around import asked
from labkit.cli.labs import as_json, lab_of, profile_option, yes_option
from labkit.cli.progress import watching

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab

COLOURS = {OK: "green", NOTE: "yellow", BAD: "red"}


@click.command()
@click.option("--fix", is_flag=True, help="End and remove what belongs to no slice; asks first.")
@yes_option
@as_json
@profile_option
def doctor(fix: bool, yes: bool, as_json: bool, profile: str | None) -> None:
    """Look at what labs need, and for what they have left behind.

    Exit code 0: nothing is bad. 1: something is; each line says what to do. Whether KVM works is
    found by really starting a machine. With --fix only what is proven to be labkit's, and of no
    slice in your store or another one that is there, is ended and removed: machines by their uuid,
    never by a name. You are asked first; where there is no terminal, in a script, --yes is needed.

    \b
    Examples:
      labkit doctor
      labkit doctor --fix
      labkit doctor --json | jq '.[] | select(.state == "bad")'
    """
    with lab_of(profile) as lab:
        if fix:
            _fix(lab, yes=yes)
        with watching() as progress:
            found = lab.doctor(listener=progress)
        if as_json:
            show.plain(show.records(found))
        else:
            _show(found)
        if (found["state"] == BAD).any():
            raise Exit(1)


def _show(found: pd.DataFrame) -> None:
    for host, rows in found.groupby("host", sort=False):
        show.say(f"[bold]{show.escape(str(host))}[/bold]")
        width = max(len(check) for check in rows["check"])
        for row in rows.itertuples():
            colour = COLOURS[str(row.state)]
            head = f"  [{colour}]{row.state:4}[/{colour}]  {row.check:{width}}  "
            show.say(f"{head}{show.escape(str(row.detail))}")
            if row.fix:
                show.say(f"{' ' * (width + 10)}[dim]{show.escape(str(row.fix))}[/dim]")
    counts = found["state"].value_counts()
    bad, notes = int(counts.get(BAD, 0)), int(counts.get(NOTE, 0))
    show.say()
    if bad:
        show.say(f"[red]{bad} bad[/red], {notes} to note.")
    else:
        show.say(f"[green]Nothing is wrong[/green]; {notes} to note.")


def _fix(lab: Lab, *, yes: bool) -> None:
    """Remove orphans, if that is meant."""
    from labkit.lab.doctor import orphan_words  # noqa: PLC0415 - keeps `labkit version` quick

    orphans = [one for one in lab.orphans() if not one.young]
    if not orphans:
        show.note("There is nothing to remove.")
        return
    for orphan in orphans:
        show.note(f"{orphan.host}: {orphan_words(orphan)}")
    question = f"None of these is of a slice in {lab.store.path}. End and remove them?"
    if not asked(question, yes=yes, default=False):
        show.note("Nothing was removed.")
        return
    for orphan in orphans:
        lab.remove_orphan(orphan)
        show.note(f"Removed {orphan.kind} {orphan.name}.")
