"""The slice editor without its page: what was typed, its history, and what the page shows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit import flavors
from labkit.errors import UsageError
from labkit.markup import counted
from labkit.spec import to_yaml
from labkit.templates import TEMPLATES, template
from labkit.wish import Slice
from labkit.wish.refusal import refuse
from labkit.wish_python import to_python
from labkit_widgets.editor_check import Checked, check, reason
from labkit_widgets.editor_draft import Draft, LinkDraft, VMDraft, draft_of

MOST_KEPT = 200  # steps that can be undone
Message = Mapping[str, Any]
# What the page may change of a VM and of a link, and of which type it is.
VM_FIELDS = {
    "name": str,
    "flavor": str,
    "interfaces": str,
    "internet": bool,
    "forwarding": bool,
    "routes": str,
}
LINK_FIELDS = {"name": str, "up": bool}


@dataclass
class EditorState:
    """A draft with its history. `do` takes what the page says, `view` is what it shows.

    `wish` is always valid: that of the draft, or the last one that was when a field was left.
    """

    wish: Slice
    renamable: bool = False
    said: str = ""  # what was just done, for the page to tell
    epoch: int = 0  # counts what overwrites fields that are being typed in
    _draft: Draft = field(init=False)
    _checked: Checked = field(init=False)
    _done: list[Draft] = field(default_factory=list, init=False)
    _undone: list[Draft] = field(default_factory=list, init=False)
    _last: object = field(default=None, init=False)  # typing on in a field is one step
    _settled: Draft = field(init=False)  # the last valid one whose fields were left
    _shown: Draft = field(init=False)  # the one that `wish` is of

    def __post_init__(self) -> None:
        self._settled = draft_of(self.wish)
        self._set(self._settled)

    @property
    def draft(self) -> Draft:
        """What is typed, right or wrong."""
        return self._draft

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, by the name of a VM or link and the field; empty when nothing is."""
        names = {vm.key: vm.name for vm in self._draft.vms}
        names |= {link.key: link.name for link in self._draft.links}
        return {
            ": ".join(filter(None, [names.get(key, ""), where])): text
            for (key, where), text in self._checked.problems.items()
        }

    @property
    def is_valid(self) -> bool:
        """Whether the wish is what is typed."""
        return self._checked.wish is not None

    def replace(self, wish: Slice, said: str) -> None:
        """Take over a wish from elsewhere; what was typed can be had back by `undo`."""
        self._step(draft_of(wish, keys=self._draft.keys), None)
        self._settled = self._draft
        self.epoch += 1
        self.said = said

    def undo(self) -> None:
        """Take back the last step."""
        self._move(self._done, self._undone, "Taken back.")

    def redo(self) -> None:
        """Do again what was taken back."""
        self._move(self._undone, self._done, "Done again.")

    def do(self, message: Message) -> None:
        """Do what the page says: a dict with ``do`` and what that needs."""
        name = message.get("do")
        self.said = ""
        if name == "undo":
            self.undo()
        elif name == "redo":
            self.redo()
        elif isinstance(name, str) and name in _DOERS:
            mark = (name, message.get("key"), message.get("field"), message.get("end"))
            before = self._draft
            try:
                draft, self.said = _DOERS[name](self, message)
            except UsageError as error:  # what a click asks for may be impossible: say so
                self.said = f"Not done: {reason(error)}."
                return
            if draft != before:
                self._step(draft, mark if name in ("set-vm", "set-link") else None)
        else:
            refuse("message of the editor's page", name, f"these are known: {', '.join(_DOERS)}")
        if message.get("final", True) and self.is_valid:
            self._settled = self._draft

    def view(self) -> dict[str, Any]:
        """All that the page shows, as plain values."""
        draft = self._draft
        found: dict[str, dict[str, str]] = {}
        for (key, where), text in self._checked.problems.items():
            found.setdefault(key, {})[where] = text
        return {
            "slice": draft.name,
            "renamable": self.renamable,
            "vms": [_vm_view(vm, draft, found.get(vm.key, {})) for vm in draft.vms],
            "links": [_link_view(one, draft, found.get(one.key, {})) for one in draft.links],
            "free": [
                {"value": f"{key}:{interface}", "text": f"{vm.name}:{interface}"}
                for vm in draft.vms
                for key, interface in draft.free_ends(vm)
            ],
            # The picture is the wish's, whose names may be typed over now.
            "drawn": {f"vm:{vm.name}": vm.key for vm in self._shown.vms}
            | {f"link:{link.name}": link.key for link in self._shown.links},
            "problems": len(self._checked.problems),
            "slice_problem": found.get("", {}).get("name", ""),
            "advice": list(self.wish.advice()) if self.is_valid else [],
            "can_undo": bool(self._done),
            "can_redo": bool(self._undone),
            "said": self.said,
            "epoch": self.epoch,
        }

    def texts(self) -> dict[str, str]:
        """The wish as Python and as YAML."""
        return {"python": to_python(self.wish), "yaml": to_yaml(self.wish)}

    def _step(self, draft: Draft, mark: object) -> None:
        if mark is None or mark != self._last:
            self._done = [*self._done[-MOST_KEPT + 1 :], self._draft]
        self._last = mark
        self._undone.clear()
        self._set(draft)

    def _move(self, source: list[Draft], target: list[Draft], said: str) -> None:
        if not source:
            self.said = "There is nothing more."
            return
        target.append(self._draft)
        self._set(source.pop())
        self._last = None
        self.epoch += 1
        self.said = said

    def _set(self, draft: Draft) -> None:
        """Half a word may be a valid name: when the next letter is wrong, that one is not kept."""
        self._draft = draft
        self._checked = check(draft)
        self._shown = draft if self._checked.wish is not None else self._settled
        self.wish = self._checked.wish or check(self._settled).wish or self.wish


