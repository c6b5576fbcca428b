"""Automatic capture: an exchange between a person and an agent is remembered where the rules find it significant.

It is not `remember`, which stores whatever it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import DiskError, NotStoredError, StoreLockedError, SynthiansMemoryError
from synthians_memory.json_values import checked_text
from synthians_memory.layout import AUTOMEMORY_LOG
from synthians_memory.maintenance.event_log import EventLog
from synthians_memory.maintenance.significance import CaptureRules, Significance
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

__all__ = ["Capture"]


class Capture:
    """Remembers what is significant, in one store. All methods belong to the store's event loop.

    Args:
        store: open for changes.
        rules: what is significant, and how it is tagged.
        log: gets a line for each exchange, without its content; None: `logs/automemory.log` of the store's directory.

    Attributes:
        log_error: why the last line of the log could not be written; None where it was. A memory is never lost for a log.
    """

    def __init__(self, store: Persistence, rules: CaptureRules | None = None, log: EventLog | None = None) -> None:
        self._store = store
        self._rules = rules or CaptureRules()
        self._log = log or EventLog(lambda: LocalBackend(store.config.storage_path), AUTOMEMORY_LOG, SystemClock())
        self.log_error: SynthiansMemoryError | None = None

    async def capture(
        self,
        question: str,
        answer: str,
        *,
        tags: Iterable[str] | None = None,
        importance: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Remember an exchange, question before answer; its memory's id, or None where it is not significant.

        Args:
            question: what was asked or told.
            answer: what was answered to it.
            tags: in place of those that the rules give.
            importance: in place of that of the rules; whoever gives it finds the exchange significant.
            metadata: as in `remember`.

        Raises:
            NotStoredError: as `remember`; the memory is not lost.
            InvalidValueError, InvalidTypeError: as `remember`, for both texts together.
        """
        text = "\n\n".join(
            part for part in (checked_text(question, "question"), checked_text(answer, "answer")) if part
        )
        found = self._rules.judge(text)
        if not found.rules and importance is None:
            await self._note("skipped", None, found)
            return None
        given = found.tags if tags is None else tuple(tags)
        weight = found.importance if importance is None else importance
        try:
            entry = await self._store.remember(text, given, weight, metadata)
        except NotStoredError as error:
            await self._note("parked" if error.parked else "refused", None, found)
            raise
        await self._note("stored", entry.memory_id, found, tags=list(entry.tags), importance=entry.quickrecal_score)
        return entry.memory_id

    async def _note(self, outcome: str, memory_id: str | None, found: Significance, **facts: Any) -> None:
        self.log_error = None
        write: Callable[..., None] = self._log.append
        try:
            await asyncio.to_thread(write, outcome=outcome, id=memory_id, rules=list(found.rules), **facts)
        except (DiskError, StoreLockedError) as error:
            self.log_error = error
