"""A whole wish: machines and links that fit together, and how one wish becomes the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from labkit import rules
from labkit.errors import InvalidArgument
from labkit.near import did_you_mean, listed
from labkit.wish.addresses import host_of, network_of
from labkit.wish.links import LinkWish, link_wish, need_two, split_end
from labkit.wish.refusal import refuse, repeated
from labkit.wish.vms import VMWish, data_interfaces, missing_interface, settings_of, vm_wish

# A VM's disk is called {slice}-{vm_id}-{name} on its host, and that must be a name too.
MOST_NAME_LENGTH = 63 - len("-65535-")


@dataclass(frozen=True, slots=True)
class Slice:
    """A lab the user wants. Every change gives a new, checked wish; this one stays as it is."""

    name: str
    vms: tuple[VMWish, ...] = ()
    links: tuple[LinkWish, ...] = ()

    def __post_init__(self) -> None:
        rules.name(self.name, "name of a slice")
        vms = self._checked_vms()
        self._check_links(vms)
        self._check_addresses(vms)

    def __getitem__(self, name: str) -> VMWish:
        found = next((vm for vm in self.vms if vm.name == name), None)
        if found is None:
            self._unknown("VM", name, [vm.name for vm in self.vms])
        return found

    def link(self, name: str) -> LinkWish:
        """The link called `name`."""
        found = next((link for link in self.links if link.name == name), None)
        if found is None:
            self._unknown("link", name, [link.name for link in self.links])
        return found

    def with_vm(self, name: str, **settings: Any) -> Slice:
        """This wish and one more VM; `settings` as `vm_wish` takes them."""
        return self.with_vms([vm_wish(name, **settings)])

    def with_vms(self, vms: Iterable[VMWish]) -> Slice:
        """This wish and more VMs."""
        return replace(self, vms=(*self.vms, *vms))

    def with_changed_vm(self, name: str, **settings: Any) -> Slice:
        """This wish with other settings of one VM; those not given stay."""
        old = self[name]
        new = replace(old, **settings_of(name, settings))
        return replace(self, vms=tuple(new if vm is old else vm for vm in self.vms))

    def without_vm(self, name: str) -> Slice:
        """This wish without a VM and its ends of links; a link left with one end goes too."""
        gone = self[name].name
        links = []
        for link in self.links:
            ends = tuple(end for end in link.ends if end.partition(":")[0] != gone)
            if len(ends) == len(link.ends):
                links.append(link)
            elif len(ends) > 1:
                kept = tuple(pair for pair in link.impairments if pair[0] in ends)
                links.append(replace(link, ends=ends, impairments=kept))
        vms = tuple(vm for vm in self.vms if vm.name != gone)
        return replace(self, vms=vms, links=tuple(links))

    def joining(self, *ends: str) -> LinkWish | None:
        """The link between just these ends, if there is one.

        An end may be only a VM's name; it then counts when that VM has no free interface left.
        """
        taken = {end for link in self.links for end in link.ends}
        for link in self.links:
            mine = {end.partition(":")[0]: end for end in link.ends}
            named = [mine.get(end, "") if ":" not in end else end for end in ends]
            if sorted(named) == sorted(link.ends) and not self._all_free(ends, taken):
                return link
        return None

    def _all_free(self, ends: Iterable[str], taken: set[str]) -> bool:
        """Whether ends that are only names could all get an interface that is free."""
        return all(
            ":" not in end
            and any(
                f"{end}:{interface}" not in taken
                for interface in data_interfaces(self[end].interfaces)
            )
            for end in ends
        )

    def with_link(self, *ends: str, name: str | None = None, **settings: Any) -> Slice:
        """This wish and one more link; `settings` as `link_wish` takes them.

        An end may be only a VM's name: its first free interface is taken.
        """
        need_two(ends, f"link {name!r}" if name else "a link")
        whole = self.whole_ends(ends, {end for link in self.links for end in link.ends})
        link = link_wish(name or self._link_name(whole), whole, **settings)
        return self.with_links([link])

    def with_links(self, links: Iterable[LinkWish]) -> Slice:
        """This wish and more links."""
        return replace(self, links=(*self.links, *links))

    def with_changed_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        sends: Mapping[str, Mapping[str, object]] | None = None,
        **everywhere: object,
    ) -> Slice:
        """This wish with a link up or down, or with other impairments.

        Those not named stay; ``delay=None`` takes one away.
        """
        old = self.link(name)
        before = {end: impairment.texts() for end, impairment in old.impairments}
        each = {
            end: {**before.get(end, {}), **everywhere, **(sends or {}).get(end, {})}
            for end in old.ends
        }
        unknown_ends = {end: dict(texts) for end, texts in (sends or {}).items() if end not in each}
        new = link_wish(
            name, old.ends, up=old.up if up is None else up, sends={**each, **unknown_ends}
        )
        return replace(self, links=tuple(new if link is old else link for link in self.links))

    def without_link(self, name: str) -> Slice:
        """This wish without a link."""
        gone = self.link(name)
        return replace(self, links=tuple(link for link in self.links if link is not gone))

    def emptied(self) -> Slice:
        """The wish that nothing of the slice be left."""
        return Slice(self.name)

    def resolved(self, read: Callable[[str], bytes]) -> Slice:
        """This wish with the content of every file that names a source."""
        vms = (
            replace(
                vm,
                files=tuple(
                    file
                    if file.source is None
                    else replace(file, source=None, data=read(file.source))
                    for file in vm.files
                ),
            )
            for vm in self.vms
        )
        return replace(self, vms=tuple(vms))

    def advice(self) -> tuple[str, ...]:
        """What is allowed and still looks like a slip: ends of a cable without a common network."""
        vms = {vm.name: vm for vm in self.vms}
        return tuple(_advise(link, vms) for link in self.links if _advise(link, vms))

    def whole_ends(
        self, ends: Iterable[str], taken: Set[str], thing: str = "end of a link"
    ) -> tuple[str, ...]:
        """Ends with their interfaces: one that is only a VM's name gets the VM's first that is not
        `taken`; `thing` is what errors call an end."""
        return tuple(self._whole_end(end, taken, thing) for end in ends)

    def _whole_end(self, end: str, taken: Set[str], thing: str) -> str:
        if not isinstance(end, str) or ":" in end:
            return end
        vm = self[end]
        whole = (f"{end}:{interface}" for interface in data_interfaces(vm.interfaces))
        free = next((one for one in whole if one not in taken), None)
        if free is None:
            rule = f"all interfaces of {end} are in links (interfaces={vm.interfaces})"
            refuse(thing, end, rule, "Give the VM more interfaces.")
        return free

    def _link_name(self, ends: tuple[str, ...]) -> str:
        vms = [split_end(end)[0] for end in ends]
        stem = "-".join(vms) if len(vms) == 2 and len("-".join(vms)) < 58 else "segment"
        taken = {link.name for link in self.links}
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def _checked_vms(self) -> dict[str, VMWish]:
        vms: dict[str, VMWish] = {}
        for vm in self.vms:
            if vm.name in vms:
                rule = f"slice {self.name!r} has a VM of this name already"
                fix = "Change that one (change_vm), or take another name; nothing was done."
                repeated("name of a VM", vm.name, rule, fix)
            if len(self.name) + len(vm.name) > MOST_NAME_LENGTH:
                rule = f"it and the slice's name {self.name!r} together: {MOST_NAME_LENGTH} at most"
                refuse("name of a VM", vm.name, rule, "Choose a shorter name.")
            vms[vm.name] = vm
        return vms

    def _check_links(self, vms: Mapping[str, VMWish]) -> None:
        names: set[str] = set()
        taken: dict[str, str] = {}
        for link in self.links:
            if link.name in names:
                rule = f"slice {self.name!r} has a link of this name already"
                repeated("name of a link", link.name, rule, "Give it another name=….")
            names.add(link.name)
            for end in link.ends:
                thing = f"link {link.name!r}: end"
                vm, interface = split_end(end, thing)
                if vm not in vms:
                    rule = f"slice {self.name!r} has no VM {vm!r} (it has {listed(vms) or 'none'})"
                    refuse(thing, end, rule, did_you_mean(vm, vms, "Add the VM first."))
                if interface not in data_interfaces(vms[vm].interfaces):
                    refuse(thing, end, missing_interface(vms[vm], interface))
                if end in taken:
                    fix = "Take another interface, or remove that link."
                    repeated(thing, end, f"the interface is in link {taken[end]!r} already", fix)
                taken[end] = link.name

    def _unknown(self, kind: str, name: object, known: list[str]) -> NoReturn:
        why = f"it has {listed(known)}" if known else "it has none yet"
        raise InvalidArgument(
            f"slice {self.name!r} has no {kind} {name!r}",
            why=why,
            fix=did_you_mean(name, known, "Take one of them." if known else f"Add a {kind} first."),
            argument=kind,
            value=name,
            rule=why,
        )

    def _check_addresses(self, vms: Mapping[str, VMWish]) -> None:
        for link in self.links:
            seen: dict[str, str] = {}
            for end, address in _addresses(link, vms):
                host = host_of(address)
                if host in seen:
                    rule = f"{seen[host]} on the same link {link.name!r} has it too"
                    repeated(f"address of {end}", address, rule, "Give one of them another.")
                seen[host] = end


def _addresses(link: LinkWish, vms: Mapping[str, VMWish]) -> Iterator[tuple[str, str]]:
    for end in link.ends:
        vm, interface = split_end(end)
        for address in vms[vm].addresses_of(interface):
            yield end, address


def _advise(link: LinkWish, vms: Mapping[str, VMWish]) -> str:
    found = dict(_addresses(link, vms))
    if len(link.ends) != 2 or len(found) != 2:
        return ""
    if len({network_of(address) for _, address in _addresses(link, vms)}) == 1:
        return ""
    one, two = (f"{end} has {address}" for end, address in found.items())
    return f"{one} and {two}: the ends of link {link.name!r} share no network"
