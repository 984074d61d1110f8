"""What stands in the slice editor, right or wrong: VMs and links as typed, and every change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labkit.wish import LinkWish, Slice, VMWish
from labkit.wish.links import IMPAIRMENTS
from labkit.wish.refusal import refuse
from labkit_widgets.vm_values import next_name

End = tuple[str, str]  # a VM's key and an interface
Texts = tuple[tuple[str, str], ...]  # of impairments, those that are not empty


@dataclass(frozen=True, slots=True)
class VMDraft:
    """A VM as typed. `base` keeps what the editor does not show; `key` outlives every renaming."""

    key: str
    name: str
    flavor: str = "micro"
    interfaces: str = "1"
    internet: bool = False
    forwarding: bool = False
    addresses: tuple[tuple[str, str], ...] = ()
    routes: str = ""
    base: VMWish | None = None

    @property
    def data_interfaces(self) -> tuple[str, ...]:
        """The interfaces it has, as far as their number can be read."""
        count = int(self.interfaces) if self.interfaces.strip().isdecimal() else 0
        return tuple(f"eth{number}" for number in range(1, min(count, 255) + 1))


@dataclass(frozen=True, slots=True)
class LinkDraft:
    """A link as typed. `texts` has one entry per end: what happens to the packets it sends.

    `apart` tells whether each direction is edited by itself. A link that is not `named` is called
    after its VMs, also when these are renamed.
    """

    key: str
    name: str
    ends: tuple[End, ...]
    up: bool = True
    apart: bool = False
    texts: tuple[Texts, ...] = ()
    named: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A slice as typed; every change gives a new one."""

    name: str
    vms: tuple[VMDraft, ...] = ()
    links: tuple[LinkDraft, ...] = ()
    keys: int = field(default=0, compare=False)  # how many were given away

    def vm(self, key: str) -> VMDraft:
        """The VM with a key."""
        found = next((vm for vm in self.vms if vm.key == key), None)
        return found or refuse("key of a VM", key, "it was removed")

    def link(self, key: str) -> LinkDraft:
        """The link with a key."""
        found = next((link for link in self.links if link.key == key), None)
        return found or refuse("key of a link", key, "it was removed")

    def with_vm_added(self) -> Draft:
        """One more VM, like the last one and called next."""
        last = self.vms[-1] if self.vms else VMDraft("", "vm0")
        name = next_name(last.name, {vm.name for vm in self.vms})
        made = VMDraft(f"v{self.keys + 1}", name, last.flavor, forwarding=last.forwarding)
        return replace(self, vms=(*self.vms, made), keys=self.keys + 1)

    def with_vm_removed(self, key: str) -> Draft:
        """Without a VM, its ends of links, and links left with one end."""
        self.vm(key)
        links = (without_vm(link, key) for link in self.links)
        kept = tuple(link for link in links if len(link.ends) > 1)
        return replace(self, vms=tuple(vm for vm in self.vms if vm.key != key), links=kept).named()

    def with_vm_changed(self, key: str, **changes: Any) -> Draft:
        """Other settings of a VM."""
        new = replace(self.vm(key), **changes)
        return replace(self, vms=tuple(new if vm.key == key else vm for vm in self.vms)).named()

    def with_address(self, key: str, interface: str, text: str) -> Draft:
        """Another address of one interface; an empty text takes it away."""
        old = {name: one for name, one in self.vm(key).addresses if name != interface}
        new = old | ({interface: text} if text else {})
        return self.with_vm_changed(key, addresses=tuple(sorted(new.items(), key=_by_number)))

    def with_connection(self, one: str, two: str) -> Draft:
        """A cable between two VMs; an interface is added where none is free."""
        if one == two:
            refuse("link", self.vm(one).name, "it would join a VM to itself", "Choose another VM.")
        draft, first = self._with_free_end(one)
        draft, second = draft._with_free_end(two)
        made = LinkDraft(f"l{draft.keys + 1}", "", (first, second), texts=((), ()))
        return replace(draft, links=(*draft.links, made), keys=draft.keys + 1).named()

    def with_end_added(self, link: str, vm: str) -> Draft:
        """One more VM on a link, which makes it a switch."""
        old = self.link(link)
        draft, end = self._with_free_end(vm)
        texts = (*old.texts, () if old.apart else old.texts[0])
        return draft.with_link_changed(link, ends=(*old.ends, end), texts=texts).named()

    def with_end_removed(self, link: str, number: int) -> Draft:
        """A VM less on a link."""
        return self.with_link_changed(
            link,
            ends=_without(self.link(link).ends, number),
            texts=_without(self.link(link).texts, number),
        ).named()

    def with_end(self, link: str, number: int, end: End) -> Draft:
        """Another interface at an end of a link."""
        ends = list(self.link(link).ends)
        ends[number] = end
        return self.with_link_changed(link, ends=tuple(ends)).named()

    def with_link_changed(self, key: str, **changes: Any) -> Draft:
        """Other settings of a link."""
        new = replace(self.link(key), **changes)
        return replace(self, links=tuple(new if one.key == key else one for one in self.links))

    def with_impairment(self, key: str, kind: str, text: str, number: int | None = None) -> Draft:
        """What a link does to the packets that one end sends, or those of every end."""
        if kind not in IMPAIRMENTS:
            refuse("impairment", kind, f"these are known: {', '.join(IMPAIRMENTS)}")
        texts = tuple(
            _with_text(old, kind, text) if number in (None, place) else old
            for place, old in enumerate(self.link(key).texts)
        )
        return self.with_link_changed(key, texts=texts)

    def with_link_apart(self, key: str, *, apart: bool) -> Draft:
        """Each direction by itself, or all as the first."""
        old = self.link(key)
        texts = old.texts if apart else (old.texts[0],) * len(old.ends)
        return self.with_link_changed(key, apart=apart, texts=texts)

    def with_link_removed(self, key: str) -> Draft:
        """Without a link."""
        self.link(key)
        links = tuple(link for link in self.links if link.key != key)
        return replace(self, links=links).named()

    def named(self) -> Draft:
        """The links that have no name of their own called after their VMs."""
        names = {vm.key: vm.name for vm in self.vms}
        taken = {link.name for link in self.links if link.named}
        links = []
        for link in self.links:
            if not link.named:
                name = _free(_called_after([names[key] for key, _ in link.ends]), taken)
                link = replace(link, name=name)
                taken.add(name)
            links.append(link)
        return replace(self, links=tuple(links))

    def free_ends(self, vm: VMDraft) -> Iterator[End]:
        """The interfaces of a VM that are in no link."""
        taken = {end for link in self.links for end in link.ends}
        return (end for name in vm.data_interfaces if (end := (vm.key, name)) not in taken)

    def _with_free_end(self, key: str) -> tuple[Draft, End]:
        vm = self.vm(key)
        free = next(self.free_ends(vm), None)
        if free is not None:
            return self, free
        count = len(vm.data_interfaces) + 1
        return self.with_vm_changed(key, interfaces=str(count)), (key, f"eth{count}")


