"""The events and the hourly means of metrics in working memory.

It is not the ring: what comes here is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from synthians_memory.engine.searching import require_positive
from synthians_memory.tiers.records import Event, MetricHour
from synthians_memory.tiers.rows import Rows
from synthians_memory.tiers.tables import EVENTS, METRICS_HOURLY

__all__ = ["WorkingEvents"]

_NEWEST: Final = "ORDER BY timestamp DESC, row DESC LIMIT ?"


class WorkingEvents(Rows):
    """The part of working memory that takes what leaves the operational tier."""

    async def store_event(self, event: Event) -> Event:
        """Store an event, once: where one of its id was stored before, also if it was migrated since, nothing is done.

        Returns:
            The event as given, with an id and a time.
        """
        return (await self.store_events([event]))[0]

    async def store_events(self, events: Sequence[Event]) -> list[Event]:
        """Store many events, all or nothing, each as `store_event`; returns them in order."""
        return await self.database.transact(lambda connection: self._put_new(connection, EVENTS, events))

    async def get_events(self, count: int = 100, category: str | None = None, source: str | None = None) -> list[Event]:
        """The latest events, newest first; those of one second in the opposite order of their storing.

        Args:
            count: at most so many, at least 1.
            category: only events of this one; filtered before `count` of them are taken.
            source: likewise.

        Raises:
            DamagedRowError: one of them is damaged.
        """
        require_positive("count", count)
        wanted = {"category": category, "source": source}
        values: list[Any] = [value for value in wanted.values() if value is not None]
        conditions = " AND ".join(f"{name} = ?" for name, value in wanted.items() if value is not None)
        rest = f"WHERE {conditions} {_NEWEST}" if conditions else _NEWEST
        return await self.database.run(lambda connection: self._many(connection, EVENTS, rest, *values, count))

    async def store_metric_hours(self, hours: Sequence[MetricHour]) -> list[MetricHour]:
        """Store what metrics were within hours, all or nothing; each once, as `store_event`."""
        return await self.database.transact(lambda connection: self._put_new(connection, METRICS_HOURLY, hours))

    async def get_metric_hours(self, name: str, since: int = 0) -> list[MetricHour]:
        """What one metric was within the hours that begin at `since` or later, oldest first; archived hours are not among them."""
        rest = "WHERE name = ? AND hour >= ? ORDER BY hour, row"
        return await self.database.run(lambda connection: self._many(connection, METRICS_HOURLY, rest, name, since))
