"""The `labkit` command: its groups, and how errors become exit codes."""

from __future__ import annotations

import os
import sys

import rich_click as click
from click.exceptions import Abort, ClickException

import labkit
from labkit.cli import show
from labkit.cli.around import Around
from labkit.cli.capture import capture
from labkit.cli.completion import completion
from labkit.cli.demo import demo
from labkit.cli.doctor import doctor
from labkit.cli.image import image
from labkit.cli.labs import INTERRUPTED
from labkit.cli.slices import down, list_, plan, up
from labkit.cli.vms import console, off, reboot, run, shell
from labkit.cli.worker import worker
from labkit.errors import LabkitError, UsageError

OK, FAILED, WRONG_USAGE = 0, 1, 2

EPILOG = """Exit codes: 0 done, 1 the lab could not do it, 2 wrong usage, 130 interrupted; run has
that of the command it ran."""


@click.command()
def version() -> None:
    """Show the version of labkit and of what it runs on.

    \b
    Example:
      labkit version
    """
    _say_version()


def _say_version() -> None:
    show.say(f"labkit {labkit.__version__}, Python {sys.version.split()[0]}")


def _version_option(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        _say_version()
        context.exit()


LABS = (up, plan, list_, run, shell, console, capture, reboot, off, down)
AROUND = (doctor, demo, image, worker, completion, version)


@click.rich_config({"text_paragraph_linebreaks": "\n\n"})
@click.command_panel("Around them", commands=[str(one.name) for one in AROUND])
@click.command_panel("Labs", commands=[str(one.name) for one in LABS])
@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version_option,
    help="Show the version and exit.",
)
def cli() -> None:
    """Real network labs: VMs and the links between them.

    \b
    A lab in three commands:
      labkit up lab.yaml
      labkit run r1 -- ping -c 3 10.0.0.2
      labkit down lab
    """


for command in (*LABS, *AROUND):
    cli.add_command(command)


def main(arguments: list[str] | None = None, *, around: Around | None = None) -> int:
    """Run the command line; returns the exit code. `around` is what it finds around it."""
    try:
        code = cli.main(args=arguments, prog_name="labkit", standalone_mode=False, obj=around)
    except UsageError as problem:
        show.error(problem)
        return WRONG_USAGE
    except LabkitError as problem:
        show.error(problem)
        return FAILED
    except SystemExit as end:  # rich-click's way to end after a group's help
        return int(end.code or OK)
    except (KeyboardInterrupt, Abort):
        show.err.print("Interrupted. What was begun is taken back or can be asked for again.")
        return INTERRUPTED
    except ClickException as problem:
        problem.show()
        return problem.exit_code
    except OSError as problem:
        if isinstance(problem, BrokenPipeError):
            return _reader_gone()
        show.err.print(f"[bold red]Error:[/bold red] {problem}")
        return FAILED
    return code if isinstance(code, int) else OK


def _reader_gone() -> int:
    """Whoever read our output, such as `head`, has enough: say nothing more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
