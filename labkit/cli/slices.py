"""`labkit up`, `plan`, `ls` and `down`: slices from files to running machines and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from labkit.cli import show
from labkit.cli.around import around, asked
from labkit.cli.completing import complete_files_and_slices, complete_slices
from labkit.cli.labs import (
    INTERRUPTED,
    as_json,
    known_slice,
    lab_of,
    profile_option,
    yes_option,
)
from labkit.cli.progress import on_terminal, watching
from labkit.errors import InvalidArgument, LabkitError, TransferError
from labkit.markup import counted

if TYPE_CHECKING:
    from labkit.lab import Lab, LabSlice
    from labkit.plan import Plan
    from labkit.wish import Slice

PLAN_SHOWN = ("action", "kind", "name", "reason", "touches")
VMS_SHOWN = ("name", "state", "host", "flavor", "memory_mb", "addresses", "internet")
LINKS_SHOWN = ("name", "state", "ends", "impairments")
ENDING = ("stop machine", "delete link", "delete overlay")
MOST_STEPS = 40  # of a plan that is shown before it is done

target_argument = click.argument(
    "target", metavar="FILE|NAME", shell_complete=complete_files_and_slices
)
name_option = click.option("--name", help="The slice's name, instead of the one in FILE.")


@click.command()
@target_argument
@name_option
@yes_option
@as_json
@profile_option
def up(target: str, name: str | None, yes: bool, as_json: bool, profile: str | None) -> None:
    """Make a slice as FILE says: start what is missing, change what differs, end the rest.

    FILE is YAML or JSON (- reads standard input); its name, or the file's, becomes the slice's.
    With the NAME of a slice that is there, deploy goes on where it was interrupted, and starts
    machines that have ended. You are asked only before something that runs is ended or restarted;
    where there is no terminal, in a script, that needs --yes.

    \b
    Examples:
      labkit up ospf.yaml
      labkit up ospf.yaml --name ospf-2      the same once more, side by side
      labkit up ospf                         start again what has ended
    """
    with lab_of(profile) as lab:
        wish = wished(lab, target, name)
        for advice in wish.advice():
            show.err.print(f"[yellow]Note:[/yellow] {show.escape(advice)}", soft_wrap=True)
        plan = _whole_plan(lab, wish)
        if plan and not as_json:
            _show_plan(wish.name, plan)
        if _may_end_something(plan) and not asked(_question(plan), yes=yes, default=False):
            show.say("Nothing was done.")
            return
        net = lab.slice(wish.name)
        if net.wish != wish:
            net.set_wish(wish)
        try:
            _deploy(net)
        except KeyboardInterrupt:
            show.err.print(
                f"Stopped. What is done stays. Go on: [bold]labkit up {wish.name}[/bold]; "
                f"end all of it: [bold]labkit down {wish.name}[/bold]",
                soft_wrap=True,
            )
            raise Exit(INTERRUPTED) from None
        if as_json:
            show.plain(_slice_values(net))
        else:
            _show_deployed(lab, net, was_done=bool(plan))


def _deploy(net: LabSlice) -> None:
    with on_terminal(net) as progress:
        net.deploy()
    if progress.seconds is not None:
        show.note(f"Deployed in {progress.seconds:.1f} s.")


def _show_deployed(lab: Lab, net: LabSlice, *, was_done: bool) -> None:
    if not was_done:
        show.say(f"Slice {net.name} is as wished; there was nothing to do.")
    show.frame(f"VMs of {net.name}", net.vms, VMS_SHOWN)
    if not lab.is_real:
        show.say(
            "[yellow]Simulated:[/yellow] no machine ran, and all of it ends with this command."
        )
    elif len(net):
        first = net.wish.vms[0].name
        show.say(
            f"[dim]Next: labkit run {net.name}/{first} -- CMD, labkit console "
            f"{net.name}/{first}, labkit down {net.name}[/dim]"
        )


@click.command()
@target_argument
@name_option
@as_json
@profile_option
def plan(target: str, name: str | None, as_json: bool, profile: str | None) -> None:
    """Show what `up` would do, and why. Nothing is done or saved.

    \b
    Examples:
      labkit plan ospf.yaml
      labkit plan ospf --json
    """
    from labkit.plan_frame import plan_frame  # noqa: PLC0415 - keeps `labkit version` quick

    with lab_of(profile) as lab:
        wish = wished(lab, target, name)
        found = lab.preview(wish)
        if as_json:
            show.plain(show.records(plan_frame(found)))
        elif found:
            _show_plan(wish.name, found, most=len(found.steps))
        elif not found.unreachable:
            show.say(f"Slice {wish.name} is as wished; there is nothing to do.")
        _say_unseen(found, wish.name)


@click.command("ls")
@click.argument("name", required=False, shell_complete=complete_slices)
@as_json
@profile_option
def list_(name: str | None, as_json: bool, profile: str | None) -> None:
    """List the slices, or the VMs and links of the slice NAME.

    \b
    Examples:
      labkit ls
      labkit ls ospf
      labkit ls ospf --json | jq -r '.vms[].name'
    """
    with lab_of(profile) as lab:
        if name is not None:
            net = known_slice(lab, name)
            if as_json:
                show.plain(_slice_values(net))
                return
            show.frame(f"VMs of {name}", net.vms, VMS_SHOWN)
            show.say()
            show.frame(f"Links of {name}", net.links, LINKS_SHOWN)
            _say_what_is_to_do(net)
            return
        rows = _slices(lab)
        if as_json:
            show.plain(rows)
        else:
            columns = ("name", "vms", "running", "links")
            show.table("Slices", columns, [[row[column] for column in columns] for row in rows])


def _say_what_is_to_do(net: LabSlice) -> None:
    """What runs may be half of what is wished: after Ctrl-C, a change, or a guest's reboot."""
    from labkit.lab.converging import look_back  # noqa: PLC0415 - keeps `labkit version` quick

    assert net.seen is not None
    try:
        changes = len(look_back(net.record, net.seen).things)
    except LabkitError as problem:  # what is there was shown all the same
        show.note(f"It cannot be deployed as it is wished: {problem.what}")
        return
    if changes:
        told = counted(changes, "change")
        show.note(
            f"{told} to deploy: labkit plan {net.name} shows what, labkit up {net.name} does it."
        )


