"""Completion of names in the shell: what the store holds, read quickly, in silence."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.shell_completion import CompletionItem

from labkit.errors import LabkitError
from labkit.profile_names import PROFILES

if TYPE_CHECKING:
    from labkit.wish import Slice

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_profiles(
    _context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """The profiles there are."""
    return [CompletionItem(one) for one in PROFILES if one.startswith(typed)]


def completer(names: Callable[[tuple[Slice, ...]], Iterable[str]]) -> Complete:
    """Completes to names that are made from all slices."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, typed: str
    ) -> list[CompletionItem]:
        found = dict.fromkeys(names(_wishes()))
        return [CompletionItem(name) for name in found if _is_meant(name, typed, found)]

    return complete


def _is_meant(name: str, typed: str, offered: Container[str]) -> bool:
    """Whether what is typed begins a name; it may be that of a VM which several slices have."""
    short = name.rpartition("/")[2]
    return name.startswith(typed) or (short not in offered and short.startswith(typed))


def complete_files_and_slices(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Slices by name, and files.

    A shell completes files better, but bash then drops all names: where a slice may be meant,
    the files of this folder are names too.
    """
    slices = complete_slices(context, parameter, typed)
    if not slices:
        return [CompletionItem(typed, type="file")]
    here = sorted(path.name + "/" * path.is_dir() for path in Path().iterdir())
    files = [
        CompletionItem(name)
        for name in here
        if name.startswith(typed) and (typed or not name.startswith("."))
    ]
    return [*slices, *files]


def short_and_whole(slice_name: str, inside: Iterable[str], known: list[str]) -> Iterable[str]:
    """``SLICE/NAME`` for each, and ``NAME`` too where no other slice has it."""
    for name in inside:
        if known.count(name) == 1:
            yield name
        yield f"{slice_name}/{name}"


def _slices(wishes: tuple[Slice, ...]) -> Iterable[str]:
    return (wish.name for wish in wishes)


def _vms(wishes: tuple[Slice, ...]) -> Iterable[str]:
    known = [vm.name for wish in wishes for vm in wish.vms]
    for wish in wishes:
        yield from short_and_whole(wish.name, (vm.name for vm in wish.vms), known)


def _links(wishes: tuple[Slice, ...]) -> Iterable[str]:
    known = [link.name for wish in wishes for link in wish.links]
    for wish in wishes:
        yield from short_and_whole(wish.name, (link.name for link in wish.links), known)


complete_slices = completer(_slices)
complete_vms = completer(_vms)
complete_links = completer(_links)


def _wishes() -> tuple[Slice, ...]:
    """The slices in the user's store; none where it cannot be read: a shell wants no error."""
    from labkit.store import Store  # noqa: PLC0415 - keeps `labkit version` quick
    from labkit.store.database import default_path  # noqa: PLC0415 - as above

    if not default_path().exists():
        return ()
    try:
        with Store() as store:
            return tuple(store.get(name).wish for name in store.names())
    except LabkitError:
        return ()
