"""`labkit image`: base images and system images in the user's data directory."""

from __future__ import annotations

import rich_click as click

from labkit.cli import show
from labkit.cli.progress import watching


@click.group()
def image() -> None:
    """Keep the images that VMs start from."""


@image.command("list")
def list_() -> None:
    """List the images in the library, and those that `pull` knows."""
    from labkit.images.catalogue import CATALOGUE  # noqa: PLC0415 - keeps `labkit version` quick
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - as above

    library = ImageLibrary()
    have = library.list()
    show.table(
        f"Image library ({library.folder})",
        ("name", "file", "on disk", "virtual", "sha256", "added"),
        [
            (
                entry.name,
                entry.file,
                show.size(entry.size),
                show.size(entry.virtual_size),
                entry.sha256[:12],
                entry.added[:10],
            )
            for entry in have
        ],
    )
    missing = [name for name in CATALOGUE if name not in {entry.name for entry in have}]
    if missing:
        show.say(
            f"Can be downloaded with [bold]labkit image pull NAME[/bold]: {', '.join(missing)}"
        )


@image.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def add(name: str, file: str) -> None:
    """Copy the qcow2 image FILE into the library as NAME, after checking it."""
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    with show.err.status(f"checking and copying {file} …"):
        entry = ImageLibrary().add(name, file)
    show.say(f"Added {entry.name}: {entry.path}, sha256 {entry.sha256}")


@image.command()
@click.argument("name")
def info(name: str) -> None:
    """Show what the library knows of NAME."""
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    entry = ImageLibrary().info(name)
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
    """Remove NAME from the library. Disks made from it on workers are not touched."""
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    ImageLibrary().remove(name)
    show.say(f"Removed {name}.")


@image.command()
@click.argument("name")
@click.option("--url", help="Download from here instead of the publisher's address.")
def pull(name: str, url: str | None) -> None:
    """Download NAME, verify its checksum, and add it to the library."""
    from labkit.images.library import ImageLibrary  # noqa: PLC0415 - keeps `labkit version` quick

    with show.progress() as bar:
        task = bar.add_task(name, total=None)
        entry = ImageLibrary().pull(
            name,
            url=url,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    show.say(f"Pulled {entry.name}: {entry.path}, sha256 {entry.sha256}")


@image.command()
@click.argument("name", default="micro")
@click.option(
    "--add", multiple=True, metavar="PACKAGE", help="Put a Debian package in; repeatable."
)
@click.option("--mirror", metavar="URL", help="Take packages from this mirror.")
@click.option("--refresh", is_flag=True, help="Take the newest versions the mirror has.")
def build(name: str, add: tuple[str, ...], mirror: str | None, refresh: bool) -> None:
    """Build the system image that machines without a disk start from.

    It is made from Debian packages, without root, and is built by itself when it is first needed.

    \b
    Examples:
      labkit image build
      labkit image build webserver --add nginx-light
    """
    from labkit.micro import build_micro  # noqa: PLC0415 - keeps `labkit version` quick

    with watching() as progress:
        made = build_micro(name=name, add=add, mirror=mirror, refresh=refresh, on_event=progress)
    show.table(
        f"Image {made.name}",
        ("what", "value"),
        [
            ("kernel", made.kernel),
            ("system", made.initrd),
            ("on disk", show.size(made.size)),
            ("memory", f"{made.memory_mib} MiB at least"),
            ("packages", str(len(made.packages))),
        ],
    )
