"""What `stats()` tells: counts, sizes, and what needs an operator's eye.

It is not a check: it looks at memory only, and costs nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from synthians_memory.engine.store import Store
from synthians_memory.times import format_time, from_micros

__all__ = ["statistics"]


def statistics(store: Store) -> dict[str, Any]:
    """The state of an open store, as JSON."""
    state = store.state
    journal = state.journal
    return {
        "location": state.backend.location,
        "store_id": state.superblock.store_id,
        "format_version": state.superblock.format_version,
        "embedder": state.superblock.embedder,
        "embedding_dimension": state.superblock.embedding_dimension,
        "metric": state.superblock.metric,
        "durability": state.config.durability,
        "write_mode": state.config.write_mode,
        "memories": state.index.count("memory"),
        "assemblies": state.index.count("assembly"),
        "vectors": state.vectors.count("memory"),
        "assembly_composites": state.vectors.count("assembly"),
        "expired": state.index.expiry.count(state.clock.micros()),
        "vector_search": state.vectors.trainer.statistics("memory"),
        "composite_search": state.vectors.trainer.statistics("assembly"),
        "sequence": journal.last_sequence if journal else state.index.position.sequence,
        "checkpointed_through": journal.checkpointed_through if journal else state.index.position.sequence,
        "journal_segments": journal.segment_count if journal else 0,
        "waiting_files": state.overlay.waiting if journal else 0,
        "waiting_bytes": state.overlay.waiting_bytes if journal else 0,
        "unconverted_files": len(state.conversion.pending) if state.conversion else 0,
        "pending_files": len(state.overlay.stuck),
        "pending_bytes": state.overlay.stuck_bytes,
        "read_only": state.read_only_reason or None,
        "last_error": state.last_error or None,
        "cache": asdict(state.cache.stats()),
        "since_open": asdict(state.counters),
        "opened_at": format_time(from_micros(state.opened_micros)),
        "notes": [finding.to_dict() for finding in state.notes],
    }
