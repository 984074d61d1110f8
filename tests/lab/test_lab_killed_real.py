"""Real labs whose process, or whose machines, are killed at each step; then deploy arrives."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.errors import LabkitError
from labkit.lab import LabSlice
from labkit.testing.cut import CutEngine, kill_this_process
from real_lab import IN_REACH, RealLab, kill, real_lab, well

pytestmark = IN_REACH

MOST_STEPS = 20  # more processes than this to do two machines and a link: it makes no way


@pytest.fixture(scope="module")
def lab() -> Iterator[RealLab]:
    with real_lab() as lab:
        yield lab


def fresh(lab: RealLab) -> None:
    lab.slice("net").delete()
    lab.pair()


def work_and_die(folder: Path, work: str, after: bool) -> None:
    """In another process: it kills itself at the first step it comes to."""
    lab = RealLab(folder)
    engine = CutEngine(lab.engine, 0, after=after, cut=kill_this_process)
    getattr(LabSlice(engine, lab.store, "net"), work)()


def in_another_process(lab: RealLab, work: str, *, after: bool) -> int | None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["real_lab", "labkit.lab"])
    process = context.Process(target=work_and_die, args=(lab.folder, work, after))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("after", [False, True])
def test_fault_17_25_a_process_killed_at_every_step(lab: RealLab, after: bool) -> None:
    """One process after the other does, or does not do, its first step, and is killed."""
    net = lab.pair()
    for work in ("deploy", "delete"):
        for _ in range(MOST_STEPS):
            ended = in_another_process(lab, work, after=after)
            if ended == 0 or not after:
                break
            assert ended == -signal.SIGKILL
        assert ended == (0 if after else -signal.SIGKILL)
        if work == "deploy":
            net.deploy()
            well(net)
            assert lab.store.intents("net", only_open=True) == ()
    net.delete()
    assert lab.store.names() == ()


@pytest.mark.parametrize("at", range(6))
def test_machines_killed_at_a_step_of_deploy(lab: RealLab, at: int) -> None:
    """All that run when the step was done: the same deploy, or the next one, mends it."""
    fresh(lab)

    def kill_machines() -> None:
        for survey in lab.engine.survey():
            for machine in survey.machines:
                if machine["pid"] is not None:
                    kill(machine["pid"])

    engine = CutEngine(lab.engine, at, after=True, cut=kill_machines)
    net = LabSlice(engine, lab.store, "net")
    with suppress(LabkitError):
        net.deploy()
    assert engine.was_cut
    net.deploy()
    well(net)


@pytest.mark.parametrize("at", range(4))
def test_the_steward_killed_at_a_step_of_deploy(lab: RealLab, at: int) -> None:
    fresh(lab)

    def kill_steward() -> None:
        for survey in lab.engine.survey():
            if survey.steward is not None:
                kill(survey.steward)

    engine = CutEngine(lab.engine, at, after=True, cut=kill_steward)
    net = LabSlice(engine, lab.store, "net")
    with suppress(LabkitError):
        net.deploy()
    assert engine.was_cut
    net.deploy()
    well(net)
