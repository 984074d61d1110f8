"""A wish as the Python that makes it, for people to read, copy and change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from labkit.spec import to_dict
from labkit.wish import FileWish, Slice

WIDTH = 88
INDENT = " " * 4


def to_python(wish: Slice, *, lab: str = "lab", variable: str = "net") -> str:
    """Python that makes and deploys `wish` in the Lab called `lab`; `variable` is the slice.

    What is as usual is left out, as in the YAML; flavor and interfaces are always told.
    """
    form = to_dict(wish)
    lines = [_call(f"{variable} = {lab}.slice", [_literal(wish.name)])]
    for vm in wish.vms:
        settings = form["vms"][vm.name]
        if vm.files:
            settings["files"] = {file.path: _content(file) for file in vm.files}
        lines.append(_call(f"{variable}.add_vm", [_literal(vm.name), *_named(settings)]))
    for link in wish.links:
        settings = {"name": link.name, **form["links"][link.name]}
        ends = [_literal(end) for end in settings.pop("ends")]
        lines.append(_call(f"{variable}.link", [*ends, *_named(settings)]))
    lines.append(f"{variable}.deploy()")
    if any(_needs_class(file) for vm in wish.vms for file in vm.files):
        lines.insert(0, "from labkit.wish import FileWish\n")
    return "\n".join(lines) + "\n"


def _needs_class(file: FileWish) -> bool:
    return file.source is not None or file.mode != 0o644


def _content(file: FileWish) -> str | bytes | FileWish:
    if _needs_class(file) or file.data is None:
        return file
    try:
        return file.data.decode()
    except UnicodeDecodeError:
        return file.data


def _named(settings: Mapping[str, Any]) -> Iterable[str]:
    return (f"{name}={_literal(value)}" for name, value in settings.items())


def _literal(value: Any) -> str:
    if isinstance(value, str):
        # JSON's spelling of a text is Python's too, with the quotes that formatters prefer;
        # but for what lies beyond 16 bits and for half pairs, which Python spells in its own way.
        return json.dumps(value) if value.isascii() else repr(value)
    if isinstance(value, FileWish):
        return _file(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


def _file(file: FileWish) -> str:
    parts = [_literal(file.path)]
    parts.append(f"source={_literal(file.source)}" if file.data is None else repr(file.data))
    if file.mode != 0o644:
        parts.append(f"mode=0o{file.mode:o}")
    return f"FileWish({', '.join(parts)})"


def _call(start: str, arguments: list[str]) -> str:
    """A call in one line, or in as few as have room for its arguments."""
    whole = f"{start}({', '.join(arguments)})"
    if len(whole) <= WIDTH:
        return whole
    lines = [""]
    for argument in arguments:
        longer = f"{lines[-1]} {argument}," if lines[-1] else f"{INDENT}{argument},"
        if lines[-1] and len(longer) > WIDTH:
            lines.append(f"{INDENT}{argument},")
        else:
            lines[-1] = longer
    return "\n".join([f"{start}(", *lines, ")"])
