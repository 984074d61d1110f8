"""`labkit run`, `shell`, `console`, `reboot` and `off`: one VM from the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from labkit.cli import show
from labkit.cli.around import around, asked
from labkit.cli.completing import complete_vms
from labkit.cli.labs import as_json, find_vm, lab_of, profile_option, yes_option
from labkit.cli.terminal import lend, require_terminal, size

if TYPE_CHECKING:
    from labkit.executor import Result
    from labkit.lab import LabVM

CONSOLE_PAST = 4096  # bytes of before that are shown: about a screen

vm_argument = click.argument("vm", metavar="[SLICE/]VM", shell_complete=complete_vms)


@click.command(context_settings={"allow_interspersed_args": False})
@vm_argument
@click.argument("command", nargs=-1, required=True, metavar="-- CMD…", type=click.UNPROCESSED)
@click.option("-i", "--stdin", is_flag=True, help="Give CMD this command's standard input.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End CMD in the VM after so long; without it CMD may take as long as it likes.",
)
@as_json
@profile_option
def run(
    vm: str,
    command: tuple[str, ...],
    stdin: bool,
    timeout: float | None,
    as_json: bool,
    profile: str | None,
) -> None:
    """Run CMD in a VM. Its output comes as it is made; its exit code is this command's.

    A CMD of one word is a line for the VM's shell; of several it is a program with its
    arguments, which reach it unchanged. Ctrl-C ends it in the VM too. SLICE/ may be left out where
    only one slice has such a VM.

    \b
    Examples:
      labkit run r1 -- ping -c 3 10.0.0.2
      labkit run ospf/r1 -- 'ip route | wc -l'
      labkit run -i r1 -- sh < setup.sh
    """
    words = _words(command)
    data = around().stdin.buffer.read() if stdin else b""
    with lab_of(profile) as lab:
        found = find_vm(lab, vm)
        tell = None if as_json else _pass_on
        result = found.run(words, input=data, timeout=timeout, on_output=tell)
    if as_json:
        show.plain(_values(found, result))
    raise Exit(result.returncode)


def _words(command: tuple[str, ...]) -> str | tuple[str, ...]:
    if command[0].startswith("-") and command[0] != "--":
        raise click.UsageError(f"options such as {command[0]} go before the VM")
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("no command was given: labkit run VM -- CMD")
    return words[0] if len(words) == 1 else words


def _pass_on(stream: str, text: str) -> None:
    file = sys.stdout if stream == "stdout" else sys.stderr
    file.write(text)
    file.flush()


def _values(vm: LabVM, result: Result) -> dict[str, object]:
    return {
        "slice": vm.slice.name,
        "vm": vm.name,
        "returncode": result.returncode,
        "stdout": result.text,
        "stderr": result.error_text,
        "seconds": result.seconds,
    }


@click.command()
@vm_argument
@profile_option
def console(vm: str, profile: str | None) -> None:
    """The serial console of a VM, in this terminal. Ctrl-] leaves it.

    It shows what the VM says from its start on, also where its system does not answer.

    \b
    Examples:
      labkit console r1
      labkit console ospf/r1                 where several slices have an r1
    """
    require_terminal("labkit run")
    with lab_of(profile) as lab:
        found = find_vm(lab, vm)
        _say_lent(f"The console of {found.name}")
        ended = lend(found.machine.open_console(past=CONSOLE_PAST))
    show.note(f"\n{found.name} has ended." if ended else f"\nLeft {found.name}, which runs on.")


def _say_lent(what: str) -> None:
    show.note(f"{what}. Leave it with Ctrl-]")


@click.command()
@vm_argument
@profile_option
def shell(vm: str, profile: str | None) -> None:
    """A shell in a VM, in this terminal; its exit code is this command's. Ctrl-] leaves it.

    It needs no network in the VM, and several may be open at once.

    \b
    Examples:
      labkit shell r1
      labkit shell ospf/r1                   where several slices have an r1
    """
    require_terminal("labkit run")
    with lab_of(profile) as lab:
        found = find_vm(lab, vm)
        opened = found.guest.open_shell(*size())
        _say_lent(f"A shell in {found.name}")
        ended = lend(opened, opened.resize)
        answer = opened.answer
    if ended and answer is not None:
        raise Exit(int(answer["status"]))
    show.note(f"\nLeft the shell in {found.name}.")


@click.command()
@vm_argument
@profile_option
def reboot(vm: str, profile: str | None) -> None:
    """Ask a VM's system to reboot, and wait until it is set up again.

    \b
    Example:
      labkit reboot r1
    """
    with lab_of(profile) as lab:
        found = find_vm(lab, vm)
        with show.err.status(f"{found.name} reboots …"):
            found.reboot()
        show.say(f"{found.name} is back.")


@click.command()
@vm_argument
@click.option("--hard", is_flag=True, help="Pull its plug instead of asking its system to end.")
@yes_option
@profile_option
def off(vm: str, hard: bool, yes: bool, profile: str | None) -> None:
    """Shut a VM down. `labkit up SLICE` starts it again.

    \b
    Examples:
      labkit off r1
      labkit off r1 --hard --yes             as if its plug were pulled
    """
    with lab_of(profile) as lab:
        found = find_vm(lab, vm)
        if not asked(f"End {found.name}?", yes=yes, default=True):
            show.say("Nothing was done.")
            return
        with show.err.status(f"{found.name} is ended …"):
            if hard:
                found.power_off()
            else:
                found.shut_down()
        show.say(f"{found.name} is off. Start it again: labkit up {found.slice.name}")
