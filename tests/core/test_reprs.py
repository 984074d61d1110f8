"""How things look when a cell shows them, and how short an error is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from ipython_shell import ipython_shell
from labkit import markup
from labkit.errors import GuestNotReady, LabkitError
from labkit.executor import Result
from labkit.frames import report
from labkit.lab import LabSlice
from paper_lab import paper_lab

# Viewers of saved notebooks strip these, or what is in them.
FORBIDDEN = {"script", "style", "link", "svg", "iframe", "progress", "object", "button", "input"}
CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def net(tmp_path: Path) -> LabSlice:
    net = paper_lab(tmp_path).slice("ospf")
    net.add_vm("r1", interfaces=2, internet=True, addresses={"eth1": "10.0.1.1/24"})
    net.add_vm("router2", interfaces=2)
    net.link("r1:eth1", "router2:eth1", name="core", loss="1%")
    return net


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "class"]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(thing: Any) -> markup.Bundle:
    """The bundle of a thing: it has text, and HTML that every viewer keeps."""
    bundle: markup.Bundle = thing._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"].strip()
    assert not bundle["text/plain"].endswith("\n")
    tags = _Tags()
    tags.feed(bundle["text/html"])
    assert not tags.open
    assert not tags.seen & FORBIDDEN
    return bundle


def test_a_slice_is_aligned_text_a_picture_and_tables(net: LabSlice) -> None:
    assert repr(net).splitlines() == [
        "slice ospf: 2 VMs (2 absent), 1 link",
        "  r1       absent  micro  eth1=10.0.1.1/24 internet",
        "  router2  absent  micro",
        "  core     absent  r1:eth1 -- router2:eth1  (1%)",
    ]
    net.deploy()
    bundle = checked(net)
    assert bundle["text/plain"] == repr(net)
    assert "2 running" in bundle["text/plain"]
    svg = ElementTree.fromstring(bundle["image/svg+xml"])
    assert [one.get("data-state") for one in svg.iter() if one.get("data-vm")] == ["running"] * 2
    assert "✓ running" in bundle["text/html"]
    assert "data:image/svg+xml;base64," in bundle["text/html"]


def test_an_empty_slice_and_an_empty_lab_can_be_shown(tmp_path: Path) -> None:
    lab = paper_lab(tmp_path)
    assert "slices: none" in checked(lab)["text/plain"]
    assert checked(lab.slice("new"))["text/plain"] == "slice new: 0 VMs, 0 links"
    assert ">new<" in checked(lab)["text/html"]


def test_parts_of_a_slice_say_what_matters(net: LabSlice) -> None:
    plan = checked(net.steps())
    assert "start machine" in plan["text/html"]
    assert plan["text/plain"].startswith("Plan: 6 to make\n  +  start steward    localhost")
    net.deploy()
    assert checked(net.steps())["text/plain"] == "Plan: nothing to do"
    vm = checked(net["r1"])["text/plain"]
    assert vm.startswith("VM r1: running\n")
    assert "10.60.7.101" in vm
    link = checked(net.get_link("core"))["text/plain"]
    assert link.splitlines()[-1] == "  impairments  loss 1%"


def test_tables_stay_plain_dataframes(net: LabSlice) -> None:
    for table in (net.plan()[["action"]], net.vms, net.links, net.events, net.run("echo hi")):
        assert type(table) is pd.DataFrame


def test_tables_of_sentences_show_them_whole() -> None:
    bad = "<b>" + "what is wrong here, in many words; " * 5
    rows = [{"state": "bad", "detail": bad, "fix": None}] + [{"state": "ok"}] * 99
    table = report(rows, {"state": "string", "detail": "string", "fix": "string"}, nothing="")
    text, html = repr(table), str(table._repr_html_())
    lines = text.splitlines()
    assert lines[0].split() == ["state", "detail", "fix"]
    assert max(map(len, lines)) <= 80
    told = lines[1 : next(at for at, line in enumerate(lines) if line.startswith("ok"))]
    assert " ".join(line.removeprefix("bad") for line in told).split() == bad.split()
    assert "✗ bad" in html
    assert bad.replace("<b>", "&lt;b&gt;") in html
    assert text.endswith("and 40 more rows; .to_string() shows all")
    columns = dict.fromkeys(rows[0], "string")
    one_more = repr(report(rows[:61], columns, nothing=""))
    assert one_more.endswith("and 1 more row; .to_string() shows all")
    assert sum(line.startswith("ok") for line in lines) == 60 - 1
    assert len(table.to_string().splitlines()) == 1 + 100
    assert isinstance(table, pd.DataFrame)
    assert type(table[table["state"] == "bad"]) is pd.DataFrame


def test_what_is_to_be_copied_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    command = "LABKIT_DATA_DIR=/home/ada/somewhere/rather/deep"
    row = {"detail": "words " * 20, "fix": f"See it there: {command} labkit ls", "empty": ""}
    text = repr(report([row], dict.fromkeys(row, "string"), nothing=""))
    assert command in text
    assert text.split().count("words") == 20


def test_what_is_done_to_a_table_of_sentences_can_still_be_shown() -> None:
    table = report(
        [{"state": None, "detail": "one\ntwo"}], {"state": "string", "detail": "string"}, nothing=""
    )
    assert repr(table).splitlines()[1].split() == ["one", "two"]
    table["lists"] = [[1, 2]]
    assert "[1, 2]" in repr(table)
    assert "[1, 2]" in str(table._repr_html_())
    turned = table.T
    assert repr(turned) == repr(pd.DataFrame(turned))
    assert "detail" in str(turned._repr_html_())
    assert repr(report([], {"a": "string"}, nothing="None.")).splitlines() == ["a", "None."]


def test_a_result_shows_its_output_without_codes_and_its_middle_left_out() -> None:
    many = "".join(f"line {number}\n" for number in range(100_000))
    result = Result(("sh", "-c", "seq 9"), 3, many.encode(), b"\x1b[31mno\x1b[0m\n", 1.5, "r1")
    bundle = checked(result)
    assert len(bundle["text/plain"].splitlines()) < 70
    assert bundle["text/plain"].startswith("$ seq 9  (status 3, r1, 1.50 s)\nline 0\n")
    assert bundle["text/plain"].endswith("stderr:\nno")
    assert "✗ status 3" in bundle["text/html"]


@given(st.text(), st.text(), st.text())
def test_no_text_from_outside_becomes_markup(one: str, two: str, three: str) -> None:
    bundles = (
        checked(Result(("echo", one or "x"), 0, two.encode(errors="replace"), host=three)),
        checked(LabkitError(one or "x", why=two, fix=three)),
    )
    for bundle in bundles:
        assert "<script" not in bundle["text/html"]


# errors in a notebook


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """An IPython as in a notebook, but in this process."""
    with ipython_shell() as shell:
        shell.run_line_magic("xmode", "Context")
        yield shell


def run(shell: InteractiveShell, capsys: pytest.CaptureFixture[str], code: str) -> list[str]:
    capsys.readouterr()
    result = shell.run_cell(code)
    assert result.error_in_exec is not None
    said = capsys.readouterr()
    return CODES.sub("", said.out + said.err).rstrip().splitlines()


def guest_is_late() -> None:
    """What labkit's own code stands for: the user's line is the one before."""
    raise GuestNotReady(
        "r1 is not ready", why="its agent did not answer in 60 s", fix="Look at its console."
    )


FAILS = """\
import labkit

