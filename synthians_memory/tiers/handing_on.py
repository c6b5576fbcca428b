"""Handing on what leaves the operational tier: events and the means of metrics, to the working tier, exactly once.

It decides nothing about what leaves: the ring does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.tiers.operational import OperationalMemory
from synthians_memory.tiers.records import Event, MetricHour
from synthians_memory.times import Clock

__all__ = ["EventStore", "HandingOn"]

_BATCH: Final = 1000
_MICROS: Final = 1_000_000


class EventStore(Protocol):
    """Where it goes; what is there under the same id is left as it is."""

    async def store_events(self, events: Sequence[Event]) -> Any:
        """Store events durably, all or nothing."""

    async def store_metric_hours(self, hours: Sequence[MetricHour]) -> Any:
        """Store means of metrics durably, all or nothing."""


class HandingOn:
    """Between a ring and the event loop in which it was made.

    What was not written stays with the ring, and is written the next time; a second write of the same event changes
    nothing, so that a caller who is cancelled does no harm.

    Attributes:
        last_error: why the latest write in the background failed; None where it did not.
    """

    def __init__(self, operational: OperationalMemory, store: EventStore, clock: Clock) -> None:
        self._operational = operational
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._called = False
        self._wanted = False
        self.last_error: SynthiansMemoryError | None = None

    def call(self) -> None:
        """Have everything written soon, in the background; from any thread."""
        if self._called:
            return
        self._called = True
        # A loop that is closed writes nothing any more; what is critical counts as waiting.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._called, self._wanted = False, True
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._in_background())

    async def _in_background(self) -> None:
        # What comes while the last of it is written has to be written as well.
        while self._wanted:
            self._wanted = False
            try:
                await self.events()
                await self.hours(self._clock.micros() // _MICROS)
            except SynthiansMemoryError as error:
                self.last_error = error
            else:
                self.last_error = None

    async def critical(self, event_id: str) -> None:
        """Return when the critical event of that id is durable; together with it others that wait."""
        while self._operational.is_waiting(event_id):
            await self._write(critical_only=True)

    async def events(self) -> int:
        """Write the events that wait now; returns how many were written."""
        counts = self._operational.snapshot(0).counts
        written = 0
        # However fast others come meanwhile, it ends.
        for _ in range(0, counts["waiting"] + counts["left"], _BATCH):
            written += await self._write(critical_only=False)
        return written

    async def _write(self, *, critical_only: bool) -> int:
        """Write one batch. Between two of them a critical event has its turn."""
        async with self._turn:
            events = self._operational.waiting(_BATCH, critical_only=critical_only)
            if events:
                await self._store.store_events(events)
                self._operational.written(events)
            return len(events)

    async def hours(self, before: int | None) -> int:
        """Write what the metrics were in the hours that had ended by `before` (Unix seconds; None: in all); returns how many."""
        async with self._turn:
            hours = self._operational.end_hours(before)
            if hours:
                await self._store.store_metric_hours(hours)
                self._operational.hours_written(hours)
            return len(hours)

    async def settle(self) -> None:
        """Return when nothing is being written in the background."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()
