"""Progress: what events mean to who waits, and how seldom that is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MachineNotStarted
from labkit.events import (
    Converged,
    Event,
    GaveUp,
    GuestWaiting,
    ImageBuilt,
    ImageCopyProgress,
    MachineTold,
    PackageProgress,
    PlanMade,
    StepBegun,
    StepDone,
    StepFailed,
)
from labkit.lab import LabSlice
from labkit.lab.console_tail import console_tail
from labkit.markup import Bundle
from labkit.pace import PERIOD, Pace, Teller
from labkit.progress import LATE, Progress, Work
from labkit_widgets.progress import CellProgress, work_bundle
from labkit_widgets.progress_words import words
from paper_lab import paper_lab

HOST = "localhost"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def after(events: Iterable[Event], clock: Clock | None = None) -> Progress:
    progress = Progress(clock or Clock())
    for event in events:
        progress.heard(event)
    return progress


def begun(kind: str, *names: str) -> list[Event]:
    return [StepBegun(HOST, name, kind, "it is new") for name in names]


def done(kind: str, *names: str) -> list[Event]:
    return [StepDone(HOST, name, kind, 1.0) for name in names]


PLAN = PlanMade(HOST, "ospf", 12, 10.0)


def test_it_says_what_runs_the_same_things_together() -> None:
    names = [f"r{number}" for number in range(1, 8)]
    work = after([PLAN, *begun("set link", "core"), *begun("start machine", *names)]).work
    assert work.state == "working"
    assert words(work) == "starting r1, r2, r3 and 4 more; laying link core"


def test_it_counts_steps_over_several_rounds() -> None:
    progress = after([PLAN, *done("start steward", HOST), PlanMade(HOST, "ospf", 4, None)])
    assert (progress.work.done, progress.work.steps) == (1, 5)


def test_a_link_that_is_changed_between_plans_counts_as_no_step() -> None:
    ended = [PLAN, *done("start steward", HOST), Converged(HOST, "ospf", 1.0)]
    work = after([*ended, *begun("set link", "core"), *done("set link", "core")]).work
    assert (work.state, work.done) == ("done", 1)


def test_the_time_left_is_that_of_before_and_lateness_is_said() -> None:
    clock = Clock()
    progress = after([PLAN], clock)
    clock.now += 3
    assert progress.work.time == "3 s, about 7 s left"
    clock.now += 7
    assert progress.work.time == "10 s, nearly done"
    clock.now += 30
    assert progress.work.time == "40 s, longer than usual (10 s)"
    progress.heard(Converged(HOST, "ospf", 40.0))
    clock.now += 100
    assert progress.work.time == "40 s"


def test_states_of_machines_and_links_follow_their_steps() -> None:
    progress = after([PLAN, *begun("start machine", "r1", "r2"), *done("start machine", "r1")])
    assert progress.work.vms == {"r1": "starting", "r2": "starting"}
    progress.heard(MachineTold(HOST, "r1", "ready"))
    for event in [*done("configure guest", "r2"), *done("set link", "core")]:
        progress.heard(event)
    assert progress.work.vms == {"r1": "running", "r2": "running"}
    assert progress.work.links == {"core": "up"}
    progress.looked()
    assert progress.work.vms  # while it works, its steps know better than a look
    progress.heard(Converged(HOST, "ospf", 3.0))
    progress.looked()
    assert not progress.work.vms


def test_who_is_late_comes_first() -> None:
    waits = [
        GuestWaiting(HOST, "r1", "its agent", 2.0),
        GuestWaiting(HOST, "r2", "its agent", LATE),
    ]
    work = after([PLAN, *waits]).work
    assert [(one.vm, one.is_late) for one in work.waiting] == [("r2", True), ("r1", False)]


def test_a_failure_is_told_once_with_what_its_step_said() -> None:
    failed = StepFailed(HOST, "r1", "start machine", 1.0, "no space left")
    work = after([PLAN, failed, GaveUp("", "ospf", "r1: no space left")]).work
    assert work.state == "failed"
    assert work.failures == ("start machine r1: no space left",)


def test_an_early_end_without_a_failed_step_says_why() -> None:
    assert after([PLAN, GaveUp("", "ospf", "it was stopped")]).work.failures == ("it was stopped",)


def test_images_on_their_way_are_told() -> None:
    event = ImageCopyProgress("10.0.10.1", "base.img", 5 << 20, 10 << 20, 0)
    assert words(after([PLAN, event]).work) == "copying base.img to 10.0.10.1: 5 of 10 MiB"


def test_an_image_is_made_before_the_plan_is_told_and_that_is_work() -> None:
    progress = after([PackageProgress(HOST, "linux", 3 << 20, 9 << 20)])
    assert progress.work.state == "working"
    expected = "building the system image, once: downloading packages: 3.0 MiB"
    assert words(progress.work) == expected
    progress.heard(ImageBuilt(HOST, "micro", 5, 3.0))
    assert words(progress.work) == "looking at what is there"


def test_an_image_that_was_there_is_no_work() -> None:
    assert after([ImageBuilt(HOST, "micro", 5, 0.0, cached=True)]).is_idle


@given(st.lists(st.sampled_from([PLAN, *begun("start machine", "a"), *done("start machine", "a")])))
def test_no_order_of_events_breaks_it(events: list[Event]) -> None:
    work = after(events).work
    assert 0.0 <= work.fraction <= 1.0
    assert work_bundle("ospf", work, {})["text/plain"]


# pace


def told_times(changes: Iterable[float], clock: Clock) -> list[float]:
    """When a page is told, if it is asked at every moment whether it is time."""
    pace, found, start = Pace(PERIOD, clock), [], clock.now
    pending = sorted(changes)
    for tick in range(12_000):
        clock.now = start + tick / 1000
        while pending and pending[0] <= tick / 1000:
            pending.pop(0)
            pace.changed()
        if pace.due == 0:
            pace.told()
            found.append(tick / 1000)
    return found


def test_ten_thousand_changes_are_told_three_times_a_second() -> None:
    changes = [number / 1000 for number in range(10_000)]
    times = told_times(changes, Clock())
    assert times[0] == 0.0
    assert len(times) <= 10 / PERIOD + 2
    assert times[-1] >= changes[-1]  # the last state is always told


@given(st.lists(st.floats(0, 10), max_size=40))
def test_nothing_is_lost_and_nothing_is_told_too_soon(changes: list[float]) -> None:
    times = told_times(changes, Clock())
    assert bool(times) == bool(changes)
    assert all(later - sooner >= PERIOD - 0.002 for sooner, later in pairwise(times))
    if changes:
        assert times[-1] >= max(changes) - 0.001


def test_a_teller_tells_the_last_news_before_it_ends() -> None:
    told: list[int] = []
    news = 0
    teller = Teller(lambda: told.append(news), period=30.0)
    for number in range(1, 1000):
        news = number
        teller.changed()
    teller.close()
    teller.close()
    assert told[-1] == 999
    assert len(told) <= 2


# in a cell


@pytest.fixture
def net(tmp_path: Path) -> LabSlice:
    net = paper_lab(tmp_path, pause=0.05).slice("ospf")
    for name in ("r1", "r2"):
        net.add_vm(name)
    net.link("r1", "r2")
    return net


def test_work_in_a_cell_is_shown_from_its_first_event_to_its_end(net: LabSlice) -> None:
    shown: list[Bundle] = []
    with CellProgress(net, show=shown.append):
        net.deploy()
    texts = [bundle["text/plain"] for bundle in shown]
    assert texts[0].startswith("ospf: ")
    assert texts[-1].startswith("ospf: as wished, 6 of 6 steps, ")
    assert "✓ as wished" in shown[-1]["text/html"]


def test_where_nothing_is_to_be_done_nothing_is_shown(net: LabSlice) -> None:
    net.deploy()
    shown: list[Bundle] = []
    with CellProgress(net, show=shown.append):
        net.deploy()
    assert shown == []


def test_failed_work_says_so(tmp_path: Path) -> None:
    error = MachineNotStarted("r1 does not start", why="no space left")
    net = paper_lab(tmp_path, fails={("start machine", "r1"): error}).slice("ospf")
    net.add_vm("r1")
    shown: list[Bundle] = []
    with pytest.raises(MachineNotStarted), CellProgress(net, show=shown.append):
        net.deploy()
    assert "failed" in shown[-1]["text/plain"].splitlines()[0]
    assert "no space left" in shown[-1]["text/plain"]


def test_the_console_of_who_is_late_is_shown_without_codes(net: LabSlice) -> None:
    net.deploy()
    tail = console_tail(net, "r1")
    assert tail == "Linux version 6.1\nwaiting for the root device ..."
    work = after([PLAN, GuestWaiting(HOST, "r1", "its agent", 40.0)]).work
    html = work_bundle("ospf", work, {"r1": tail})["text/html"]
    assert "r1 is late: its agent, 40 s. On its console:" in html
    assert "waiting for the root device" in html


def test_work_in_another_thread_shows_nothing_in_a_cell(net: LabSlice) -> None:
    thread = threading.Thread(target=net.deploy)
    thread.start()
    thread.join()
    assert net.states == {"r1": "running", "r2": "running"}
    assert Work().time == "0 s"
