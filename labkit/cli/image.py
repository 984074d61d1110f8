"""`labkit image`: base images of disks, and system images that are built here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click
from click.shell_completion import CompletionItem
from rich.progress import Progress

from labkit.cli import show
from labkit.cli.labs import as_json
from labkit.errors import UnknownImage
from labkit.events import Event, ImageBuildStage, ImageBuilt, PackageProgress
from labkit.markup import counted
from labkit.progress import STAGES

if TYPE_CHECKING:
    from labkit.images.library import LibraryImage
    from labkit.micro import MicroImage

ENTRY_SHOWN = ("name", "file", "on disk", "virtual", "sha256", "added")
SYSTEM_SHOWN = ("name", "folder", "size", "memory", "packages", "sha256 of its files")


@click.group()
def image() -> None:
    """Keep the images that VMs start from: base images of disks, and system images in memory.

    \b
    Examples:
      labkit image list
      labkit image pull cirros
      labkit image build web --add nginx
    """


def _system_images(
    _context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """The names that may be completed, for the shell."""
    from labkit.micro import MICRO, list_micro  # noqa: PLC0415 - keeps `labkit version` quick

    names = {MICRO, *(built.name for built in list_micro())}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(typed)]


@image.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the images in the library, those that `pull` knows, and the system images.

    \b
    Examples:
      labkit image list
      labkit image list --json | jq -r '.system[].name'
    """
    from labkit.images.catalogue import CATALOGUE  # noqa: PLC0415 - keeps `labkit version` quick
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - as above
    from labkit.micro import MICRO, list_micro  # noqa: PLC0415 - as above

    library = ImageLibrary()
    have, built = library.list(), list_micro()
    missing = [name for name in CATALOGUE if name not in {entry.name for entry in have}]
    if as_json:
        disks, systems = list(map(asdict, have)), list(map(_system_values, built))
        show.plain({"library": disks, "can_be_pulled": missing, "system": systems})
        return
    show.table(f"Image library ({library.folder})", ENTRY_SHOWN, map(_entry_row, have))
    if missing:
        show.say(
            f"Can be downloaded with [bold]labkit image pull NAME[/bold]: {', '.join(missing)}"
        )
    show.table("System images, which live in memory", SYSTEM_SHOWN, map(_system_row, built))
    if MICRO not in {one.name for one in built}:
        show.say("[bold]micro[/bold] is built when a VM needs it, or by labkit image build")


def _entry_row(entry: LibraryImage) -> tuple[object, ...]:
    return (
        entry.name,
        entry.file,
        show.size(entry.size),
        show.size(entry.virtual_size),
        entry.sha256[:12],
        entry.added[:10],
    )


def _system_row(one: MicroImage) -> tuple[object, ...]:
    memory, digest = f"{one.memory_mib} MiB", one.initrd_sha256[:12]
    return one.name, one.folder, show.size(one.size), memory, len(one.packages), digest


def _system_values(one: MicroImage) -> dict[str, object]:
    return {
        "name": one.name,
        "folder": str(one.folder),
        "size": one.size,
        "memory_mib": one.memory_mib,
        "packages": len(one.packages),
        "kernel_sha256": one.kernel_sha256,
        "initrd_sha256": one.initrd_sha256,
    }


@image.command()
@click.argument("name", default="micro", shell_complete=_system_images)
@click.option(
    "--add",
    metavar="PACKAGE",
    multiple=True,
    help="Add this Debian package and all it needs; may be given again. Its maintainer scripts "
    "are not run. The image needs a NAME of your own. Without it, an image keeps those it has.",
)
@click.option(
    "--mirror",
    metavar="URL",
    help="Take packages from this Debian mirror instead of the machine's own package sources; "
    '"URL SUITE…" names its suites too. LABKIT_MIRROR does the same.',
)
@click.option("--refresh", is_flag=True, help="Take the newest versions the mirror has.")
def build(name: str, add: tuple[str, ...], mirror: str | None, refresh: bool) -> None:
    """Build the system image NAME (default: micro) from Debian packages, without root.

    The same packages give the same bytes. What was built before is not built again. A VM with
    flavor micro starts from it, and builds it by itself when it is not there.

    \b
    Examples:
      labkit image build
      labkit image build web --add nginx --add curl
      labkit image build web --refresh       with the newest packages
    """
    from labkit.micro import build_micro  # noqa: PLC0415 - keeps `labkit version` quick

    with show.progress() as bar:
        progress = BuildProgress(bar, name)
        built = build_micro(
            name=name, add=add or None, mirror=mirror, refresh=refresh, on_event=progress
        )
    _say_built(built, progress)


