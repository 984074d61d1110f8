"""What the verbs on labs share: the lab of a profile, and its slices, VMs and links by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import rich_click as click

from labkit.cli.around import around
from labkit.cli.completing import complete_profiles
from labkit.errors import InvalidArgument
from labkit.near import listed, nearest
from labkit.profile_names import LOCAL, PROFILE_VARIABLE, SIMULATED

if TYPE_CHECKING:
    from labkit.lab import Lab, LabLink, LabSlice, LabVM

INTERRUPTED = 130  # as a shell tells of Ctrl-C

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def profile_option(command: Command) -> Command:
    """The option that chooses the lab."""
    option = click.option(
        "--profile",
        envvar=PROFILE_VARIABLE,
        show_envvar=True,
        metavar="NAME",
        shell_complete=complete_profiles,
        help=f"Where machines run: {LOCAL} (this machine, the default) or {SIMULATED}.",
    )
    decorated: Command = option(command)
    return decorated


@contextmanager
def lab_of(profile: str | None) -> Iterator[Lab]:
    """The lab of a profile, let go of at the end."""
    with around().open_lab(profile) as lab:
        yield lab


def known_slice(lab: Lab, name: str) -> LabSlice:
    """A slice that is there; a slip of the keyboard never makes one. Raises `UnknownSlice`."""
    lab.store.get(name)
    return lab.slice(name)


def find_vm(lab: Lab, target: str) -> LabVM:
    """The VM that ``VM`` or ``SLICE/VM`` means."""
    slice_name, name = _choose(lab, "VM", target)
    return lab.slice(slice_name).get_vm(name)


def find_links(lab: Lab, targets: Sequence[str]) -> tuple[LabSlice, tuple[LabLink, ...]]:
    """The links that ``LINK`` or ``SLICE/LINK`` mean, all of one slice."""
    chosen = [_choose(lab, "link", target) for target in targets]
    slices = list(dict.fromkeys(slice_name for slice_name, _ in chosen))
    if len(slices) > 1:
        raise InvalidArgument(
            f"these links are of the slices {' and '.join(slices)}",
            why="links of one slice are captured together",
            fix="Name links of one slice, such as " + f"{slices[0]}/{chosen[0][1]}",
        )
    net = lab.slice(slices[0])
    return net, tuple(net.get_link(name) for _, name in chosen)


def _choose(lab: Lab, kind: str, target: str) -> tuple[str, str]:
    wishes = [lab.store.get(name).wish for name in lab.store.names()]
    names = {
        wish.name: [one.name for one in (wish.vms if kind == "VM" else wish.links)]
        for wish in wishes
    }
    return choose(kind, target, names)


def choose(kind: str, target: str, names: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """The slice and the name that `target` means, given the names in each slice.

    ``SLICE/NAME`` is said whole; ``NAME`` will do where one slice has such a thing.
    """
    slice_name, slash, name = target.rpartition("/")
    if not slash:
        having = [one for one, inside in names.items() if target in inside]
        if len(having) == 1:
            return having[0], target
        if having:
            whole = [f"{one}/{target}" for one in having]
            raise InvalidArgument(
                f"{kind} {target!r} is in {len(having)} slices",
                why=f"it could be {', '.join(whole)}",
                fix=f"Say which: {whole[0]}",
                argument=kind,
                value=target,
            )
        _unknown(
            kind, target, [f"{one}/{each}" for one, inside in names.items() for each in inside]
        )
    if slice_name not in names:
        _unknown("slice", slice_name, list(names))
    if name not in names[slice_name]:
        _unknown(kind, target, [f"{slice_name}/{each}" for each in names[slice_name]])
    return slice_name, name


def _unknown(kind: str, name: str, known: Sequence[str]) -> NoReturn:
    short = {whole.rpartition("/")[2]: whole for whole in known}
    near = nearest(name, [*known, *short])
    raise InvalidArgument(
        f"there is no {kind} {name!r}",
        why=f"there are {listed(known)}" if known else "there are none yet",
        fix=f"Did you mean {short.get(near, near)!r}?" if near else "See labkit ls.",
        argument=kind,
        value=name,
    )
