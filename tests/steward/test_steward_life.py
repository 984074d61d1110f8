"""Birth, death and return of the steward's process, on this machine and for real."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from labkit import remote, steward
from labkit.errors import (
    ClosedError,
    ConnectionLost,
    InvalidArgument,
    StewardError,
    StewardOutdated,
    StewardProblem,
)
from labkit.local import LocalExecutor
from labkit.remote import pack
from steward_host import KEY, StewardHost, frame, is_running, wait_until

pytestmark = pytest.mark.thorough


def test_it_is_started_once_and_found_again(host: StewardHost) -> None:
    first, second = host.ensure(), host.ensure()
    assert first.facts["uuid"] == second.facts["uuid"]
    assert second.call("hello").facts["pid"] == first.facts["pid"]


def test_many_at_once_start_one(host: StewardHost) -> None:
    """Each starter is a process of its own, as two kernels are."""
    command = remote.program("start", KEY, pack.steward_build(), "test")
    environment = {**os.environ, "LABKIT_RUN_DIR": str(host.base)}
    starters = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    threads = [
        threading.Thread(target=one.communicate, args=(pack.steward(),)) for one in starters[1:]
    ]
    for thread in threads:
        thread.start()
    answer = json.loads(starters[0].communicate(pack.steward())[0])
    for thread in threads:
        thread.join()
    assert all(one.returncode == 0 for one in starters)
    assert host.ensure().facts["uuid"] == answer["steward"]["uuid"]


def test_it_survives_its_starter_and_stands_alone(host: StewardHost) -> None:
    pid = host.ensure().facts["pid"]
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, session = int(status[1]), int(status[3])
    assert parent != os.getpid()
    assert session == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{pid}/fd/2") == str(host.folder / "steward.log")


def test_nobody_else_can_reach_it(host: StewardHost) -> None:
    host.ensure()
    assert stat.S_IMODE(host.folder.stat().st_mode) == 0o700
    for path in host.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_ISSOCK((host.folder / "control").stat().st_mode)


def test_a_second_instance_refuses_to_run(host: StewardHost) -> None:
    first = host.ensure()
    command = (sys.executable, "-IS", str(host.folder / "steward.pyz"), str(host.folder))
    second = subprocess.run(command, capture_output=True, timeout=30)
    assert second.returncode == 3
    assert b"another steward serves" in second.stderr
    assert first.call("hello").facts["pid"] == first.facts["pid"]


def test_one_that_is_not_there_is_not_found(host: StewardHost) -> None:
    assert steward.find(host.executor, "localhost", KEY) is None
    assert not host.folder.exists()
    first = host.ensure()
    found = steward.find(host.executor, "localhost", KEY)
    assert found is not None
    with found:
        assert found.facts["uuid"] == first.facts["uuid"]


def test_killed_it_comes_back_with_its_links(host: StewardHost) -> None:
    first = host.ensure()
    with host.nic(1) as one, host.nic(2) as other:
        ports = [list(one.port), list(other.port)]
        impair = {"1:0": {"out": {"delay_ms": 1.0}}}
        first.call("link-set", link="a", ports=ports, impair=impair, seed=5)
        one.send(frame(2, 1, b"before"))
        assert other.receive() == frame(2, 1, b"before")
        host.kill(first)
        one.hang_up()
        other.hang_up()
        second = host.ensure()
        assert second.facts["uuid"] != first.facts["uuid"]
        one.send(frame(2, 1, b"after"))
        assert other.receive() == frame(2, 1, b"after")
        (link,) = second.call("link-list").facts["links"]
        assert (link["impair"], link["seed"], link["up"]) == (impair, 5, True)


def test_a_client_goes_on_with_the_next_steward(host: StewardHost) -> None:
    client = host.ensure()
    client.call("link-set", link="a", ports=[[1, 0], [2, 0]])
    before = client.facts["uuid"]
    host.kill(client)
    wait_until(lambda: not client.is_connected, "the connection to break")
    links = client.call("link-list").facts["links"]
    assert [link["link"] for link in links] == ["a"]
    assert client.facts["uuid"] != before


def test_what_was_asked_when_it_died_is_unknown(host: StewardHost) -> None:
    client = host.ensure()
    client.call("link-set", link="a", ports=[[1, 0]])
    call = client.start("capture-start", links=["a"])
    parts = call.parts(30)
    next(parts)
    os.kill(client.facts["pid"], signal.SIGKILL)
    with pytest.raises(ConnectionLost, match="unknown"):
        next(parts)


def test_quit_leaves_the_links_for_the_next(host: StewardHost) -> None:
    first = host.ensure()
    first.call("link-set", link="a", ports=[[1, 0], [2, 0]])
    first.quit()
    wait_until(lambda: not is_running(first.facts["pid"]), "the steward to end")
    assert not (host.folder / "control").exists()
    assert len(host.ensure().call("link-list").facts["links"]) == 1


def test_quit_and_forget_leaves_nothing(host: StewardHost) -> None:
    first = host.ensure()
    first.call("link-set", link="a", ports=[[1, 0], [2, 0]])
    first.quit(forget=True)
    assert not host.folder.exists()
    with pytest.raises(ClosedError):
        first.call("hello")
    assert host.ensure().call("link-list").facts["links"] == []


def test_a_polite_signal_is_a_quit(host: StewardHost) -> None:
    pid = host.ensure().facts["pid"]
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid), "the steward to end")
    assert not (host.folder / "control").exists()
    assert (host.folder / "lock").exists()


def test_two_slices_do_not_know_one_another(host: StewardHost) -> None:
    one, other = host.ensure(), host.ensure("0badcafe")
    one.call("link-set", link="a", ports=[[1, 0], [2, 0]])
    assert other.call("link-list").facts["links"] == []
    assert one.facts["pid"] != other.facts["pid"]


def test_one_of_another_labkit_is_named_not_used(host: StewardHost) -> None:
    first = host.ensure()
    facts = {**first.facts, "protocol": 99, "version": "99.0"}
    (host.folder / "steward.json").write_text(json.dumps(facts))
    with pytest.raises(StewardOutdated, match=r"99\.0") as caught:
        host.ensure()
    assert str(first.facts["pid"]) in str(caught.value)
    assert is_running(first.facts["pid"])


def test_a_long_path_is_refused_before_anything_is_done(host: StewardHost) -> None:
    base = host.base / ("long" * 20)
    executor = LocalExecutor({"LABKIT_RUN_DIR": str(base)})
    with pytest.raises(StewardError, match="path too long"):
        steward.ensure(executor, "localhost", KEY)
    assert not base.exists()


def test_a_folder_that_others_may_enter_is_refused(host: StewardHost) -> None:
    host.folder.mkdir(mode=0o755)
    host.folder.chmod(0o755)
    with pytest.raises(StewardError, match="others may enter it"):
        host.ensure()
    assert list(host.folder.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_refused(host: StewardHost, tmp_path: Path) -> None:
    host.folder.symlink_to(tmp_path)
    with pytest.raises(StewardError, match="not a folder"):
        host.ensure()


def test_a_memory_that_is_damaged_is_not_thrown_away(host: StewardHost) -> None:
    host.ensure().quit()
    (host.folder / "state.json").write_text('{"links": ')
    with pytest.raises(StewardError, match=r"state\.json"):
        host.ensure()
    assert (host.folder / "state.json").read_text() == '{"links": '


@pytest.mark.parametrize("key", ["", "../../etc", "00C0FFEE", "00c0ffee0"])
def test_a_key_is_eight_hexadecimal_digits(host: StewardHost, key: str) -> None:
    with pytest.raises(InvalidArgument):
        host.ensure(key)


def test_an_unknown_verb_is_a_problem_with_a_name(host: StewardHost) -> None:
    with pytest.raises(StewardProblem, match="unknown verb") as caught:
        host.ensure().call("make-coffee")
    assert caught.value.context["problem"] == {"code": "unknown-verb", "verb": "make-coffee"}
