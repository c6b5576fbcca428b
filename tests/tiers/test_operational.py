"""The operational tier against a plain list: first in, first out, filters before it takes, nothing critical lost."""

from __future__ import annotations

import itertools
import math
import threading
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.errors import (
    EntityNotFoundError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    OverloadedError,
)
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.operational import CAPACITY, OperationalMemory
from synthians_memory.tiers.records import Event
from synthians_memory.tiers.snapshot_text import snapshot_lines

NOW = 1_700_000_000
HOUR = 3600


def event(number: int, *, critical: bool = False, **fields: Any) -> Event:
    return Event(**{"id": f"e{number}", "category": "c", "source": "s", "critical": critical, **fields})


def memory(capacity: int = 3, **options: Any) -> OperationalMemory:
    return OperationalMemory(capacity, clock=ManualClock(), ids=lambda: "ring", **options)


def ids(events: Any) -> list[str]:
    return [one.id for one in events]


# Events

kinds = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.booleans())


@given(st.integers(1, 8), st.lists(kinds, max_size=40), st.integers(0, 50))
def test_it_is_a_ring_that_filters_before_it_takes(
    capacity: int, pushed: list[tuple[str, str, bool]], count: int
) -> None:
    ring = memory(capacity)
    model: list[Event] = []
    for number, (category, source, critical) in enumerate(pushed):
        ring.written(ring.waiting(100))
        model.append(ring.push(event(number, critical=critical, category=category, source=source)))
    held = model[-capacity:][::-1]
    for category, source in itertools.product((None, "a", "b", "c"), (None, "x", "y")):
        fitting = [e for e in held if category in (None, e.category) and source in (None, e.source)]
        assert ring.recent(count, category, source) == fitting[:count]
    snapshot = ring.snapshot(count)
    assert list(snapshot.events) == held[:count]
    assert (snapshot.counts["events"], snapshot.counts["pushed"]) == (len(held), len(model))


def test_the_ring_holds_ten_thousand() -> None:
    ring = OperationalMemory()
    for number in range(CAPACITY + 5):
        ring.push(event(number))
    assert CAPACITY == 10_000
    assert len(ring.recent(20_000)) == CAPACITY
    assert ids(ring.recent(1)) == [f"e{CAPACITY + 4}"]
    assert ids(ring.waiting(10)) == ["e0", "e1", "e2", "e3", "e4"]


def test_what_an_event_lacks_is_filled_in() -> None:
    ring = memory()
    given_event = Event(category="c", source="s", data={"n": [1]})
    first, second = ring.push(given_event), ring.push(given_event)
    assert (first.id, first.timestamp, second.id) == ("ring-1", NOW, "ring-2")
    assert first == Event(id="ring-1", timestamp=NOW, category="c", source="s", data={"n": [1]})
    assert given_event.id is None
    kept = ring.push(Event(id="x", timestamp=5, category="c", source="s"))
    assert (kept.id, kept.timestamp) == ("x", 5)
    assert ring.push(Event(timestamp=0, category="c", source="s")).timestamp == 0


def test_critical_events_wait_until_they_are_written_also_behind_the_ring() -> None:
    ring = memory(2)
    ring.push(event(0, critical=True))
    for number in range(1, 5):
        ring.push(event(number))
    assert ids(ring.waiting(10)) == ["e0", "e1", "e2"]
    assert ids(ring.waiting(2)) == ["e0", "e1"]
    assert ids(ring.waiting(10, critical_only=True)) == ["e0"]
    assert ring.is_waiting("e0")
    assert not ring.is_waiting("e1")
    ring.written([event(0), event(1), event(9)])
    assert ids(ring.waiting(10)) == ["e2"]
    assert ring.snapshot().counts == {"events": 2, "pushed": 5, "waiting": 0, "left": 1, "dropped": 0}


def test_a_critical_event_pushed_again_while_it_waits_comes_once() -> None:
    ring = memory()
    ring.push(event(0, critical=True))
    ring.push(event(0, critical=True))
    assert ids(ring.recent()) == ["e0"]
    ring.written(ring.waiting(1))
    ring.push(event(0, critical=True))
    assert ids(ring.recent()) == ["e0", "e0"]