def draft_of(wish: Slice, *, keys: int = 0, named: bool = True) -> Draft:
    """A wish as it stands in the editor; `keys` are not used again.

    Links that are not `named` and are called after their VMs go on being so.
    """
    vms, of_name = [], {}
    for vm in wish.vms:
        keys += 1
        of_name[vm.name] = f"v{keys}"
        vms.append(_vm_draft(f"v{keys}", vm))
    links = []
    for link in wish.links:
        keys += 1
        links.append(_link_draft(f"l{keys}", link, of_name, named=named))
    return Draft(wish.name, tuple(vms), tuple(links), keys)


def _vm_draft(key: str, vm: VMWish) -> VMDraft:
    each: dict[str, list[str]] = {}
    for interface, address in vm.addresses:
        each.setdefault(interface, []).append(address)
    return VMDraft(
        key,
        vm.name,
        vm.flavor,
        str(vm.interfaces),
        vm.internet,
        vm.forwarding,
        tuple((interface, ", ".join(texts)) for interface, texts in each.items()),
        "\n".join(map(str, vm.routes)),
        vm,
    )


def _link_draft(key: str, link: LinkWish, of_name: Mapping[str, str], *, named: bool) -> LinkDraft:
    impaired = {end: tuple(one.texts().items()) for end, one in link.impairments}
    texts = tuple(impaired.get(end, ()) for end in link.ends)
    parts = (end.split(":") for end in link.ends)
    ends = tuple((of_name[vm], interface) for vm, interface in parts)
    called = link.name == _called_after(link.vms)
    return LinkDraft(key, link.name, ends, link.up, len(set(texts)) > 1, texts, named or not called)


def without_vm(link: LinkDraft, key: str) -> LinkDraft:
    """A link without its end at a VM."""
    kept = [n for n, (vm, _) in enumerate(link.ends) if vm != key]
    return replace(
        link,
        ends=tuple(link.ends[n] for n in kept),
        texts=tuple(link.texts[n] for n in kept),
    )


def _called_after(vms: Iterable[str]) -> str:
    names = list(vms)
    return "-".join(names) if len(names) == 2 and len("-".join(names)) < 58 else "segment"


def _free(stem: str, taken: set[str]) -> str:
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _without(values: tuple[Any, ...], number: int) -> tuple[Any, ...]:
    return (*values[:number], *values[number + 1 :])


def _with_text(texts: Texts, kind: str, text: str) -> Texts:
    found = dict(texts) | {kind: text}
    return tuple((one, found[one]) for one in IMPAIRMENTS if found.get(one))


def _by_number(pair: tuple[str, str]) -> int:
    return int(pair[0].removeprefix("eth"))
