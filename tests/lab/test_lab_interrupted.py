"""Deploying and deleting, ended at every step and at any moment, on an engine in memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import labkit
from labkit.errors import SetupFailed
from labkit.lab import LabSlice
from labkit.testing.cut import CutEngine, kill_this_process, press_ctrl_c
from labkit.testing.processes import eventually
from memory_lab import MemoryLab, memory_folder, rows_left

STEPS = 6  # of deploying two VMs and a link, and of deleting them
WORK = ("deploy", "delete")
MOMENTS = [(work, at, after) for work in WORK for at in range(STEPS) for after in (False, True)]


@pytest.fixture
def lab() -> Iterator[MemoryLab]:
    with memory_folder() as folder, MemoryLab(folder) as lab:
        net = lab.slice("net")
        net.add_vm("a")
        net.add_vm("b")
        net.link("a", "b")
        yield lab


def deploys_and_deletes(lab: MemoryLab) -> None:
    """What is to hold after anything: deploy arrives, delete leaves nothing."""
    if "net" in lab.store.names():
        net = lab.slice("net")
        if len(net):
            assert set(net.deploy()["state"]) == {"running"}
            assert net.plan().empty
            assert set(net.link_states.values()) == {"up"}
            assert lab.store.intents("net", only_open=True) == ()
        net.delete()
    assert all(seen.is_nothing for seen in lab.memory.worlds.values())
    assert rows_left(lab.store.path) == {}


def test_the_number_of_steps_is_known(lab: MemoryLab) -> None:
    engine = CutEngine(lab.memory, 99, after=False)
    net = LabSlice(engine, lab.store, "net")
    net.deploy()
    assert len(engine.steps) == STEPS
    net.delete()
    assert len(engine.steps) == 2 * STEPS
    kinds = Counter(step.kind for step in engine.steps)
    assert kinds == {
        "start steward": 1,
        "start machine": 2,
        "set link": 1,
        "configure guest": 2,
        "delete link": 1,
        "stop machine": 2,
        "forget machine": 2,
        "stop steward": 1,
    }


# the process is killed


def work_and_die(folder: Path, work: str, at: int, after: bool) -> None:
    """In another process: it kills itself at a step."""
    lab = MemoryLab(folder)
    net = LabSlice(CutEngine(lab.memory, at, after=after, cut=kill_this_process), lab.store, "net")
    getattr(net, work)()


@pytest.mark.thorough
@pytest.mark.parametrize(("work", "at", "after"), MOMENTS)
def test_fault_17_25_a_process_killed_at_any_step(
    lab: MemoryLab, work: str, at: int, after: bool
) -> None:
    if work == "delete":
        lab.slice("net").deploy()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["memory_lab", "labkit.lab"])
    process = context.Process(target=work_and_die, args=(lab.folder, work, at, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(lab.store.intents("net", only_open=True)) >= 1
    deploys_and_deletes(lab)


# a step fails


@pytest.mark.thorough
@pytest.mark.parametrize(("work", "at", "after"), MOMENTS)
def test_fault_25_a_step_that_fails(lab: MemoryLab, work: str, at: int, after: bool) -> None:
    def fail() -> None:
        raise SetupFailed("it did not work")

    engine = CutEngine(lab.memory, at + STEPS * (work == "delete"), after=after, cut=fail)
    net = LabSlice(engine, lab.store, "net")
    if work == "delete":
        net.deploy()
    with pytest.raises(SetupFailed):
        getattr(net, work)()
    assert lab.store.intents("net", only_open=True) == ()
    deploys_and_deletes(lab)


# Ctrl-C


def still_at_work() -> list[str]:
    """Threads of ours that could go on."""
    return [t.name for t in threading.enumerate() if t.name.startswith(("labkit-step", "labkit-l"))]


@pytest.mark.thorough
@pytest.mark.parametrize(("work", "at", "after"), MOMENTS)
def test_ctrl_c_at_any_step(lab: MemoryLab, work: str, at: int, after: bool) -> None:
    engine = CutEngine(lab.memory, at + STEPS * (work == "delete"), after=after, cut=press_ctrl_c)
    net = LabSlice(engine, lab.store, "net")
    if work == "delete":
        net.deploy()
    with pytest.raises(KeyboardInterrupt) as told:  # noqa: PT012 - it may come a moment later
        getattr(net, work)()
        wait_for_ctrl_c()
    assert not engine.is_busy
    assert eventually(lambda: not still_at_work())
    notes = getattr(told.value, "__notes__", [])
    if "net" in lab.store.names() and notes:
        assert "deploy() goes on from here, delete() ends it" in notes[0]
        assert lab.store.intents("net", only_open=True) == ()
    deploys_and_deletes(lab)


def wait_for_ctrl_c() -> None:
    """Pressed in the last step, it may come when all is done."""
    signal.sigtimedwait((), 10)


@contextmanager
def interrupted_at(line: int) -> Iterator[Callable[[], int]]:
    """Ctrl-C when the main thread comes to its line number `line` of labkit's code."""
    count = 0
    folder = str(Path(labkit.__file__).parent) + os.sep

    def trace(frame: FrameType, event: str, _value: Any) -> Any:
        nonlocal count
        file = frame.f_code.co_filename
        if not file.startswith(folder) or file.startswith(folder + "testing"):
            return None
        if event == "line":
            count += 1
            if count == line:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: count
    finally:
        sys.settrace(before)


def lines_of(work: Callable[[], object]) -> int:
    with interrupted_at(-1) as count:
        work()
        return count()


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("work", WORK)
def test_ctrl_c_at_any_moment(lab: MemoryLab, work: str) -> None:
    net = lab.slice("net")
    if work == "delete":
        net.deploy()
    wish = net.wish
    whole = lines_of(getattr(net, work))
    deploys_and_deletes(lab)
    moments = range(1, whole, max(1, whole // 30))
    for number, moment in enumerate(moments):
        net = lab.slice("net")
        net.set_wish(wish)
        if work == "delete":
            net.deploy()
        try:
            with interrupted_at(moment):
                getattr(net, work)()
        except KeyboardInterrupt:
            pass
        assert eventually(lambda: not still_at_work()), (number, moment)
        deploys_and_deletes(lab)
