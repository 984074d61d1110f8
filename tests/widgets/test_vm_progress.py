"""The stages of making a VM: in words, and not more often than a person can read."""

from __future__ import annotations

import pytest

from labkit.events import (
    Event,
    ImageCopied,
    ImageCopyProgress,
    ImageCopyWaiting,
    OverlayCreated,
    OverlayDeleted,
)
from labkit_widgets.vm_progress import Pacer, Stage, stage

MIB = 2**20
HOST, IMAGE = "10.0.10.1", "cirros.img"


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            ImageCopyProgress(HOST, IMAGE, 28 * MIB, 112 * MIB, 3),
            Stage("Copying cirros.img to 10.0.10.1: 28 of 112 MiB", 0.25),
        ),
        (
            ImageCopyProgress(HOST, IMAGE, 0, 0, 0),
            Stage("Copying cirros.img to 10.0.10.1: 0.0 of 0.0 MiB", 1.0),
        ),
        (
            ImageCopyProgress(HOST, IMAGE, MIB // 4, MIB // 2, 3),
            Stage("Copying cirros.img to 10.0.10.1: 0.2 of 0.5 MiB", 0.5),
        ),
        (
            ImageCopyWaiting(HOST, IMAGE, 2.6),
            Stage("Waiting: cirros.img is being copied to 10.0.10.1 already, 3 s"),
        ),
        (
            ImageCopied(HOST, IMAGE, "ab12", 5, 1.0),
            Stage("cirros.img is on 10.0.10.1, whole and verified; making the disk"),
        ),
        (OverlayCreated(HOST, "web", 1), Stage("web is made on 10.0.10.1")),
        (
            OverlayCreated(HOST, "web", 1, adopted=True),
            Stage("web was made by an earlier request on 10.0.10.1"),
        ),
        (OverlayDeleted(HOST, "web"), None),
        (Event(HOST, "web"), None),
    ],
)
def test_an_event_in_words(event: Event, shown: Stage | None) -> None:
    assert stage(event) == shown


def test_four_events_of_a_kind_a_second_are_enough_and_a_new_kind_is_always_shown() -> None:
    now = [100.0]
    pacer = Pacer(clock=lambda: now[0])
    copying = ImageCopyProgress(HOST, IMAGE, 1, 2, 1)
    shown = []
    for _ in range(20):  # two seconds
        shown.append(pacer.lets_through(copying))
        now[0] += 0.1
    assert 6 <= sum(shown) <= 8
    assert pacer.lets_through(ImageCopied(HOST, IMAGE, "ab12", 5, 1.0))
    assert not pacer.lets_through(ImageCopied(HOST, IMAGE, "ab12", 5, 1.0))