def test_more_critical_events_than_the_ring_is_long_are_refused() -> None:
    ring = memory(2)
    for number in range(2):
        ring.push(event(number, critical=True))
    with pytest.raises(OverloadedError, match="2 critical events wait"):
        ring.push(event(3, critical=True))
    assert ids(ring.push(event(4)) for _ in range(1)) == ["e4"]
    assert ids(ring.recent()) == ["e4", "e1"]


def test_what_nobody_takes_is_dropped_and_counted_the_oldest_first() -> None:
    ring = memory(2)
    for number in range(7):
        ring.push(event(number))
    assert ids(ring.waiting(10)) == ["e3", "e4"]
    assert ring.snapshot().counts["dropped"] == 3


def test_it_tells_of_critical_events_and_of_a_tenth_that_has_left() -> None:
    told: list[str] = []
    ring = memory(20, on_critical=lambda: told.append("critical"), on_overflow=lambda: told.append("overflow"))
    for number in range(24):
        ring.push(event(number))
    assert told == ["overflow", "overflow"]
    ring.push(event(99, critical=True))
    assert told[2:] == ["critical"]


def test_events_retire_by_their_age_from_the_oldest_on() -> None:
    ring = memory(10)
    for number, time in enumerate((5, 7, 6, 20, 3)):
        ring.push(event(number, timestamp=time))
    assert ring.retire(7) == 1
    assert ring.retire(8) == 2
    assert ring.retire(8) == 0
    assert ids(ring.recent()) == ["e4", "e3"]
    assert ids(ring.waiting(9)) == ["e0", "e1", "e2"]


def test_threads_push_at_once_and_nothing_is_lost() -> None:
    ring = OperationalMemory(100_000)
    threads = [
        threading.Thread(target=lambda: [ring.push(Event(category="c", source="s")) for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids(ring.recent(10_000)))) == 8000


# Metrics

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=30))
def test_a_metric_has_its_latest_value_and_the_mean_of_its_hour(values: list[float]) -> None:
    ring = memory()
    for value in values:
        ring.update_metric("cpu", value)
    assert ring.metric("cpu") == values[-1]
    assert ring.metrics() == {"cpu": values[-1]}
    (hour,) = ring.end_hours()
    assert (hour.name, hour.count, hour.minimum, hour.maximum) == ("cpu", len(values), min(values), max(values))
    assert min(values) <= hour.mean <= max(values)
    exact = sum(map(Fraction, values)) / len(values)
    assert abs(Fraction(hour.mean) - exact) <= Fraction(1, 10**9) * max(abs(Fraction(value)) for value in values)