def _slices(lab: Lab) -> list[dict[str, object]]:
    running: dict[str, int] = {}
    for found in lab.engine.survey():
        alive = sum(1 for machine in found.machines if machine["pid"] is not None)
        running[found.key] = running.get(found.key, 0) + alive
    rows = show.records(lab.slices)
    return [{**row, "running": running.get(row["key"], 0)} for row in rows]


@click.command()
@click.argument("name", shell_complete=complete_slices)
@yes_option
@as_json
@profile_option
def down(name: str, yes: bool, as_json: bool, profile: str | None) -> None:
    """End all machines and links of the slice NAME, delete its disks, and forget it.

    You are asked first; where there is no terminal, in a script, --yes is needed.

    \b
    Examples:
      labkit down ospf
      labkit down ospf --yes
    """
    with lab_of(profile) as lab:
        net = known_slice(lab, name)
        held = len(net.record.allocation.everyone)
        question = f"End {counted(held, 'VM')} of slice {name}, with all that is on their disks?"
        gone = not held or asked(question, yes=yes, default=False)
        if gone:
            _delete(net, name)
    if as_json:
        show.plain({"name": name, "gone": gone})
    else:
        show.say(f"Slice {name} is gone." if gone else "Nothing was done.")


def _delete(net: LabSlice, name: str) -> None:
    try:
        with watching(net.listen):
            net.delete()
    except KeyboardInterrupt:
        show.err.print(f"Stopped half-way. Go on: [bold]labkit down {name}[/bold]", soft_wrap=True)
        raise Exit(INTERRUPTED) from None


def wished(lab: Lab, target: str, name: str | None) -> Slice:
    """The wish in a file, or that of a slice."""
    path = Path(target).expanduser()
    if target != "-" and not path.is_file():
        if target in lab.store.names():
            return lab.store.get(target).wish
        raise InvalidArgument(
            f"there is no file and no slice {target!r}",
            why=f"the slices are {', '.join(lab.store.names()) or 'none yet'}",
            fix="Look at the spelling; labkit ls lists slices.",
            argument="target",
            value=target,
        )
    if target == "-":
        return read_wish(around().stdin.read(), Path.cwd() / "stdin", name, "standard input")
    return read_wish(_text(path), path, name, target)


def read_wish(text: str, path: Path, name: str | None, source: str) -> Slice:
    """The wish in the text of a file, called `source`; files it names are looked for beside it."""
    from labkit import spec  # noqa: PLC0415 - keeps `labkit version` quick
    from labkit.wish import Slice  # noqa: PLC0415 - as above

    wish = spec.from_yaml(text, name=name or path.stem, source=source)
    vms = tuple(
        replace(
            vm,
            files=tuple(
                replace(file, source=str(path.absolute().parent / Path(file.source).expanduser()))
                if file.source is not None
                else file
                for file in vm.files
            ),
        )
        for vm in wish.vms
    )
    return Slice(name or wish.name, vms, wish.links)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TransferError(
            f"cannot read {path}",
            why=str(error.strerror if isinstance(error, OSError) else error),
            fix="Give a text file in UTF-8.",
            path=str(path),
        ) from error


def _show_plan(name: str, plan: Plan, most: int = MOST_STEPS) -> None:
    from labkit.plan_frame import plan_frame  # noqa: PLC0415 - keeps `labkit version` quick

    show.frame(f"Plan for {name}", plan_frame(plan).head(most), PLAN_SHOWN)
    if len(plan.steps) > most:
        show.say(f"[dim]… and {counted(len(plan.steps) - most, 'more step')}[/dim]")


def _whole_plan(lab: Lab, wish: Slice) -> Plan:
    """What is to do, seen whole: where stewards have ended, they are started for that."""
    found = lab.preview(wish)
    if found.look_again:
        lab.start_stewards(wish.name)
        found = lab.preview(wish)
    return found


def _say_unseen(plan: Plan, name: str) -> None:
    """Tell of hosts on which there may be more to do than the plan says."""
    if plan.look_again:
        show.note(
            "Machines run whose steward has ended: they can be looked at whole only once it runs, "
            f"and more may be to do. labkit up {name} starts it, shows the rest, and asks before "
            "it ends anything."
        )
    for host in plan.unreachable:
        show.note(f"{host} cannot be reached: what is there stays as it is.")


def _question(plan: Plan) -> str:
    if plan.look_again:  # its steward has ended again at once
        return "Not all that runs can be looked at, so more than this may end. Do it?"
    return "Do this?"


def _may_end_something(plan: Plan) -> bool:
    """Whether something ends that runs, or is lost that was kept, as far as can be seen."""
    return plan.look_again or any(step.kind in ENDING for step in plan.steps)


def _slice_values(net: LabSlice) -> dict[str, object]:
    tables = {"vms": net.vms, "links": net.links, "interfaces": net.interfaces}
    return {"name": net.name, **{name: show.records(table) for name, table in tables.items()}}
