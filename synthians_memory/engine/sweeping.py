"""Sweeping: memories that have expired are deleted, a batch at a time, by ordinary journaled deletes.

It is not what keeps them from being read (`expiry`), and it removes no trace of them from the journal (`purge`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.session import Session
from synthians_memory.engine.store import Store

__all__ = ["sweep"]

# Deletes in one batch: some ten kilobytes of journal.
_AT_ONCE: Final = 500


async def sweep(session: Session, *, dry_run: bool, progress: Callable[[int, int], None] | None) -> int:
    """As `MemoryPersistence.sweep_expired`."""
    state = session.store.state
    until = state.clock.micros()
    total, done = state.index.expiry.count(until), 0
    if dry_run:
        return total
    while swept := await session.in_writer(lambda: _sweep_batch(session.store, until)):
        done += swept
        if progress is not None:
            progress(done, max(done, total))
    return done


def _sweep_batch(store: Store, until: int) -> int:
    """Delete up to _AT_ONCE of the memories that have expired at `until`, in one batch; returns how many.

    Called in the writer's thread, so that nobody can save one of them in between.

    Raises:
        ReadOnlyError, DiskError: nothing of the batch is deleted.
    """
    ids = store.state.index.expiry.first(min(until, store.state.clock.micros()), _AT_ONCE)
    if not ids:
        return 0
    batch = Batch([Operation("memory", entity_id, None) for entity_id in ids])
    store.commit([batch])
    if batch.error is not None:
        raise batch.error
    return len(ids)