def test_hours_end_and_come_again_until_they_are_written() -> None:
    clock = ManualClock()
    ring = OperationalMemory(clock=clock, ids=lambda: "ring")
    ring.update_metric("b", 1)
    ring.update_metric("a", 2)
    clock.advance(HOUR)
    ring.update_metric("a", 4)
    assert ring.end_hours(NOW // HOUR * HOUR + HOUR - 1) == []
    ended = ring.end_hours(NOW // HOUR * HOUR + HOUR)
    assert [(one.name, one.hour, one.mean) for one in ended] == [
        ("a", NOW // HOUR * HOUR, 2.0),
        ("b", NOW // HOUR * HOUR, 1.0),
    ]
    assert ring.end_hours(0) == ended
    ring.hours_written(ended[:1])
    assert ring.end_hours(0) == ended[1:]
    assert [one.name for one in ring.end_hours()] == ["b", "a"]
    assert ring.metrics() == {"a": 4.0, "b": 1.0}


def test_it_tells_when_an_hour_is_over_and_keeps_no_more_hours_than_events() -> None:
    clock, told = ManualClock(), list[int]()
    ring = OperationalMemory(5, clock=clock, on_overflow=lambda: told.append(1))
    for _ in range(8):
        ring.update_metric("a", 1)
        ring.update_metric("a", 2)
        clock.advance(HOUR)
    assert len(told) == 7
    assert [one.hour // HOUR - NOW // HOUR for one in ring.end_hours()] == [3, 4, 5, 6, 7]
    assert ring.snapshot().counts["dropped"] == 3
    for name in "abc":
        ring.update_metric(name, 1)
    assert len(ring.end_hours()) == 5
    assert ring.snapshot().counts["dropped"] == 6


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("", 1, InvalidValueError),
        (1, 1, InvalidTypeError),
        ("k", "1", InvalidTypeError),
        ("k", True, InvalidTypeError),
        ("k", math.nan, InvalidValueError),
        ("k", math.inf, InvalidValueError),
        ("k", 10**400, InvalidValueError),
        ("\ud800", 1, InvalidValueError),
    ],
)
def test_metrics_that_are_none_are_refused(key: Any, value: Any, error: type[Exception]) -> None:
    ring = memory()
    with pytest.raises(error):
        ring.update_metric(key, value)
    assert ring.metrics() == {}
    assert ring.end_hours() == []


# Active tasks


def test_a_task_is_active_from_start_to_finish() -> None:
    clock = ManualClock()
    ring = OperationalMemory(clock=clock)
    data = {"step": 1, "of": 3}
    started = ring.start_task("t", "build it", agent="ada", data=data)
    data["step"] = 9
    clock.advance(5)
    ring.start_task("a", "later")
    updated = ring.update_task("t", status="testing", data={"step": 2})
    assert (started.status, started.data, started.updated_at) == ("running", {"step": 1, "of": 3}, NOW)
    assert (updated.status, updated.data, updated.started_at, updated.updated_at) == (
        "testing",
        {"step": 2, "of": 3},
        NOW,
        NOW + 5,
    )
    assert [task.id for task in ring.snapshot().active_tasks] == ["t", "a"]
    assert ring.finish_task("t") == updated
    assert [task.id for task in ring.snapshot().active_tasks] == ["a"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ring: ring.update_task("t"), EntityNotFoundError),
        (lambda ring: ring.finish_task("t"), EntityNotFoundError),
        (lambda ring: ring.start_task(""), InvalidIdError),
        (lambda ring: ring.start_task("t", 1), InvalidTypeError),
        (lambda ring: ring.start_task("t", data=[1]), InvalidTypeError),
        (lambda ring: ring.push("event"), InvalidTypeError),
        (lambda ring: ring.recent(-1), InvalidValueError),
        (lambda ring: ring.recent(1.0), InvalidTypeError),
        (lambda ring: ring.snapshot(-1), InvalidValueError),
        (lambda _: OperationalMemory(0), InvalidValueError),
        (lambda _: OperationalMemory(1.5), InvalidTypeError),
    ],
    ids=[f"call-{number}" for number in range(11)],
)
def test_what_makes_no_sense_is_refused(call: Any, error: type[Exception]) -> None:
    ring = memory()
    with pytest.raises(error):
        call(ring)
    assert ring.snapshot().counts["pushed"] == 0


# The snapshot as text


def test_the_most_important_comes_first_and_every_line_is_short() -> None:
    clock = ManualClock()
    ring = OperationalMemory(clock=clock, ids=lambda: "ring")
    ring.push(Event(category="disk", source="probe", data={"of": "a", "free": 0}, critical=True))
    ring.push(Event(category="note", source="ada", data={"text": "line\nbreak " * 5000}))
    ring.update_metric("cpu", 0.25)
    ring.start_task("t", "build\nit", agent="ada")
    lines = snapshot_lines(ring.snapshot())
    assert lines[:4] == [
        "System state at 2023-11-14T22:13:20Z: 2 events, 1 active tasks, 1 metrics",
        'critical 2023-11-14T22:13:20Z disk from probe {"free": 0, "of": "a"}',
        "active task t [running] by ada since 2023-11-14T22:13:20Z: build it",
        "metric cpu = 0.25",
    ]
    assert lines[4].startswith('event 2023-11-14T22:13:20Z note from ada {"text": "line')
    assert len(lines) == 5
    assert all(len(line) <= 240 and line.isprintable() for line in lines)
    assert snapshot_lines(ring.snapshot()) == lines


def test_nothing_to_tell_is_told() -> None:
    (line,) = snapshot_lines(memory().snapshot())
    assert line.endswith(": 0 events, 0 active tasks, 0 metrics")
