"""`labkit demo`: disks and a network in a minute, for real where it can be."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from labkit.cli import show
from labkit.cli.demo_lab import lab_story
from labkit.errors import LabkitError
from labkit.executor import Executor
from labkit.local import LocalExecutor
from labkit.model import Flavor
from labkit.profile_names import LOCAL, SIMULATED
from labkit.programs import qemu, qemu_img

if TYPE_CHECKING:
    from labkit.deployment import DeploymentAPI

REAL_HOST, SIMULATED_HOST = "127.0.0.1", "10.0.10.1"
BASE_FILE = "demo-base.qcow2"
VMS_SHOWN = ("vm_id", "name", "status", "vnc_port", "cores", "ram_gb", "disk_gb", "ip")
INTERFACES_SHOWN = ("vm", "interface", "mac", "vlan_id", "ip")


@click.command()
@click.option("--simulated", is_flag=True, help="Use the simulator, whatever is installed.")
def demo(simulated: bool) -> None:
    """Create VM disks and a network of VMs, show them as tables, and delete them again.

    For real where it can be: disks with this machine's qemu-img, in a folder of their own, and
    machines with its QEMU. What is missing is simulated, and it says so.

    \b
    Examples:
      labkit demo
      labkit demo --simulated
    """
    has_disks = not simulated and shutil.which("qemu-img") is not None
    has_machines = not simulated and shutil.which(qemu.PROGRAM) is not None
    if has_disks:
        _real_disks()
    else:
        _say_simulated(chosen=simulated, program="qemu-img", package="qemu-utils")
        from labkit.simulator.executor import SimulatedExecutor  # noqa: PLC0415 - only here

        _story(SimulatedExecutor(), SIMULATED_HOST, Flavor.get("cirros")["image"], "~/vm_images")
    if not (has_machines or simulated):
        _say_simulated(chosen=False, program="QEMU", package="qemu-system-x86")
    lab_story(LOCAL if has_machines else SIMULATED)
    _next()


def _real_disks() -> None:
    with tempfile.TemporaryDirectory(prefix="labkit-demo-") as folder:
        executor = LocalExecutor()
        base = str(Path(folder, BASE_FILE))
        executor.run(REAL_HOST, qemu_img.create(base, size=112 * 2**20)).check()
        show.say(
            "[bold]Real:[/bold] the qemu-img of this machine makes real qcow2 disks in "
            f"{folder}.\n[bold]Not real:[/bold] the base image is an empty disk made for this "
            "demo, with no system on it."
        )
        _story(executor, REAL_HOST, base, str(Path(folder, "vm_images")))
    show.say(f"The folder {folder} is removed.")


def _say_simulated(*, chosen: bool, program: str, package: str) -> None:
    show.say(
        "[bold]Simulated:[/bold] nothing here is real; the worker lives in this program's memory."
    )
    if not chosen:
        show.say(
            f"There is no {program} on this machine. To see it for real: "
            f"[bold]sudo apt install {package}[/bold], then run the demo again."
        )


def _story(executor: Executor, host: str, base: str, base_dir: str) -> None:
    from labkit.deployment import DeploymentAPI  # noqa: PLC0415 - keeps `labkit version` quick

    api = DeploymentAPI(executor, base, base_dir=base_dir)
    flavor = Flavor.get("cirros")
    show.say("\n[bold]1.[/bold] Three VMs of the flavor cirros, one of them with internet access:")
    show.say(
        '[dim]   api.create_vm("demo", 1001, "web", "student", '
        f'"{host}", Flavor.get("cirros"), 2, internet_enabled=True)[/dim]'
    )
    api.create_vm("demo", 1001, "web", "student", host, flavor, 2, internet_enabled=True)
    api.create_vm("demo", 1002, "router", "student", host, flavor, 3)
    api.create_vm("demo", 1003, "client", "student", host, flavor, 1)
    show.frame("VMs (api.vms)", api.vms, VMS_SHOWN)
    show.frame("Interfaces (api.interfaces)", api.interfaces, INTERFACES_SHOWN)
    show.say("\n[bold]2.[/bold] Their disks on the worker, as they lie there:")
    _disks(api, host)
    show.say("\n[bold]3.[/bold] A disk is never overwritten. Asking for 'web' once more:")
    try:
        api.create_vm("demo", 1004, "web", "student", host, flavor, 1)
    except LabkitError as error:
        show.error(error, to=show.out)
    show.say("\n[bold]4.[/bold] The disks are deleted:")
    for vm in api.records:
        api.delete_vm(vm)
    _disks(api, host)


def _disks(api: DeploymentAPI, host: str) -> None:
    facts = api.qcow_manager.look(host)
    show.table(
        f"Disks in {facts.base_dir}",
        ("file", "base", "virtual", "on disk", "owner"),
        [
            (
                overlay.file,
                overlay.base,
                show.size(overlay.size),
                show.size(overlay.bytes),
                (overlay.mark or {}).get("owner"),
            )
            for overlay in facts.overlays
        ],
    )


def _next() -> None:
    labkit = "labkit" if shutil.which("labkit") else ".venv/bin/labkit"
    show.say(
        "\n[bold]Next[/bold]\n"
        "  make lab              JupyterLab on a first network\n"
        "  make test             the tests\n"
        f"  {labkit} up --help      a lab of your own, from a file\n"
        f"  {labkit} doctor         is everything there for it?"
    )
