"""Converts entity files to the model that the store has changed to, a few at a time, while it serves and saves.

It is not the change itself (`reembedding`): that is decided before the first file is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from synthians_memory.codec import Version
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.conversion import Conversion
from synthians_memory.engine.part_files import Series, list_series, remove_series
from synthians_memory.engine.records import Key
from synthians_memory.engine.state import StoreState
from synthians_memory.layout import ENTITY_FOLDERS, entity_path
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import EntryStat

__all__ = ["Converter"]

_AT_ONCE: Final = 64


class Converter:
    """Works off the conversion of one store; used by one thread, the writer."""

    def __init__(self, state: StoreState, committer: Committer, checkpointer: Checkpointer) -> None:
        self._state = state
        self._committer = committer
        self._checkpointer = checkpointer

    def convert(self, most: int) -> int:
        """Write up to `most` entity files, and end the conversion behind the last one; returns how many it saw to.

        A conversion that has ended, and a store that may not be written to, leave nothing to do: 0.

        Raises:
            DiskError: a file could not be written, or the end not be recorded. Nothing is lost: the staged versions
                stand until then.
        """
        state, conversion = self._state, self._state.conversion
        if conversion is None or state.read_only_reason or state.vanished:
            return 0
        due = list(islice(conversion.pending, most))
        for start in range(0, len(due), _AT_ONCE):
            self._convert_part(conversion, due[start : start + _AT_ONCE])
        if not conversion.pending:
            self._end(conversion)
        return max(1, len(due))

    def _convert_part(self, conversion: Conversion, keys: Sequence[Key]) -> None:
        state = self._state
        versions: list[Version] = []
        for key in keys:
            version = None if state.overlay.get(key)[0] else state.staged_version(key)
            if version is None:
                # A later version was saved, or the entity deleted: what is staged counts no more.
                if state.is_decided(key) and not state.overlay.get(key)[0]:
                    message = "its version with the new embedding is not intact; the file keeps the one before"
                    state.notes.append(Finding("staged_damaged", message, entity_path(*key), *key))
                conversion.pending.pop(key)
            else:
                versions.append(version)
        for kind in ENTITY_FOLDERS:
            self._write(conversion, [version for version in versions if version.kind == kind])

    def _write(self, conversion: Conversion, versions: Sequence[Version]) -> None:
        """Few calls for files that are as they were seen; whatever else is there is looked at one by one."""
        state = self._state
        plain = [version for version in versions if conversion.pending.get(_key(version)) is not None]
        for kind in {version.kind for version in plain}:
            files = [(version.entity_id, version.data, conversion.pending[_key(version)]) for version in plain]
            for version, outcome in zip(plain, state.files.write_many(kind, files), strict=True):
                if isinstance(outcome, EntryStat):
                    state.index.note_stat(_key(version), version.hash, outcome)
                    conversion.pending.pop(_key(version))
        for version in versions:
            key = _key(version)
            if key in conversion.pending:
                self._committer.applier.place(key, version, conversion.hashes(key))
                conversion.pending.pop(key)

    def _end(self, conversion: Conversion) -> None:
        """Every file holds its version: make that durable, then record it, then remove what was staged."""
        state = self._state
        self._checkpointer.run()
        if state.superblock.staged is not None:
            state.change_superblock(mandatory_features=(), staged=None)
        if state.journal is not None:
            # A superblock that is lost from here on is rebuilt from this header.
            state.journal.start_segment(state.journal.checkpointed_through)
        state.conversion = None
        kept = Series(state.superblock.previous.token, "previous") if state.superblock.previous else None
        remove_series(state.backend, [one for one in list_series(state.backend) if one != kept])


def _key(version: Version) -> Key:
    return version.kind, version.entity_id
