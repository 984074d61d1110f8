"""The magics and completion, in an IPython as notebooks have it, but in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from ipython_shell import ipython_shell
from labkit.errors import InvalidArgument, UsageError
from labkit.executor import Result
from labkit.lab import Lab
from labkit_widgets.magics import Request, completions
from paper_lab import paper_lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = paper_lab(tmp_path)
    for name in ("ospf", "spare"):
        net = lab.slice(name)
        net.add_vm("r1", interfaces=2)
        net.deploy()
    lab.slice("ospf").add_vm("router2", interfaces=2)
    lab.slice("ospf").link("r1:eth1", "router2:eth1", name="core")
    lab.slice("ospf").deploy()
    return lab


@pytest.fixture
def shell(lab: Lab) -> Iterator[InteractiveShell]:
    with ipython_shell() as shell:
        shell.run_line_magic("load_ext", "labkit")
        shell.push({"net": lab.slice("ospf")})
        yield shell


Captured = pytest.CaptureFixture[str]


def test_a_cell_runs_in_a_vm_and_its_output_comes(
    shell: InteractiveShell, capsys: Captured
) -> None:
    shell.run_cell("%%vm r1\necho hello $HOME {not_python}\necho again")
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == ["hello $HOME {not_python}", "again"]
    result = shell.user_ns["_"]
    assert isinstance(result, Result)
    assert (result.returncode, result.host) == (0, "r1")


def test_a_status_that_is_not_0_is_shown(shell: InteractiveShell, capsys: Captured) -> None:
    shell.run_cell("%%vm r1 --timeout 5\necho hello\nfail")
    said = capsys.readouterr()
    assert said.err == "r1: no\n"
    assert said.out.splitlines()[0] == "hello"
    assert "status 3 (0.25 s)" in said.out
    assert shell.user_ns["_"].returncode == 3


def test_a_line_runs_too_and_its_result_can_be_kept(
    shell: InteractiveShell, capsys: Captured
) -> None:
    shell.run_cell("%vm router2 echo -br 'a b'")
    assert capsys.readouterr().out.splitlines()[0] == "-br 'a b'"
    shell.run_cell("kept = %vm r1 echo 10.0.0.1")
    assert shell.user_ns["kept"].text == "10.0.0.1\n"


def test_loading_it_again_is_fine(shell: InteractiveShell) -> None:
    shell.run_line_magic("reload_ext", "labkit")
    assert sorted(set(matches(shell, "%%vm r"))) == sorted(matches(shell, "%%vm r"))


def test_the_slice_is_asked_for_only_where_several_have_the_vm(
    shell: InteractiveShell, lab: Lab, capsys: Captured
) -> None:
    shell.push({"other": lab.slice("spare")})
    found = shell.run_cell("%vm r1 echo hi")
    assert isinstance(found.error_in_exec, InvalidArgument)
    assert "--slice" in str(found.error_in_exec)
    for name in ("other", "spare"):
        capsys.readouterr()
        shell.run_cell(f"%vm --slice {name} r1 echo hi")
        assert capsys.readouterr().out.splitlines()[0] == "hi"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%vm r9 echo hi", "there are r1, router2"),
        ("%vm --slice nets r1 echo hi", "there are net"),
        ("%vm", "names no VM"),
        ("%vm r1", "there is no command"),
        ("%%vm r1 echo\nhi", "above a cell"),
        ("%vm r1 --timeout soon echo", "a number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_way_out(
    shell: InteractiveShell, code: str, said: str
) -> None:
    error = shell.run_cell(code).error_in_exec
    assert isinstance(error, UsageError)
    assert said in str(error)
    assert error.fix


def test_options_may_stand_before_and_after_the_vm() -> None:
    assert Request.parse("--slice=net r1 --timeout 5 ip -br addr") == Request(
        "r1", "ip -br addr", "net", 5.0
    )


def matches(shell: InteractiveShell, text: str) -> list[str]:
    with provisionalcompleter():
        return [one.text for one in shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("%%vm ro", ["router2"]),
        ("%vm --timeout 5 r", ["r1", "router2"]),
        ("%vm r1 --slice n", ["net"]),
        ('net.get_link("c', ["core"]),
        ('net.reset("r1", "', ["r1", "router2"]),
        ("net.get_vm('router", ["router2"]),
        ('net.link("r1:', ["r1:eth2"]),
        ('net.unknown("r', []),
        ('other.get_vm("r', []),
        ("%vm r1 ro", []),
    ],
)
def test_names_complete_where_they_are_wanted(lab: Lab, text: str, names: list[str]) -> None:
    assert completions({"net": lab.slice("ospf")}, text)[1] == names


def test_the_shell_completes_them(shell: InteractiveShell) -> None:
    assert "router2" in matches(shell, "%%vm ro")
    assert "core" in matches(shell, 'net.get_link("c')
    assert any("router2" in one for one in matches(shell, 'net["ro'))
