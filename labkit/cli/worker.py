"""`labkit worker`: is a worker ready for labkit?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from labkit.cli import show
from labkit.cli.labs import as_json
from labkit.executor import Executor
from labkit.local import LocalExecutor

if TYPE_CHECKING:
    from labkit.images.values import WorkerFacts


@click.group()
def worker() -> None:
    """Look at workers, the hosts where VMs lie.

    \b
    Example:
      labkit worker check 10.0.10.1
    """


@worker.command()
@click.argument("host")
@click.option("--user", default="ubuntu", show_default=True, help="Whom to log in as.")
@click.option("--port", default=22, show_default=True, type=click.IntRange(1, 65535))
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="Private key file.")
@click.option("--known-hosts", type=click.Path(dir_okay=False), help="Instead of the user's own.")
@click.option("--base-dir", default="~/vm_images", show_default=True, help="Images' folder there.")
@click.option("--local", is_flag=True, help="HOST is this machine: run commands here, no SSH.")
@as_json
def check(
    host: str,
    user: str,
    port: int,
    key: str | None,
    known_hosts: str | None,
    base_dir: str,
    local: bool,
    as_json: bool,
) -> None:
    """Check that HOST can be reached and has what labkit needs there.

    Exit code 0: ready. 1: not ready; the output says what is missing.

    \b
    Examples:
      labkit worker check 10.0.10.1 --user ubuntu --key ~/.ssh/lab
      labkit worker check localhost --local
    """
    from labkit.images.manager import QCOWManager  # noqa: PLC0415 - keeps `labkit version` quick

    executor: Executor
    if local:
        executor = LocalExecutor()
    else:
        from labkit.ssh.executor import RemoteExecutor  # noqa: PLC0415 - loads paramiko

        executor = RemoteExecutor(user, port=port, key_file=key, known_hosts=known_hosts)
    try:
        with show.err.status(f"asking {host} …"):
            facts = QCOWManager(executor, base_dir).look(host)
    finally:
        executor.close()
    ready = facts.qemu_img is not None
    if as_json:
        show.plain({"ready": ready, **asdict(facts)})
    else:
        _show_facts(host, facts)
        show.say("[green]Ready.[/green]" if ready else "[red]Not ready.[/red]")
    if not ready:
        raise Exit(1)


def _show_facts(host: str, facts: WorkerFacts) -> None:
    qemu = facts.qemu_img or "missing: sudo apt install qemu-utils"
    show.table(
        f"Worker {host}",
        ("what", "value"),
        [
            ("python3", facts.python),
            ("qemu-img", qemu),
            ("cores", str(facts.cores)),
            ("memory", show.size(facts.ram)),
            ("image folder", facts.base_dir),
            ("free disk", f"{show.size(facts.free)} of {show.size(facts.total)}"),
            ("base images", str(len(facts.bases))),
            ("VM disks", str(len(facts.overlays))),
        ],
    )
