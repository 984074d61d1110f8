"""Listening to what happens: many listeners, which come and go."""

from __future__ import annotations

from labkit.events import Event, Listeners

HAPPENED = Event("10.0.10.1", "web")


def test_everybody_who_listens_is_told_in_order() -> None:
    told: list[str] = []
    listeners = Listeners(lambda _event: told.append("first"))
    listeners.add(lambda _event: told.append("second"))
    listeners(HAPPENED)
    assert told == ["first", "second"]


def test_who_stopped_listening_is_told_nothing_more() -> None:
    told: list[Event] = []
    listeners = Listeners()
    stop = listeners.add(told.append)
    listeners(HAPPENED)
    stop()
    stop()  # again is fine
    listeners(HAPPENED)
    assert told == [HAPPENED]


def test_one_listener_may_listen_twice_and_stop_once() -> None:
    told: list[Event] = []
    listeners = Listeners()
    stop = listeners.add(told.append)
    listeners.add(told.append)
    listeners(HAPPENED)
    stop()
    listeners(HAPPENED)
    assert len(told) == 3


def test_a_listener_may_stop_while_it_is_told() -> None:
    told: list[Event] = []
    listeners = Listeners()

    def once(event: Event) -> None:
        told.append(event)
        stop()

    stop = listeners.add(once)
    listeners(HAPPENED)
    listeners(HAPPENED)
    assert told == [HAPPENED]
