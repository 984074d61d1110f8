"""The editor's draft: a wish and back, changes in every order, and problems at their fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from labkit import spec
from labkit.errors import InvalidArgument
from labkit.templates import TEMPLATES, template
from labkit.wish import FileWish, Slice
from labkit_widgets.editor_check import check
from labkit_widgets.editor_draft import Draft, draft_of
from labkit_widgets.editor_state import EditorState, choices
from slice_worlds import two_hosts_and_a_router, wishes
from thorough import examples


def problems(draft: Draft) -> dict[str, str]:
    names = {one.key: one.name for one in draft.vms} | {one.key: one.name for one in draft.links}
    return {f"{names[key]}/{name}": text for (key, name), text in check(draft).problems.items()}


def changed(draft: Draft, vm_name: str, /, **changes: Any) -> Draft:
    key = next(vm.key for vm in draft.vms if vm.name == vm_name)
    return draft.with_vm_changed(key, **changes)


@given(wishes(), st.booleans())
def test_a_wish_goes_into_the_editor_and_comes_out_as_it_was(wish: Slice, named: bool) -> None:
    found = check(draft_of(wish, named=named))
    assert found.problems == {}
    assert found.wish == wish


def test_what_the_editor_does_not_show_is_kept() -> None:
    wish = two_hosts_and_a_router().with_changed_vm(
        "r",
        files={"/x": FileWish("/x", b"\xff", mode=0o600)},
        hosts={"server": "10.9.9.9"},
        commands=["true, false"],
        knows_others=False,
        memory_mb=256,
        cores=2,
        host="worker-1",
        addresses={"eth1": ["10.0.1.1/24", "fd00::1/64"], "eth2": "10.0.2.1/24"},
        routes=["10.8.0.0/16 via 10.0.1.2", "default via fd00::2"],
    )
    wish = wish.with_changed_link("h1-r", delay="20ms", sends={"r:eth1": {"loss": "1%"}})
    assert check(draft_of(wish)).wish == wish


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"name": "my router"}, "my router/name", "1 to 63 letters"),
        ({"name": ""}, "/name", "1 to 63 letters"),
        ({"name": "h2"}, "h2/name", "has a VM of this name already"),
        ({"name": "x" * 60}, f"{'x' * 60}/name", "together: 56 at most"),
        ({"flavor": "huge"}, "r/flavor", "the flavors are micro"),
        ({"interfaces": ""}, "r/interfaces", "a whole number from 0 to 255"),
        ({"interfaces": "many"}, "r/interfaces", "a whole number from 0 to 255"),
        ({"interfaces": "256"}, "r/interfaces", "a whole number from 0 to 255"),
        ({"interfaces": "1"}, "r-h2/end:0", "it has eth1"),
        ({"addresses": (("eth1", "10.0.1.1"),)}, "r/address:eth1", "address with its prefix"),
        ({"addresses": (("eth2", "10.0.2.0/24"),)}, "r/address:eth2", "the network 10.0.2.0/24"),
        ({"addresses": (("eth2", "10.0.2.2/24"),)}, "h2/address:eth1", None),
        ({"routes": "10.1.0.0/16 to 10.0.1.2"}, "r/routes", "NETWORK via GATEWAY"),
        ({"routes": "default via 10.77.1.1"}, "r/routes", "outside the machine's networks"),
    ],
)
def test_each_problem_stands_at_its_field(
    change: dict[str, Any], field: str, message: str | None
) -> None:
    draft = draft_of(two_hosts_and_a_router())
    found = problems(changed(draft, "r", **change))
    if message is None:  # two ends with one address: the later one is to blame
        assert list(found) in (["r/address:eth2"], ["h2/address:eth1"])
        assert "on the same link 'r-h2' has it too" in next(iter(found.values()))
    else:
        assert list(found) == [field]
        assert message in found[field]


def test_what_hangs_on_a_wrong_field_is_not_blamed() -> None:
    draft = draft_of(two_hosts_and_a_router())
    assert set(problems(changed(draft, "h1", addresses=(("eth1", "10.0.1.x"),)))) == {
        "h1/address:eth1"
    }
    assert set(problems(changed(draft, "h1", interfaces="none"))) == {"h1/interfaces"}


def test_problems_are_found_all_at_once() -> None:
    draft = draft_of(two_hosts_and_a_router())
    draft = changed(changed(draft, "h1", name="a b"), "h2", interfaces="x")
    draft = draft.with_impairment(draft.links[0].key, "delay", "soon")
    assert set(problems(draft)) == {"a b/name", "h2/interfaces", "h1-r/delay"}


def test_impairments_are_told_apart_by_kind_and_by_end() -> None:
    draft = draft_of(two_hosts_and_a_router())
    key = draft.links[0].key
    assert set(problems(draft.with_impairment(key, "loss", "x"))) == {"h1-r/loss"}
    jitter = draft.with_impairment(key, "jitter", "5ms")
    assert "no packet arrives before it is sent" in problems(jitter)["h1-r/jitter"]
    assert problems(jitter.with_impairment(key, "delay", "5ms")) == {}
    apart = draft.with_link_apart(key, apart=True).with_impairment(key, "rate", "fast", 1)
    assert set(problems(apart)) == {"h1-r/rate:1"}
    wish = check(apart.with_impairment(key, "rate", "5Mbit", 1)).wish
    assert wish is not None
    assert [end for end, _ in wish.link("h1-r").impairments] == ["r:eth1"]


def test_ends_that_do_not_fit_are_told_at_the_end() -> None:
    draft = draft_of(two_hosts_and_a_router())
    second = draft.links[1]
    taken = draft.with_end(second.key, 0, draft.links[0].ends[1])
    assert "in link 'h1-r' already" in problems(taken)["r-h2/end:0"]
    itself = draft.with_end(second.key, 1, (second.ends[0][0], "eth1"))
    assert "would join r to itself" in problems(itself)["r-h2/end:1"]


def test_connecting_takes_a_free_interface_or_makes_one() -> None:
    draft = Draft("net").with_vm_added().with_vm_added().with_vm_added()
    one, two, three = (vm.key for vm in draft.vms)
    draft = draft.with_connection(one, two).with_connection(two, three)
    assert [vm.interfaces for vm in draft.vms] == ["1", "2", "1"]
    wish = check(draft).wish
    assert wish is not None
    assert [link.ends for link in wish.links] == [
        ("vm1:eth1", "vm2:eth1"),
        ("vm2:eth2", "vm3:eth1"),
    ]
    assert [link.name for link in wish.links] == ["vm1-vm2", "vm2-vm3"]
    with pytest.raises(InvalidArgument, match="to itself"):
        draft.with_connection(one, one)


def test_links_are_called_after_their_vms_until_they_get_a_name() -> None:
    draft = Draft("net").with_vm_added().with_vm_added()
    one, two = (vm.key for vm in draft.vms)
    draft = draft.with_connection(one, two).with_connection(one, two)
    assert [link.name for link in draft.links] == ["vm1-vm2", "vm1-vm2-2"]
    draft = draft.with_vm_changed(one, name="r1")
    assert [link.name for link in draft.links] == ["r1-vm2", "r1-vm2-2"]
    draft = draft.with_link_changed(draft.links[0].key, name="wan", named=True)
    draft = draft.with_vm_changed(two, name="r2")
    assert [link.name for link in draft.links] == ["wan", "r1-r2"]


def test_a_deployed_links_name_stays_when_a_vm_is_renamed() -> None:
    draft = changed(draft_of(two_hosts_and_a_router()), "r", name="core")
    assert [link.name for link in draft.links] == ["h1-r", "r-h2"]


def test_a_cable_becomes_a_switch_and_a_cable_again() -> None:
    draft = Draft("net").with_vm_added().with_vm_added().with_vm_added()
    one, two, three = (vm.key for vm in draft.vms)
    draft = draft.with_connection(one, two)
    key = draft.links[0].key
    draft = draft.with_impairment(key, "delay", "5ms").with_end_added(key, three)
    assert len(draft.links[0].texts) == 3
    assert check(draft).problems == {}
    assert draft.links[0].name == "segment"
    assert draft.with_end_removed(key, 1).links[0].name == "vm1-vm3"
    assert draft.with_vm_removed(one).links[0].name == "vm2-vm3"
    assert draft.with_vm_removed(one).with_vm_removed(two).links == ()


def test_the_view_has_what_the_page_needs() -> None:
    state = EditorState(two_hosts_and_a_router())
    view = state.view()
    assert [vm["name"] for vm in view["vms"]] == ["h1", "h2", "r"]
    assert view["vms"][2]["addresses"] == [
        {"name": "eth1", "text": "10.0.1.1/24", "link": "h1-r"},
        {"name": "eth2", "text": "10.0.2.1/24", "link": "r-h2"},
    ]
    assert [end["text"] for end in view["links"][0]["ends"]] == ["h1:eth1", "r:eth1"]
    assert view["drawn"]["vm:r"] == view["vms"][2]["key"]
    assert view["free"] == []
    assert [one["name"] for one in choices()["templates"]] == list(TEMPLATES)


def test_typing_on_is_one_step_back() -> None:
    state = EditorState(Slice("net"))
    state.do({"do": "add-vm"})
    key = state.view()["vms"][0]["key"]
    for text in ("", "r", "r1"):
        state.do({"do": "set-vm", "key": key, "field": "name", "value": text})
    assert state.wish["r1"].flavor == "micro"
    state.do({"do": "undo"})
    assert [vm.name for vm in state.wish.vms] == ["vm1"]
    state.do({"do": "undo"})
    assert state.wish == Slice("net")
    state.do({"do": "undo"})
    assert state.said == "There is nothing more."
    state.do({"do": "redo"})
    state.do({"do": "redo"})
    assert [vm.name for vm in state.wish.vms] == ["r1"]


def test_a_wrong_letter_brings_back_the_name_before_not_half_of_the_new_one() -> None:
    state = EditorState(two_hosts_and_a_router())
    key = state.view()["vms"][2]["key"]
    for text in ("", "m", "my", "my "):
        state.do({"do": "set-vm", "key": key, "field": "name", "value": text, "final": False})
    assert state.wish == two_hosts_and_a_router()
    assert state.view()["drawn"]["vm:r"] == key
    state.do({"do": "set-vm", "key": key, "field": "name", "value": "my-r", "final": False})
    assert state.wish["my-r"].forwarding


def test_a_template_replaces_all_and_is_undone_at_once() -> None:
    state = EditorState(two_hosts_and_a_router())
    state.do({"do": "template", "template": "ring", "count": 5})
    assert state.wish == template("ring", 5, "net")
    assert state.said == "Ring of 5 VMs. Undo brings back what was there."
    state.do({"do": "undo"})
    assert state.wish == two_hosts_and_a_router()
    state.do({"do": "template", "template": "ring", "count": 1})
    assert "from 3 to 50" in state.said
    assert state.wish == two_hosts_and_a_router()


@pytest.mark.parametrize(
    "message",
    [{"do": "explode"}, {}, {"do": ["x"]}],
)
def test_a_page_that_talks_nonsense_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="message of the editor's page"):
        EditorState(Slice("net")).do(message)


@pytest.mark.parametrize(
    "message",
    [
        {"do": "remove-vm", "key": "v99"},
        {"do": "set-vm", "key": "v1", "field": "base", "value": "x"},
        {"do": "set-vm", "key": "v1", "field": "internet", "value": "yes"},
        {"do": "set-vm", "key": "v1", "field": "address:eth1", "value": None},
        {"do": "set-link", "key": "l4", "field": "colour", "value": "red"},
        {"do": "set-end", "key": "l4", "end": 2, "value": "v1:eth1"},
        {"do": "set-end", "key": "l4", "end": True, "value": "v1:eth1"},
        {"do": "leave", "key": "l4", "end": 0},
        {"do": "connect", "one": "v1", "two": "v1"},
        {"do": "rename", "value": "other"},
        {"do": "template", "template": "tree", "count": 3},
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(message: dict[str, Any]) -> None:
    state = EditorState(two_hosts_and_a_router())
    before = state.draft
    state.do(message)
    assert state.said.startswith("Not done: ")
    assert state.draft == before


TEXTS = st.sampled_from(
    ["", "a b", "r1", "vm2", "10.0.0.1/24", "10.0.0.1", "20ms", "1%", "3", "x" * 70, "é", "0"]
)


class Person(RuleBasedStateMachine):
    """Somebody who clicks and types anything in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = EditorState(two_hosts_and_a_router(), renamable=True)

    def pick(self, data: st.DataObject, kind: str) -> str:
        keys = [one["key"] for one in self.state.view()[kind]]
        return str(data.draw(st.sampled_from([*keys, "none"])))

    @rule(name=st.sampled_from(["add-vm", "undo", "redo", "undo"]))
    def click(self, name: str) -> None:
        self.state.do({"do": name})

    @rule(name=st.sampled_from(sorted(TEMPLATES)), count=st.integers(2, 6))
    def use_template(self, name: str, count: int) -> None:
        self.state.do({"do": "template", "template": name, "count": count})

    @rule(data=st.data(), value=TEXTS | st.booleans())
    def change_vm(self, data: st.DataObject, value: object) -> None:
        fields = ["name", "flavor", "interfaces", "internet", "routes", "address:eth1"]
        field = data.draw(st.sampled_from(fields))
        key = self.pick(data, "vms")
        self.state.do({"do": "set-vm", "key": key, "field": field, "value": value})

    @rule(data=st.data(), value=TEXTS | st.booleans(), end=st.integers(0, 3))
    def change_link(self, data: st.DataObject, value: object, end: int) -> None:
        field = data.draw(st.sampled_from(["name", "up", "apart", "delay", "jitter", "loss"]))
        message = {"do": "set-link", "key": self.pick(data, "links"), "field": field}
        self.state.do({**message, "value": value, "end": end})

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        one, two = self.pick(data, "vms"), self.pick(data, "vms")
        self.state.do({"do": "connect", "one": one, "two": two})

    @rule(data=st.data(), end=st.integers(0, 3))
    def change_ends(self, data: st.DataObject, end: int) -> None:
        vm, link = self.pick(data, "vms"), self.pick(data, "links")
        self.state.do(
            {"do": data.draw(st.sampled_from(["join", "leave"])), "key": link, "vm": vm, "end": end}
        )
        self.state.do({"do": "set-end", "key": link, "end": end, "value": f"{vm}:eth1"})

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.state.do({"do": "remove-vm", "key": self.pick(data, "vms")})
        self.state.do({"do": "remove-link", "key": self.pick(data, "links")})

    @rule(value=TEXTS)
    def rename(self, value: str) -> None:
        self.state.do({"do": "rename", "value": value})

    @invariant()
    def the_wish_is_valid_and_a_draft_that_is_not_says_where(self) -> None:
        wish = self.state.wish
        assert spec.from_yaml(spec.to_yaml(wish)) == wish
        view = self.state.view()
        if self.state.is_valid:
            assert self.state.problems == {}
            assert view["slice"] == wish.name
            assert [vm["name"] for vm in view["vms"]] == [vm.name for vm in wish.vms]
        else:
            shown = [
                text for one in (*view["vms"], *view["links"]) for text in one["problems"].values()
            ]
            assert all(shown)
            assert len(shown) + bool(view["slice_problem"]) == view["problems"] > 0


TestPerson = Person.TestCase
TestPerson.settings = settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