class BuildProgress:
    """Shows a build on a bar: what it does now, and the package that is on its way."""

    def __init__(self, bar: Progress, name: str) -> None:
        self.seconds = 0.0
        self.cached = False
        self._bar = bar
        self._stage = bar.add_task(f"building {name}", total=None)
        self._package = bar.add_task("", visible=False)

    def __call__(self, event: Event) -> None:
        if isinstance(event, PackageProgress):
            there = event.done >= event.total
            self._bar.update(
                self._package,
                description=event.subject,
                completed=event.done,
                total=event.total,
                visible=not there,
            )
        elif isinstance(event, ImageBuildStage):
            self._bar.update(self._stage, description=STAGES[event.stage])
        elif isinstance(event, ImageBuilt):
            self.seconds, self.cached = event.seconds, event.cached


def _say_built(built: MicroImage, progress: BuildProgress) -> None:
    how = "was there already" if progress.cached else f"built in {progress.seconds:.1f} s"
    show.say(
        f"[bold]{built.name}[/bold] {how}: {built.folder} ({show.size(built.size)}, "
        f"{counted(len(built.packages), 'package')}); "
        f"a VM needs {built.memory_mib} MiB of memory for it"
    )
    for path, digest in (
        (built.kernel, built.kernel_sha256),
        (built.initrd, built.initrd_sha256),
    ):
        show.say(f"  sha256 {digest}  {path.name}")


@image.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def add(name: str, file: str) -> None:
    """Copy the qcow2 image FILE into the library as NAME, after checking it.

    \b
    Example:
      labkit image add debian ~/Downloads/debian-12.qcow2
    """
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    with show.err.status(f"checking and copying {file} …"):
        entry = ImageLibrary().add(name, file)
    show.say(f"Added {entry.name}: {entry.path}, sha256 {entry.sha256}")


@image.command()
@click.argument("name")
@as_json
def info(name: str, as_json: bool) -> None:
    """Show what the library knows of NAME.

    \b
    Examples:
      labkit image info cirros
      labkit image info cirros --json
    """
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    entry = ImageLibrary().info(name)
    if as_json:
        show.plain(asdict(entry))
        return
    show.table(
        f"Image {entry.name}",
        ("what", "value"),
        [
            ("path", entry.path),
            ("on disk", show.size(entry.size)),
            ("virtual size", show.size(entry.virtual_size)),
            ("sha256", entry.sha256),
            ("added", entry.added),
        ],
    )


@image.command("rm")
@click.argument("name")
def remove(name: str) -> None:
    """Remove NAME from the library, or the system image of this name.

    Disks made from it on workers and VMs that run are not touched.

    \b
    Example:
      labkit image rm debian
    """
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick
    from labkit.micro import remove_micro  # noqa: PLC0415 - as above

    try:
        ImageLibrary().remove(name)
    except UnknownImage as error:
        try:
            remove_micro(name=name)
        except UnknownImage:
            raise error from None
    show.say(f"Removed {name}.")


@image.command()
@click.argument("name")
@click.option("--url", help="Download from here instead of the publisher's address.")
def pull(name: str, url: str | None) -> None:
    """Download NAME, verify its checksum, and add it to the library.

    \b
    Examples:
      labkit image pull cirros
      labkit image pull cirros --url https://mirror.example/cirros.img
    """
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    with show.progress() as bar:
        task = bar.add_task(name, total=None)
        entry = ImageLibrary().pull(
            name,
            url=url,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    show.say(f"Pulled {entry.name}: {entry.path}, sha256 {entry.sha256}")