def _vm_view(vm: VMDraft, draft: Draft, problems: dict[str, str]) -> dict[str, Any]:
    typed = dict(vm.addresses)
    joined = {end: link.name for link in draft.links for end in link.ends}
    names = vm.data_interfaces[:32]
    return {
        "key": vm.key,
        "name": vm.name,
        "flavor": vm.flavor,
        "interfaces": vm.interfaces,
        "internet": vm.internet,
        "forwarding": vm.forwarding,
        "routes": vm.routes,
        "also": _also(vm),
        "addresses": [
            {"name": name, "text": typed.get(name, ""), "link": joined.get((vm.key, name), "")}
            for name in names
        ],
        "problems": problems,
    }


def _also(vm: VMDraft) -> str:
    """What the VM has that the editor keeps and does not show."""
    if vm.base is None:
        return ""
    counts = {
        "file": len(vm.base.files),
        "command": len(vm.base.commands),
        "hosts entry": len(vm.base.hosts),
    }
    words = [f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items() if n]
    sizes = {
        name: getattr(vm.base, name) for name in ("cores", "memory_mb", "disk_gb", "image", "host")
    }
    words += [f"{name} {value}" for name, value in sizes.items() if value is not None]
    return ", ".join(words)


def _link_view(link: LinkDraft, draft: Draft, problems: dict[str, str]) -> dict[str, Any]:
    names = {vm.key: vm.name for vm in draft.vms}
    return {
        "key": link.key,
        "name": link.name,
        "ends": [
            {"vm": key, "value": f"{key}:{interface}", "text": f"{names[key]}:{interface}"}
            for key, interface in link.ends
        ],
        "up": link.up,
        "apart": link.apart,
        "texts": [dict(texts) for texts in link.texts],
        "problems": problems,
    }


def choices() -> dict[str, Any]:
    """What the page offers, which never changes: flavors and templates."""
    return {
        "flavors": [{"name": name, "about": _about(name)} for name in flavors.SIZES],
        "templates": [
            {
                "name": one.name,
                "title": one.title,
                "about": one.about,
                "least": one.least,
                "most": one.most,
                "usual": one.usual,
            }
            for one in TEMPLATES.values()
        ],
    }


def _about(flavor: str) -> str:
    size = flavors.size(flavor)
    disk = "no disk" if size.disk_gb is None else f"{size.disk_gb:g} GB disk"
    cores = f"{size.cores} core{'s' * (size.cores > 1)}"
    return f"{cores}, {size.memory_mb} MB, {disk}"


# What a message says, read once; each answers with the new draft and with what to tell.

Answer = tuple[Draft, str]


