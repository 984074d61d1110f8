"""The text form of wishes: every wish survives it, and a slip is told with its place."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import spec
from labkit.errors import DuplicateError, InvalidArgument, LabkitError
from labkit.spec_schema import schema
from labkit.wish import FileWish, Slice
from slice_worlds import two_hosts_and_a_router, wishes

TEXT = """\
name: net
vms:
  h1:
    flavor: micro
    interfaces: 1
    addresses: {eth1: 10.0.1.2/24}
    routes: [default via 10.0.1.1]
  h2:
    flavor: micro
    interfaces: 1
    addresses: {eth1: 10.0.2.2/24}
    routes: [default via 10.0.2.1]
  r:
    flavor: micro
    interfaces: 2
    addresses: {eth1: 10.0.1.1/24, eth2: 10.0.2.1/24}
    forwarding: true
links:
  h1-r:
    ends: ['h1:eth1', 'r:eth1']
  r-h2:
    ends: ['r:eth2', 'h2:eth1']
"""


def test_the_canonical_text() -> None:
    assert spec.to_yaml(two_hosts_and_a_router()) == TEXT
    assert spec.from_yaml(TEXT) == two_hosts_and_a_router()


@given(wishes())
def test_a_wish_survives_yaml_json_and_dicts(wish: Slice) -> None:
    assert spec.from_yaml(spec.to_yaml(wish)) == wish
    assert spec.from_json(spec.to_json(wish)) == wish
    assert spec.from_yaml(spec.to_json(wish)) == wish
    jsonschema.validate(json.loads(spec.to_json(wish)), schema())


@given(st.binary(max_size=40), st.text(max_size=40), st.integers(0, 0o7777))
def test_every_content_of_a_file_survives(data: bytes, text: str, mode: int) -> None:
    files = {"/a": FileWish("/a", data, mode=mode), "/b": text, "/c": FileWish("/c", source="c")}
    if not text.isprintable() and any(0xD800 <= ord(character) < 0xE000 for character in text):
        return
    wish = Slice("s").with_vm("a", files=files)
    assert spec.from_yaml(spec.to_yaml(wish)) == wish
    assert spec.from_json(spec.to_json(wish)) == wish
    jsonschema.validate(spec.to_dict(wish), schema())


def test_links_may_be_a_list_and_nameless() -> None:
    text = """
    vms: {on: , no: {interfaces: 2}}
    links:
      - [on, no]
      - {name: x, ends: [no:eth2, y:eth1], delay: 5ms, sends: {y:eth1: {loss: 1%}}}
    """
    wish = spec.from_yaml(text.replace("no: {", "y: , no: {"), name="s")
    assert [link.name for link in wish.links] == ["on-no", "x"]
    assert wish.links[0].ends == ("on:eth1", "no:eth1")
    assert wish.links[1].impairments[1][1].texts() == {"delay": "5ms", "loss": "1%"}


def test_ends_may_be_only_vms_in_a_dict_of_links_too() -> None:
    text = """
    vms: {h1: , h2: , r: {interfaces: 3}}
    links:
      left: [h1, r]
      right: {ends: [r:eth2, h2], delay: 5ms, sends: {h2:eth1: {loss: 1%}}}
    """
    wish = spec.from_yaml(text, name="s")
    assert [(link.name, link.ends) for link in wish.links] == [
        ("left", ("h1:eth1", "r:eth1")),
        ("right", ("r:eth2", "h2:eth1")),
    ]
    assert wish.links[1].impairments[1][1].texts() == {"delay": "5ms", "loss": "1%"}
    assert spec.from_yaml(spec.to_yaml(wish)) == wish


@given(wishes(), st.data())
def test_named_links_take_the_interfaces_that_listed_ones_take(
    wish: Slice, data: st.DataObject
) -> None:
    form = spec.to_dict(wish)
    for link in form["links"].values():
        link.pop("sends", None)
        bare = data.draw(st.sets(st.sampled_from(link["ends"])))
        link["ends"] = [e.partition(":")[0] if e in bare else e for e in link["ends"]]
    listed = {**form, "links": [{"name": name, **one} for name, one in form["links"].items()]}
    jsonschema.validate(form, schema())
    assert _read(form) == _read(listed)


def _read(form: object) -> Slice | None:
    try:
        return spec.from_dict(form)
    except (InvalidArgument, DuplicateError):  # a later link names what was free before it
        return None


def test_anchors_serve_as_templates() -> None:
    text = "vms:\n  a: &router {interfaces: 2, forwarding: true}\n  b: {<<: *router, interfaces: 3}"
    wish = spec.from_yaml(text, name="s")
    assert [(vm.interfaces, vm.forwarding) for vm in wish.vms] == [(2, True), (3, True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "a dict with the keys name, vms, links is needed"),
        ("vms: [a]", "vms is ['a']: a dict by name is needed"),
        ("vms: {a: {intrefaces: 2}}", "Did you mean 'interfaces'?"),
        ("vms: {a: , a: }", "line 1: key is 'a': it is there twice"),
        ("vms: {1: }", "Write it in quotes"),
        ("vms: {a: {interfaces: '2'}}", "a whole number"),
        ("vms: {a: {files: {/x: {text: a, source: b}}}}", "exactly one of text, base64 and source"),
        ("vms: {a: {files: {/x: {text: a, mode: 755}}}}", "octal digits in quotes"),
        ("vms: {a: {files: {/x: {base64: '!'}}}}", "content of file '/x'"),
        ("vms: {a: {files: {/x: [1]}}}", "a dict with the keys text, base64"),
        ("links: {x: {ends: a}}", "a list such as [r1:eth1, r2:eth1] is needed"),
        ("links: {x: {ends: [a:eth1, b:eth1], delya: 1ms}}", "Did you mean 'delay'?"),
        ("links: [{delay: 1ms}]", "link 1: ends"),
        ("vms: {a", "it is not YAML"),
        ("name: [x]", "name of a slice"),
    ],
)
def test_a_slip_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(LabkitError) as caught:
        spec.from_yaml(text, name="s")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vms:\n  h1: x: y", "cannot read lab.yaml, line 2: it is not YAML"),
        ("vms:\n  h1:\n    intrefaces: 2", "lab.yaml, line 3: key in VM 'h1'"),
        ("vms: {a: , a: }", "lab.yaml, line 1: key is 'a'"),
        ("vms: {a: , b: }\nlinks:\n  l:\n    ends: [a:eth1, b:eth1]\n    loss: x", "line 5: link"),
        ("vms: {a: , b: }\nlinks:\n  - [a, b]\n  - [a, q]", "lab.yaml, line 4: "),
        ("vms: {a: , b: }\nlinks:\n  x: [a:eth1, q:eth1]", "lab.yaml, line 3: link 'x': end"),
        ("vms: {a: , b: }\nlinks:\n  x: [a, q]", "lab.yaml, line 3: slice 's' has no VM 'q'"),
        ("vms: {a: , b: }\nlinks:\n  x: [a, b]\n  y: [a, b]", "line 4: link 'y': end is 'a': all"),
        ("vms: {a: , b: }\nlinks:\n  q: [a, b]\n  y: [q, a]", "line 4: slice 's' has no VM 'q'"),
        ("vms: {a: }\nlinks: {x: [a]}", "line 2: link 'x' has only the end 'a'"),
        ("vms: {a: }\nlinks:\n- [a]", "lab.yaml, line 3: a link has only the end 'a'"),
        ("name: [x]", "lab.yaml, line 1: name of a slice"),
        ("", "lab.yaml is empty: "),
        ("# nothing\n", "lab.yaml is empty: "),
    ],
)
def test_an_error_names_the_file_and_the_line(text: str, words: str) -> None:
    with pytest.raises(LabkitError) as caught:
        spec.from_yaml(text, name="s", source="lab.yaml")
    assert words in str(caught.value)


def test_the_wish_that_an_empty_file_is_told_of_is_one() -> None:
    with pytest.raises(InvalidArgument) as caught:
        spec.from_yaml("", name="s")
    wish = spec.from_yaml(caught.value.fix.partition("\n")[2], name="s")
    assert [link.ends for link in wish.links] == [("h1:eth1", "h2:eth1")]


@pytest.mark.parametrize("text", ["{", '{"name": "s", "name": "t"}'])
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        spec.from_json(text)


def test_the_schema_is_a_schema_and_refuses_what_the_reader_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate({"vms": {"a": None}, "links": [["a", "b"]]}, schema())
    slips: tuple[object, ...] = ({"vms": []}, {"vms": {"a": {"x": 1}}}, {"links": [["a"]]})
    for bad in (*slips, {"name": "-"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema())
