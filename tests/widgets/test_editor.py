"""The slice editor without a browser: what it wishes, plans, deploys, shows and leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import InvalidArgument, LabError, SliceChanged, UsageError
from labkit.templates import template
from labkit.testing.processes import eventually
from labkit.wish import Slice
from labkit_widgets import SliceEditor
from labkit_widgets.editor import ELSEWHERE, Job
from paper_lab import PaperEngine, paper_lab
from slice_handle_fake import SliceInMemory
from slice_worlds import two_hosts_and_a_router


def at_once(job: Job) -> None:
    job()


@pytest.fixture
def net() -> SliceInMemory:
    return SliceInMemory(two_hosts_and_a_router())


@pytest.fixture
def editor(net: SliceInMemory) -> SliceEditor:
    return SliceEditor(net, runner=at_once)


def key_of(editor: SliceEditor, name: str) -> str:
    view = editor.view
    return str(next(one["key"] for one in (*view["vms"], *view["links"]) if one["name"] == name))


def rename(editor: SliceEditor, name: str, new: str, *, final: bool = True) -> None:
    editor.do("set-vm", key=key_of(editor, name), field="name", value=new, final=final)


def test_what_is_right_is_wished_at_once(net: SliceInMemory, editor: SliceEditor) -> None:
    editor.do("add-vm")
    assert net.wish == editor.wish
    assert [vm.name for vm in net.wish.vms] == ["h1", "h2", "r", "r2"]


def test_half_a_word_is_shown_and_not_wished_before_its_end(
    net: SliceInMemory, editor: SliceEditor
) -> None:
    rename(editor, "r", "co", final=False)
    rename(editor, "co", "core", final=False)
    assert editor.wish["core"].forwarding
    assert net.saved == []
    rename(editor, "core", "core")
    assert [wish["core"].name for wish in net.saved] == ["core"]


def test_the_wish_stays_the_last_valid_one(net: SliceInMemory, editor: SliceEditor) -> None:
    rename(editor, "r", "my router")
    assert editor.wish == net.wish == two_hosts_and_a_router()
    assert list(editor.problems) == ["my router: name"]
    rename(editor, "my router", "core")
    assert editor.problems == {}
    assert net.wish["core"].name == "core"


def test_the_page_gets_picture_and_code_of_the_wish(editor: SliceEditor) -> None:
    editor.do("template", template="line", count=3)
    assert 'data-vm="r3"' in editor.widget.svg
    assert editor.widget.python == editor.python
    assert 'net.link("r1:eth1", "r2:eth1", name="r1-r2")' in editor.python
    assert editor.widget.yaml == editor.yaml
    assert editor.yaml.startswith("name: net\n")
    assert editor.widget.choices["has_lab"] is True


def test_plan_and_deploy(net: SliceInMemory, editor: SliceEditor) -> None:
    editor.do("plan")
    assert editor.last_plan is not None
    assert list(editor.last_plan["action"].unique()) == ["+"]
    assert editor.widget.work["is_current"]
    assert editor.widget.work["table"]["columns"] == ["action", "kind", "name", "reason"]
    assert "steps to do" in editor.view["said"]
    editor.do("add-vm")
    assert not editor.widget.work["is_current"]  # the preview is of another wish
    editor.do("deploy")
    assert editor.view["said"] == "Deployed: 4 VMs."
    assert len(net.seen.machines) == 4
    editor.do("plan")
    assert editor.view["said"] == "There is nothing to do: the lab is as you want it."


def test_nothing_is_planned_while_a_field_is_wrong(net: SliceInMemory, editor: SliceEditor) -> None:
    rename(editor, "r", "")
    editor.do("plan")
    editor.do("deploy")
    assert editor.last_plan is None
    assert net.seen.machines == ()


def test_what_fails_is_told_with_cause_and_fix(net: SliceInMemory, editor: SliceEditor) -> None:
    net.failure = LabError("no host answers", why="all are off", fix="Switch one on.")
    editor.do("deploy")
    assert editor.last_error is net.failure
    assert editor.widget.work["error"] == {
        "what": "no host answers",
        "why": "all are off",
        "fix": "Switch one on.",
    }
    net.failure = None
    editor.do("deploy")
    assert editor.widget.work["error"] is None


def test_a_fault_of_ours_is_told_as_one(net: SliceInMemory, editor: SliceEditor) -> None:
    net.failure = ZeroDivisionError("oops")
    editor.do("plan")
    assert editor.widget.work["error"]["what"] == "ZeroDivisionError: oops"
    assert not editor.is_working


def test_a_refused_wish_is_told_and_tried_again(net: SliceInMemory, editor: SliceEditor) -> None:
    net.refusal = SliceChanged("net was changed", why="by another process", fix="Read it anew.")
    editor.do("add-vm")
    assert editor.widget.work["error"]["why"] == "by another process"
    assert len(editor.wish.vms) == 4
    editor.do("plan")
    assert editor.last_plan is None
    net.refusal = None
    editor.do("add-vm")
    assert len(net.wish.vms) == 5
    assert editor.widget.work["error"] is None


def test_a_change_elsewhere_wins_and_the_draft_can_be_had_back(
    net: SliceInMemory, editor: SliceEditor
) -> None:
    rename(editor, "r", "core")
    net.set_wish(template("line", 2, "net"))
    rename(editor, "core", "other")
    assert editor.view["said"] == ELSEWHERE
    assert editor.wish == net.wish == template("line", 2, "net")
    editor.do("undo")
    assert net.wish["core"].forwarding


def test_work_goes_on_in_a_thread_and_a_second_click_counts_not(net: SliceInMemory) -> None:
    editor = SliceEditor(net)
    net.may_end.clear()
    editor.do("deploy")
    assert editor.is_working
    assert editor.widget.work["busy"] == "Deploying"
    editor.do("deploy")
    with pytest.raises(LabError, match="still working"):
        editor.wait(0.01)
    net.may_end.set()
    editor.wait()
    assert len(net.seen.machines) == 3
    assert editor.widget.work["busy"] == ""


def test_it_says_how_far_a_deployment_is(tmp_path: Path) -> None:
    lab = paper_lab(tmp_path)
    assert isinstance(lab.engine, PaperEngine)
    lab.engine.held.add("start machine")
    editor = SliceEditor(lab.slice("net"))
    editor.do("template", template="line", count=2)
    said: list[str] = []
    editor.widget.observe(lambda change: said.append(change["new"]["busy"]), names="work")
    editor.do("deploy")
    assert eventually(lambda: said[-1].startswith("Deploying: starting r1, r2 · 1 of 6 steps · "))
    lab.engine.held.clear()
    editor.wait()
    assert editor.widget.work["busy"] == ""


def test_without_a_lab_it_edits_a_wish() -> None:
    editor = SliceEditor(name="draft")
    editor.do("template", template="routed", count=3)
    editor.do("rename", value="exam")
    assert editor.wish == template("routed", 3, "exam")
    assert editor.widget.choices["has_lab"] is False
    editor.do("rename", value="no name")
    assert editor.wish.name == "exam"
    assert editor.view["slice_problem"].startswith("must be 1 to 63 letters")
    editor.do("deploy")
    assert not editor.is_working


def test_where_there_are_no_widgets_there_is_a_picture_and_code(editor: SliceEditor) -> None:
    data, _ = editor._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<svg")
    assert 'net = lab.slice("net")' in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data


@pytest.mark.parametrize("arguments", [{}, {"slice_handle": "net", "name": "net"}])
def test_what_to_edit_must_be_said(arguments: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="does not know what to edit"):
        SliceEditor(**arguments)  # type: ignore[arg-type]


def test_what_is_no_slice_and_what_is_no_name_are_refused() -> None:
    with pytest.raises(UsageError, match="it has no set_wish, plan, deploy"):
        SliceEditor(_OnlyAWish())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="name of a slice"):
        SliceEditor(name="no name")


class _OnlyAWish:
    wish = Slice("net")