def _text(message: Message, key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else refuse(f"{key} of a message", value, "a text")


def _number(message: Message, key: str, most: int) -> int:
    return _within(message.get(key), key, range(most))


def _within(value: object, key: str, allowed: Iterable[int]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        refuse(f"{key} of a message", value, "a number of a part that is there")
    return value


def _add_vm(state: EditorState, _message: Message) -> Answer:
    draft = state.draft.with_vm_added()
    return draft, f"{draft.vms[-1].name} is added."


def _remove_vm(state: EditorState, message: Message) -> Answer:
    key = _text(message, "key")
    gone = len(state.draft.links)
    draft = state.draft.with_vm_removed(key)
    gone -= len(draft.links)
    links = f" with {gone} link{'s' * (gone > 1)}" if gone else ""
    return draft, f"{state.draft.vm(key).name} is removed{links}."


def _set_vm(state: EditorState, message: Message) -> Answer:
    key, name, value = _text(message, "key"), _text(message, "field"), message.get("value")
    if name.startswith("address:"):
        interface = name.removeprefix("address:")
        state.draft.vm(key)
        return state.draft.with_address(key, interface, _text(message, "value")), ""
    if name not in VM_FIELDS or not isinstance(value, VM_FIELDS[name]):
        refuse(f"{name} of a VM", value, "a field and its kind of value are needed")
    return state.draft.with_vm_changed(key, **{name: value}), ""


def _connect(state: EditorState, message: Message) -> Answer:
    one, two = _text(message, "one"), _text(message, "two")
    draft = state.draft.with_connection(one, two)
    return draft, f"{draft.vm(one).name} and {draft.vm(two).name} are connected."


def _join(state: EditorState, message: Message) -> Answer:
    key, vm = _text(message, "key"), _text(message, "vm")
    draft = state.draft.with_end_added(key, vm)
    return draft, f"{draft.vm(vm).name} is on {draft.link(key).name}."


def _leave(state: EditorState, message: Message) -> Answer:
    link = state.draft.link(_text(message, "key"))
    number = _number(message, "end", len(link.ends))
    if len(link.ends) < 3:
        refuse("end of a link", link.name, "a link needs two ends", "Remove the link.")
    vm = state.draft.vm(link.ends[number][0]).name
    return state.draft.with_end_removed(link.key, number), f"{vm} is no longer on {link.name}."


def _set_end(state: EditorState, message: Message) -> Answer:
    link = state.draft.link(_text(message, "key"))
    number = _number(message, "end", len(link.ends))
    vm, _, interface = _text(message, "value").partition(":")
    return state.draft.with_end(link.key, number, (state.draft.vm(vm).key, interface)), ""


def _set_link(state: EditorState, message: Message) -> Answer:
    link = state.draft.link(_text(message, "key"))
    name, value = _text(message, "field"), message.get("value")
    if name == "apart" and isinstance(value, bool):
        return state.draft.with_link_apart(link.key, apart=value), ""
    if name in LINK_FIELDS and isinstance(value, LINK_FIELDS[name]):
        named = {"named": True} if name == "name" else {}
        return state.draft.with_link_changed(link.key, **{name: value}, **named), ""
    number = _number(message, "end", len(link.ends)) if link.apart else None
    text = _text(message, "value").strip()
    return state.draft.with_impairment(link.key, name, text, number), ""


def _remove_link(state: EditorState, message: Message) -> Answer:
    link = state.draft.link(_text(message, "key"))
    return state.draft.with_link_removed(link.key), f"{link.name} is removed."


def _use_template(state: EditorState, message: Message) -> Answer:
    name, count = _text(message, "template"), message.get("count")
    wish = template(name, count if isinstance(count, int) else 0, state.wish.name)
    state.epoch += 1
    undo = " Undo brings back what was there." if state.draft.vms else ""
    said = f"{TEMPLATES[name].title} of {counted(len(wish.vms), 'VM')}.{undo}"
    return draft_of(wish, keys=state.draft.keys, named=False), said


def _rename(state: EditorState, message: Message) -> Answer:
    if not state.renamable:
        refuse("name of the slice", message.get("value"), "it is fixed")
    old = state.draft
    return Draft(_text(message, "value"), old.vms, old.links, old.keys), ""


_DOERS: dict[str, Callable[[EditorState, Message], Answer]] = {
    "add-vm": _add_vm,
    "remove-vm": _remove_vm,
    "set-vm": _set_vm,
    "connect": _connect,
    "join": _join,
    "leave": _leave,
    "set-end": _set_end,
    "set-link": _set_link,
    "remove-link": _remove_link,
    "template": _use_template,
    "rename": _rename,
}
