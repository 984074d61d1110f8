"""The text form of a wish: dicts, YAML and JSON in and out, in one canonical spelling."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

import yaml

from labkit.errors import InvalidArgument, LabkitError
from labkit.near import did_you_mean
from labkit.wish import FileWish, LinkWish, Slice, VMWish
from labkit.wish.links import IMPAIRMENTS, link_wish, need_two
from labkit.wish.refusal import refuse
from labkit.wish.vms import VM_SETTINGS, vm_wish

_DEFAULTS = {field.name: field.default for field in fields(VMWish)}
SLICE_KEYS = ("name", "vms", "links")
LINK_KEYS = ("ends", "up", *IMPAIRMENTS, "sends")
FILE_KEYS = ("text", "base64", "source", "mode")
MODE = re.compile(r"0?[0-7]{3,4}")
SMALLEST = "vms: {h1: {}, h2: {}}\nlinks: [[h1, h2]]"

Part = TypeVar("Part")


def to_dict(wish: Slice) -> dict[str, Any]:
    """A wish as plain types in a fixed order; what is as usual is left out."""
    return {
        "name": wish.name,
        "vms": {vm.name: _vm_dict(vm) for vm in wish.vms},
        "links": {link.name: _link_dict(link) for link in wish.links},
    }


def _vm_dict(vm: VMWish) -> dict[str, Any]:
    written: dict[str, Any] = {"flavor": vm.flavor, "interfaces": vm.interfaces}
    for key in VM_SETTINGS:
        value = getattr(vm, key)
        if key not in written and value != _DEFAULTS[key]:
            written[key] = value
    if vm.addresses:
        each: dict[str, list[str]] = {}
        for interface, address in vm.addresses:
            each.setdefault(interface, []).append(address)
        written["addresses"] = {key: one if len(one) > 1 else one[0] for key, one in each.items()}
    if vm.routes:
        written["routes"] = [str(route) for route in vm.routes]
    if vm.hosts:
        written["hosts"] = dict(vm.hosts)
    if vm.files:
        written["files"] = {file.path: _file_dict(file) for file in vm.files}
    if vm.commands:
        written["commands"] = list(vm.commands)
    return written


def _file_dict(file: FileWish) -> str | dict[str, str]:
    written: dict[str, str] = {}
    if file.source is not None:
        written["source"] = file.source
    elif file.data is not None:
        try:
            written["text"] = file.data.decode()
        except UnicodeDecodeError:
            written["base64"] = base64.b64encode(file.data).decode()
    if file.mode != 0o644:
        written["mode"] = f"{file.mode:04o}"
    return written["text"] if list(written) == ["text"] else written


def _link_dict(link: LinkWish) -> dict[str, Any]:
    written: dict[str, Any] = {"ends": list(link.ends)}
    if not link.up:
        written["up"] = False
    texts = {end: impairment.texts() for end, impairment in link.impairments}
    if len(texts) == len(link.ends) and len({repr(one) for one in texts.values()}) == 1:
        written |= texts[link.ends[0]]
    elif texts:
        written["sends"] = texts
    return written


def from_dict(value: object, *, name: str | None = None) -> Slice:
    """The wish that a dict describes; `name` is for a dict that has none of its own.

    `vms` is a dict by name. `links` is a dict by name too, or a list, whose links may be nameless.
    A link may be nothing but its ends, and an end only a VM: its first interface that no link
    before has is taken.
    """
    with _lines_of(value):
        form = _keys(value, "wish", SLICE_KEYS)
        vms = _mapping(form.get("vms"), "vms")
        made_vms = _each(vms, _vm)
        with _lines_of(form, "name"), _lines_of(vms):
            wish = Slice(form.get("name", name), made_vms)
        links = form.get("links")
        if isinstance(links, list):
            return _with_listed_links(wish, links)
        links = _mapping(links, "links")
        taken: set[str] = set()
        made_links = _each(links, lambda name, written: _link(wish, taken, name, written))
        with _lines_of(links):
            return wish.with_links(made_links)


def _vm(name: str, written: object) -> VMWish:
    thing = f"VM {name!r}"
    form = dict(_keys({} if written is None else written, thing, VM_SETTINGS))
    if "files" in form:
        files = _mapping(form["files"], f"{thing}: files")
        form["files"] = {path: _file(path, content) for path, content in files.items()}
    return vm_wish(name, **form)


def _file(path: str, written: object) -> FileWish:
    thing = f"file {path!r}"
    if isinstance(written, str):
        written = {"text": written}
    form = _keys(written, thing, FILE_KEYS)
    if len({"text", "base64", "source"} & form.keys()) != 1:
        refuse(thing, dict(form), "exactly one of text, base64 and source is needed")
    mode = form.get("mode", "0644")
    if not isinstance(mode, str) or not MODE.fullmatch(mode):
        refuse(f"mode of {thing}", mode, "octal digits in quotes are needed, such as '0755'")
    for key in form:
        if not isinstance(form[key], str):
            refuse(f"{key} of {thing}", form[key], "a text is needed")
    if "source" in form:
        return FileWish(path, source=form["source"], mode=int(mode, 8))
    try:
        data = (
            form["text"].encode()
            if "text" in form
            else base64.b64decode(form["base64"], validate=True)
        )
    except (UnicodeEncodeError, binascii.Error) as error:
        refuse(f"content of {thing}", form.get("text", form.get("base64")), str(error))
    return FileWish(path, data, mode=int(mode, 8))


def _link(wish: Slice, taken: set[str], name: str, written: object) -> LinkWish:
    """A link of a dict by name; `taken` are the ends of those before it, and gets its own."""
    if isinstance(written, list):
        written = {"ends": written}
    form = dict(_keys(written, f"link {name!r}", LINK_KEYS))
    ends = form.pop("ends", None)
    if not isinstance(ends, list):
        refuse(f"link {name!r}: ends", ends, "a list such as [r1:eth1, r2:eth1] is needed")
    sends = _mapping(form.pop("sends", None), f"link {name!r}: sends")
    for end, texts in sends.items():
        _keys(texts, f"link {name!r}: sends of {end}", IMPAIRMENTS)
    thing = f"link {name!r}"
    need_two(tuple(ends), thing)
    link = link_wish(name, wish.whole_ends(ends, taken, f"{thing}: end"), sends=sends, **form)
    taken.update(link.ends)
    return link


def _with_listed_links(wish: Slice, links: list[Any]) -> Slice:
    for number, written in enumerate(links, start=1):
        with _lines_of(links, number - 1), _lines_of(written):
            form = {"ends": written} if isinstance(written, list) else written
            form = dict(_keys(form, f"link {number}", ("name", *LINK_KEYS)))
            ends = form.pop("ends", None)
            if not isinstance(ends, list):
                refuse(f"link {number}: ends", ends, "a list such as [r1:eth1, r2:eth1] is needed")
            wish = wish.with_link(*ends, **form)
    return wish


def _mapping(value: object, thing: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        refuse(thing, value, "a dict by name is needed")
    for key in value:
        if not isinstance(key, str):
            refuse(f"name in {thing}", key, "a text is needed", "Write it in quotes.")
    return value


def _keys(value: object, thing: str, known: Iterable[str]) -> Mapping[str, Any]:
    """A dict with none but the known keys."""
    if not isinstance(value, Mapping):
        refuse(thing, value, f"a dict with the keys {', '.join(known)} is needed")
    for key in value:
        if key not in (names := list(known)):
            rule = f"these are known: {', '.join(names)}"
            refuse(f"key in {thing}", key, rule, did_you_mean(key, names))
    return value


def to_json(wish: Slice) -> str:
    """The canonical JSON text of a wish."""
    return json.dumps(to_dict(wish), indent=2, ensure_ascii=False) + "\n"


def to_yaml(wish: Slice) -> str:
    """The canonical YAML text of a wish."""
    return yaml.dump(
        to_dict(wish),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )


def from_json(text: str, *, name: str | None = None) -> Slice:
    """The wish of a JSON text."""
    try:
        return from_dict(json.loads(text, object_pairs_hook=_unique), name=name)
    except json.JSONDecodeError as error:
        _unreadable("JSON", error.msg, error, error.lineno)


def from_yaml(text: str, *, name: str | None = None, source: str = "") -> Slice:
    """The wish of a YAML text (JSON is YAML too); errors name its `source`, such as a file."""
    try:
        form = yaml.load(text, Loader=_Loader)
        if form is not None:
            return from_dict(form, name=name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        _unreadable("YAML", str(error.problem), error, line, source)
    except yaml.YAMLError as error:
        _unreadable("YAML", str(error), error, None, source)
    except LabkitError as error:
        if place := _place(source, error.context.get("line")):
            error.located(place)
        raise
    return _empty(source)


def _place(source: str, line: int | None) -> str:
    return ", ".join(filter(None, (source, f"line {line}" if line else "")))


def _empty(source: str) -> NoReturn:
    raise InvalidArgument(
        f"{source or 'the text of the wish'} is empty",
        why="a wish names VMs, and links between them",
        fix=f"The smallest with a link is:\n{SMALLEST}",
        argument="text",
        value=None,
        rule="not empty",
    )


def _unreadable(
    form: str, why: str, error: Exception, line: int | None, source: str = ""
) -> NoReturn:
    rule = f"it is not {form}: {' '.join(why.split())}"
    raise InvalidArgument(
        f"cannot read {_place(source or 'the text of the wish', line)}",
        why=rule,
        fix="Correct the text; nothing was done.",
        argument="text",
        value=source,
        rule=rule,
        line=line,
    ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    form: dict[str, Any] = {}
    for key, value in pairs:
        if key in form:
            refuse("key", key, "it is there twice; the second would hide the first")
        form[key] = value
    return form


class _Dict(dict[Any, Any]):
    """A dict that was read, with the line of each key."""

    lines: Mapping[object, int]


class _List(list[Any]):
    """A list that was read, with the line of each place."""

    lines: Mapping[object, int]


@contextmanager
def _lines_of(form: object, key: object = None) -> Iterator[None]:
    """Notes in errors the line of what they are about, as far as it can be told from `form`:
    that of `key`, or else of the key that the error names."""
    try:
        yield
    except LabkitError as error:
        lines = form.lines if isinstance(form, _Dict | _List) else {}
        about = str(error.context.get("argument"))
        named = [key, about.rpartition(": ")[2], str(error.context.get("value"))]
        named += [one for one in lines if about.startswith(f"link {one!r}")]
        for one in named:
            if one in lines:
                error.context.setdefault("line", lines[one])
        raise


def _each(forms: Mapping[str, Any], read: Callable[[str, object], Part]) -> tuple[Part, ...]:
    """The parts of a dict by name, as they are read; an error in one has its line."""
    parts = []
    for name, written in forms.items():
        with _lines_of(forms, name), _lines_of(written):
            parts.append(read(name, written))
    return tuple(parts)


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and never anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)


class _Loader(yaml.SafeLoader):
    """Reads the plain words of YAML 1.2, where ``on`` and ``no`` are texts; refuses double keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("int", r"0|-?[1-9][0-9]*", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _read_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                line = key.start_mark.line + 1
                rule = "it is there twice; the second would hide the first"
                refuse("key", key.value, rule, line=line)
            seen.add(key.value)
    loader.flatten_mapping(node)
    form = _Dict(loader.construct_mapping(node, deep=True))
    form.lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    return form


def _read_sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    form = _List(loader.construct_sequence(node, deep=True))
    form.lines = {place: one.start_mark.line + 1 for place, one in enumerate(node.value)}
    return form


_Loader.add_constructor("tag:yaml.org,2002:map", _read_mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _read_sequence)
