"""The change of the model: one durable step after which every entity has its new embedding, and the way back.

It is not staging (`stager`) nor the writing of the entity files (`converter`), before and after it.

    everything acknowledged is staged -> a checkpoint -> store.json names the staged versions (this decides) -> a segment
    header repeats it -> memory index, vector index and loads follow in memory -> the views on disk
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.conversion import Conversion
from synthians_memory.engine.index import Rows
from synthians_memory.engine.part_files import Model, Series, remove_series
from synthians_memory.engine.rebuild import reconcile_vectors
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import embedding_hash_of, hash_of, stat_of, with_version
from synthians_memory.engine.stager import Stager
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import (
    REEMBEDDING_FEATURE,
    PreviousModel,
    StagedModel,
    load_superblock,
)
from synthians_memory.engine.vectors import MadeWith
from synthians_memory.errors import DamagedViewError, DiskError, ReadOnlyError

__all__ = ["drop_previous", "present_model", "switch"]


def present_model(state: StoreState) -> Model:
    """The model of the embeddings that the store holds."""
    return Model(state.superblock.embedder, state.superblock.embedding_dimension)


def switch(
    state: StoreState, checkpointer: Checkpointer, stager: Stager, model: Model, made_with: MadeWith
) -> Sequence[Key]:
    """Change to the model that is staged, where everything acknowledged is; called by the writer.

    Returns:
        Whose acknowledged version is not staged, and nothing was done; empty when the model is changed.

    Raises:
        ReadOnlyError: the store takes no writes.
        DiskError: nothing was changed; or, where the disk leaves that open, the store is read-only from here on, and
            the next opening finds either the old or the new model, whole.
    """
    missing = stager.todo()
    if missing:
        return missing
    if state.read_only_reason:
        raise ReadOnlyError(f"the store is read-only: {state.read_only_reason}")
    checkpointer.run()
    for _, stuck in state.overlay.pending():
        raise stuck.error
    _decide(state, stager, model)
    rows, conversion, superseded = _new_rows(state, stager)
    stager.view.made_with = made_with
    state.conversion = conversion
    state.superseded = superseded
    state.index.replace_rows(rows)
    old, state.vectors = state.vectors, stager.view
    old.close()
    state.text.compare_all()
    reconcile_vectors(state)
    if state.journal is not None:
        # A superblock that is lost from here on is rebuilt from this header.
        state.journal.start_segment(state.journal.checkpointed_through)
    checkpointer.run()
    return ()


def _decide(state: StoreState, stager: Stager, model: Model) -> None:
    """Record the change; the one step that decides."""
    before = state.superblock
    old = present_model(state)
    staged = StagedModel(stager.token, *stager.parts, stager.next_vector_id, state.index.position.sequence)
    previous = PreviousModel(stager.token, *stager.previous_parts, old.embedder, old.dimension)
    try:
        state.change_superblock(
            embedder=model.embedder,
            embedding_dimension=model.dimension,
            mandatory_features=(REEMBEDDING_FEATURE,),
            staged=staged,
            previous=previous,
        )
    except DiskError as error:
        if not _is_on_disk(state, before):
            what = f"the change of the model may be durable or not: {error.message}"
            state.read_only_reason = f"{what}; close it and open it again"
        raise


def _is_on_disk(state: StoreState, superblock: object) -> bool:
    try:
        return load_superblock(state.backend) == superblock
    except (DiskError, DamagedViewError):
        return False


def _new_rows(state: StoreState, stager: Stager) -> tuple[Rows, Conversion, dict[Key, bytes]]:
    """The memory index as it is now, what is to be converted, and the embedding hashes that count no more."""
    rows: Rows = {kind: held.copy() for kind, held in state.index.rows.items()}
    pending: dict[Key, tuple[int, int] | None] = {}
    superseded: dict[Key, bytes] = {}
    for key, entry in stager.staged.entries.items():
        row = rows[key[0]].get(key[1])
        if row is None or hash_of(row) != entry.predecessor:
            continue
        rows[key[0]][key[1]] = with_version(row, entry.updated_micros, entry.hash, entry.embedding_hash)
        pending[key] = stat_of(row)
        before = embedding_hash_of(row)
        if before is not None and before != entry.embedding_hash:
            superseded[key] = before
    for stale in stager.staged.entries.keys() - pending.keys():
        del stager.staged.entries[stale]
    return rows, Conversion(stager.staged, pending), superseded


def drop_previous(state: StoreState) -> bool:
    """Give up the way back, and free what it holds; False where there is none. Called by the writer. Raises DiskError."""
    previous = state.superblock.previous
    if previous is None:
        return False
    state.change_superblock(previous=None)
    if state.journal is not None:
        state.journal.start_segment(state.journal.checkpointed_through)
    remove_series(state.backend, [Series(previous.token, "previous")])
    return True