labkit.Lab("nowhere")"""


def test_an_error_is_five_lines_with_the_users_own(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(shell, capsys, FAILS)
    assert len(lines) == 5
    assert lines[0].startswith("InvalidArgument: profile is 'nowhere'")
    assert lines[1].startswith("Why    the profiles are local")
    assert lines[2].startswith("Do     Name one of them")
    assert re.fullmatch(r'Where  cell In\[\d+\], line 3: labkit.Lab\("nowhere"\)', lines[3])
    assert lines[4] == "More   %tb verbose shows the whole traceback"


def test_the_whole_traceback_is_there_when_it_is_asked_for(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, capsys, FAILS)
    shell.run_line_magic("tb", "verbose")
    said = CODES.sub("", capsys.readouterr().out)
    assert "labkit/lab/lab.py" in said
    assert "InvalidArgument" in said.splitlines()[-1]
    shell.run_line_magic("xmode", "Verbose")
    assert len(run(shell, capsys, FAILS)) > 10


def test_an_error_shown_as_a_value_says_the_same(net: LabSlice) -> None:
    with pytest.raises(LabkitError) as found:
        net.get_vm("r9")
    bundle = checked(found.value)
    assert bundle["text/plain"].startswith(f"{type(found.value).__name__}: ")
    assert "test_reprs.py, line" in bundle["text/plain"]


def test_a_plain_python_shows_its_usual_traceback() -> None:
    with pytest.raises(GuestNotReady) as found:
        guest_is_late()
    assert not hasattr(found.value, "_render_traceback_")
