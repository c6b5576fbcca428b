"""The operational tier: what happens now, in the memory of one process.

It is not durable: what has to last is handed to the working tier, critical events at once, all others when they leave.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from synthians_memory.errors import (
    EntityNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    OverloadedError,
    StoreClosedError,
)
from synthians_memory.json_values import JsonObject, checked_object, checked_text
from synthians_memory.layout import validate_id
from synthians_memory.models import random_id
from synthians_memory.tiers.records import Event, MetricHour
from synthians_memory.times import Clock, SystemClock

__all__ = ["CAPACITY", "ActiveTask", "OperationalMemory", "SystemSnapshot"]

CAPACITY: Final = 10_000
# Events that have left the ring are handed on when there are as many as a tenth of it holds.
_HAND_ON_SHARE: Final = 10
_MICROS: Final = 1_000_000
_HOUR: Final = 3600
_EVENT_FIELDS: Final = tuple(one.name for one in fields(Event))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveTask:
    """A task that is being worked on now.

    Attributes:
        id: whatever tells it from others.
        description: what is to be done.
        agent: who does it; None where nobody said.
        status: free text.
        data: what else is known of it.
        started_at: Unix seconds.
        updated_at: Unix seconds.
    """

    id: str
    description: str
    agent: str | None
    status: str
    data: JsonObject
    started_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSnapshot:
    """How things stand at one moment.

    Attributes:
        events: the latest, newest first.
        metrics: the latest value of each, in the order of their keys.
        active_tasks: the longest running first.
        counts: "events" in the ring, "pushed" since the start, "waiting" (critical, and not durable yet), "left" (gone from the
            ring and not handed on yet), "dropped" (events and hourly means that are gone for good, since nobody took them).
        taken_at: Unix seconds.
    """

    events: tuple[Event, ...]
    metrics: dict[str, float]
    active_tasks: tuple[ActiveTask, ...]
    counts: dict[str, int]
    taken_at: int


@dataclass(slots=True)
class _Samples:
    """The values that one metric had within one hour."""

    minimum: float
    maximum: float
    mean: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        # Weighted, so that no sum is beyond a double.
        self.mean = self.mean * ((self.count - 1) / self.count) + value / self.count
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)


@dataclass(slots=True)
class _Leaving:
    """What is on its way to the working tier, each by its id, the oldest first."""

    critical: dict[str, Event] = field(default_factory=dict)
    # A dict from whose beginning is deleted again and again has to skip what was there.
    left: OrderedDict[str, Event] = field(default_factory=OrderedDict)
    hours: dict[str, MetricHour] = field(default_factory=dict)
    dropped: int = 0


class OperationalMemory:
    """The latest events, first in, first out; the latest value of each metric; the active tasks. Thread-safe.

    What an event holds is shared with whoever asks for it, and nobody's to change. No call waits for a disk. What is critical stays with it until `written` says that it is durable; of what else
    has left the ring as much is kept as the ring is long, and of hourly means likewise; beyond that the oldest is dropped, and
    counted.

    Args:
        capacity: how many events the ring holds.
        clock: source of time.
        ids: gives, once, the beginning of the ids of events that have none; a number follows.
        on_critical: called, in the thread that pushed, after a critical event came in.
        on_overflow: called likewise when a tenth of the ring has left it, or an hour of metrics is over, and waits to be
            handed on.
    """

    def __init__(
        self,
        capacity: int = CAPACITY,
        *,
        clock: Clock | None = None,
        ids: Callable[[], str] = random_id,
        on_critical: Callable[[], None] | None = None,
        on_overflow: Callable[[], None] | None = None,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int):
            raise InvalidTypeError(f"capacity must be an integer, not {type(capacity).__name__}")
        if capacity < 1:
            raise InvalidValueError(f"capacity is {capacity}", hint="Give at least 1.")
        self._capacity = capacity
        self._clock = clock or SystemClock()
        self._name = ids()
        self._numbers = itertools.count(1)
        self._on_critical = on_critical
        self._on_overflow = on_overflow
        self._guard = threading.Lock()
        self._ring: deque[Event] = deque()
        self._pushed = 0
        self._closed = False
        self._leaving = _Leaving()
        self._metrics: dict[str, float] = {}
        self._hours: dict[tuple[int, str], _Samples] = {}
        self._tasks: dict[str, ActiveTask] = {}

    # Events

    def push(self, event: Event) -> Event:
        """Add `event` as the newest; returns it with the id and the time that it lacked.

        A critical one that waits already to become durable is not added again.

        Raises:
            InvalidTypeError: it is no Event.
            OverloadedError: as many critical events as the ring is long wait for the disk; it was not added.
            StoreClosedError: after `close`.
        """
        if not isinstance(event, Event):
            raise InvalidTypeError(f"an event must be an Event, not {type(event).__name__}")
        if event.id is None or event.timestamp is None:
            event = self._filled(event)
        if event.critical:
            self._push_critical(event)
            return event
        with self._guard:
            self._require_open()
            crowded = self._append(event)
        if crowded and self._on_overflow is not None:
            self._on_overflow()
        return event

    def _push_critical(self, event: Event) -> None:
        crowded = False
        with self._guard:
            self._require_open()
            waiting = self._leaving.critical
            if event.id not in waiting:
                if len(waiting) >= self._capacity:
                    raise OverloadedError(
                        f"{len(waiting)} critical events wait to be written",
                        hint="Mend the disk; they are written when the next one is pushed with `push_event`, or by `migrate`.",
                    )
                waiting[_id(event)] = event
                crowded = self._append(event)
        if self._on_critical is not None:
            self._on_critical()
        if crowded and self._on_overflow is not None:
            self._on_overflow()

    def _append(self, event: Event) -> bool:
        """Add it to the ring; whether what has left the ring should be handed on now."""
        self._ring.append(event)
        self._pushed += 1
        if len(self._ring) <= self._capacity:
            return False
        return self._let_go(self._ring.popleft())

    def _let_go(self, event: Event) -> bool:
        left = self._leaving.left
        if not event.critical:
            left[_id(event)] = event
            if len(left) > self._capacity:
                left.popitem(last=False)
                self._leaving.dropped += 1
        return len(left) % max(self._capacity // _HAND_ON_SHARE, 1) == 0 and bool(left)

    def recent(self, count: int = 100, category: str | None = None, source: str | None = None) -> list[Event]:
        """The latest `count` events of that category and source, newest first.

        Raises:
            InvalidValueError: a negative count.
        """
        _require_count(count)
        if category is None and source is None:
            with self._guard:
                return list(itertools.islice(reversed(self._ring), count))
        with self._guard:
            held = list(self._ring)
        fitting = (
            event
            for event in reversed(held)
            if (category is None or event.category == category) and (source is None or event.source == source)
        )
        return list(itertools.islice(fitting, count))

    # What leaves for the working tier

    def waiting(self, limit: int, *, critical_only: bool = False) -> list[Event]:
        """Up to `limit` events to be written durably: critical ones first, then those that left the ring, oldest first."""
        with self._guard:
            found = list(itertools.islice(self._leaving.critical.values(), limit))
            rest = 0 if critical_only else limit - len(found)
            return found + list(itertools.islice(self._leaving.left.values(), rest))

    def written(self, events: Iterable[Event]) -> None:
        """These are durable now."""
        with self._guard:
            for event in events:
                self._leaving.critical.pop(_id(event), None)
                self._leaving.left.pop(_id(event), None)

    def is_waiting(self, event_id: str) -> bool:
        """Whether the critical event of that id is not durable yet."""
        with self._guard:
            return event_id in self._leaving.critical

    def retire(self, before: int) -> int:
        """Let the oldest events leave the ring as far as they are older than `before` (Unix seconds); returns how many."""
        with self._guard:
            count = 0
            while self._ring and _timestamp(self._ring[0]) < before:
                self._let_go(self._ring.popleft())
                count += 1
            return count

    # Metrics

    def update_metric(self, key: str, value: float) -> None:
        """Set the value of a metric now.

        Raises:
            InvalidTypeError, InvalidValueError: the key is no text or empty, or the value no finite number.
        """
        name = checked_text(key, "key")
        if not name:
            raise InvalidValueError("key is empty", hint="Name the metric.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidTypeError(f"the value of {name} must be a number, not {type(value).__name__}")
        number = _finite(name, value)
        hour = self._now() // _HOUR * _HOUR
        with self._guard:
            self._metrics[name] = number
            crowded = self._sample(hour, name, number)
        if crowded and self._on_overflow is not None:
            self._on_overflow()

    def _sample(self, hour: int, name: str, value: float) -> bool:
        """Count a value; whether means of earlier hours should be handed on now."""
        samples = self._hours.get((hour, name))
        if samples is not None:
            samples.add(value)
            return False
        if len(self._hours) >= self._capacity:
            del self._hours[min(self._hours)]
            self._leaving.dropped += 1
        crowded = any(began < hour for began, _ in self._hours)
        self._hours[hour, name] = _Samples(value, value)
        self._hours[hour, name].add(value)
        return crowded

    def metric(self, key: str) -> float | None:
        """Its latest value; None where it has none."""
        with self._guard:
            return self._metrics.get(key)

    def metrics(self) -> dict[str, float]:
        """The latest value of each, in the order of their keys."""
        with self._guard:
            return dict(sorted(self._metrics.items()))

    def end_hours(self, before: int | None = None) -> list[MetricHour]:
        """What the metrics were in the hours that had ended by `before` (Unix seconds; None: in all), the oldest first.

        Those that `hours_written` was not told of come again.
        """
        with self._guard:
            for hour, name in sorted(key for key in self._hours if before is None or key[0] + _HOUR <= before):
                samples = self._hours.pop((hour, name))
                ended = MetricHour(
                    id=self._next_id(),
                    name=name,
                    hour=hour,
                    count=samples.count,
                    mean=min(max(samples.mean, samples.minimum), samples.maximum),
                    minimum=samples.minimum,
                    maximum=samples.maximum,
                )
                self._leaving.hours[ended.id or ""] = ended
            while len(self._leaving.hours) > self._capacity:
                del self._leaving.hours[next(iter(self._leaving.hours))]
                self._leaving.dropped += 1
            return list(self._leaving.hours.values())

    def hours_written(self, hours: Iterable[MetricHour]) -> None:
        """These are durable now."""
        with self._guard:
            for hour in hours:
                self._leaving.hours.pop(hour.id or "", None)

    # Active tasks

    def start_task(
        self, task_id: str, description: str = "", *, agent: str | None = None, data: JsonObject | None = None
    ) -> ActiveTask:
        """Note that a task is being worked on; one of that id that is active already begins anew.

        Raises:
            InvalidIdError, InvalidTypeError, InvalidValueError: something of it cannot be kept.
        """
        now = self._now()
        task = ActiveTask(
            id=validate_id(task_id, "task_id"),
            description=checked_text(description, "description"),
            agent=None if agent is None else checked_text(agent, "agent"),
            status="running",
            data=checked_object(data or {}, "data"),
            started_at=now,
            updated_at=now,
        )
        with self._guard:
            self._tasks[task.id] = task
        return task

    def update_task(self, task_id: str, *, status: str | None = None, data: JsonObject | None = None) -> ActiveTask:
        """Change the status of an active task, or what else is known of it; members of `data` that are not named stay.

        Raises:
            EntityNotFoundError: no such task is active.
            InvalidTypeError, InvalidValueError: as `start_task`.
        """
        changes: dict[str, Any] = {"updated_at": self._now()}
        if status is not None:
            changes["status"] = checked_text(status, "status")
        added = checked_object(data or {}, "data")
        with self._guard:
            task = self._active(task_id)
            self._tasks[task_id] = replace(task, data={**task.data, **added}, **changes)
            return self._tasks[task_id]

    def finish_task(self, task_id: str) -> ActiveTask:
        """Take a task from the active ones; returns it as it was. Raises EntityNotFoundError."""
        with self._guard:
            self._active(task_id)
            return self._tasks.pop(task_id)

    def _active(self, task_id: str) -> ActiveTask:
        task = self._tasks.get(task_id)
        if task is None:
            raise EntityNotFoundError(f"no task {task_id!r} is active", hint="Start it with `start_task`.")
        return task

    # The whole

    def close(self) -> None:
        """Take no more events: nobody would write those that are critical. What is there can still be read."""
        with self._guard:
            self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosedError("the tiers are closed", hint="Open them with `async with Tiers(store)`.")

    def snapshot(self, count: int = 100) -> SystemSnapshot:
        """How things stand now, with the latest `count` events; all of one moment."""
        _require_count(count)
        taken_at = self._now()
        with self._guard:
            events = tuple(itertools.islice(reversed(self._ring), count))
            metrics = dict(self._metrics)
            tasks = list(self._tasks.values())
            counts = {
                "events": len(self._ring),
                "pushed": self._pushed,
                "waiting": len(self._leaving.critical),
                "left": len(self._leaving.left),
                "dropped": self._leaving.dropped,
            }
        return SystemSnapshot(
            events=events,
            metrics=dict(sorted(metrics.items())),
            active_tasks=tuple(sorted(tasks, key=lambda task: (task.started_at, task.id))),
            counts=counts,
            taken_at=taken_at,
        )

    def _now(self) -> int:
        return self._clock.micros() // _MICROS

    def _next_id(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    def _filled(self, event: Event) -> Event:
        # What was validated need not be validated, and copied, once more: this is the most frequent call of all.
        filled = object.__new__(Event)
        for name in _EVENT_FIELDS:
            object.__setattr__(filled, name, getattr(event, name))
        if event.id is None:
            object.__setattr__(filled, "id", self._next_id())
        if event.timestamp is None:
            object.__setattr__(filled, "timestamp", self._now())
        return filled


def _id(event: Event) -> str:
    # Whatever is in the ring has been given an id and a time.
    return event.id or ""


def _timestamp(event: Event) -> int:
    return event.timestamp or 0


def _finite(name: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidValueError(f"the value of {name} is beyond a double") from error
    if not math.isfinite(number):
        raise InvalidValueError(f"the value of {name} is {value}", hint="Give a finite number.")
    return number


def _require_count(count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidTypeError(f"count must be an integer, not {type(count).__name__}")
    if count < 0:
        raise InvalidValueError(f"count is {count}", hint="Give at least 0.")
