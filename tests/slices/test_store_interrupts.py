"""Ctrl-C during a transaction: it ends as it began, and the interrupt is not lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from labkit.store.database import Database
from labkit.store.interrupts import held_back


def test_an_interrupt_comes_after_the_work_and_not_in_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012 - it comes at the end
        signal.raise_signal(signal.SIGINT)
        done.append("went on")
    assert done == ["went on"]


def test_an_error_of_the_work_goes_before_it_and_is_its_context() -> None:
    with pytest.raises(KeyboardInterrupt) as told, held_back():  # noqa: PT012 - it comes at the end
        signal.raise_signal(signal.SIGINT)
        raise ValueError("of the work")
    assert isinstance(told.value.__context__, ValueError)


def test_a_transaction_is_never_left_open(tmp_path: Path) -> None:
    database = Database(tmp_path / "labkit.db", busy_seconds=0.1)
    with pytest.raises(KeyboardInterrupt) as told, database.writing() as connection:  # noqa: PT012 - it comes at the end
        signal.raise_signal(signal.SIGINT)
        connection.exec_driver_sql("DELETE FROM slices")
    assert told  # the traceback is kept, as in a notebook
    other = Database(tmp_path / "labkit.db", busy_seconds=0.1)
    with other.writing() as connection:
        connection.exec_driver_sql("DELETE FROM slices")
    for one in (database, other):
        one.close()
