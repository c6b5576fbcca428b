"""Import and export of JSONL: many entities, a chunk at a time.

It is not the file that is read or written (`storage.streams`), nor the form of a line (`codec`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from synthians_memory.engine.import_chunk import Chunk, ChunkImporter, ImportOptions, Wanted, operations_of
from synthians_memory.engine.session import Session
from synthians_memory.errors import ConflictError
from synthians_memory.reports import ImportReport
from synthians_memory.storage.streams import read_lines

__all__ = ["ImportOptions", "Importer"]

T = TypeVar("T")

_MOST_PROBLEMS: Final = 1000
# Lines that are parsed, or entities that are encoded, in one go: some milliseconds.
_PART: Final = 48
_MOST_CHUNK_BYTES: Final = 32 * 1024 * 1024


class Importer:
    """One import into one store."""

    def __init__(
        self, session: Session, options: ImportOptions, progress: Callable[[ImportReport], None] | None
    ) -> None:
        self._session = session
        self._options = options
        self._progress = progress
        self._report = ImportReport()
        self._chunks = ChunkImporter(session.store, options)

    async def run(self, source: str | os.PathLike[str] | AsyncIterator[list[bytes]]) -> ImportReport:
        """Store everything; see `Persistence.import_memories`."""
        lines = read_lines(source) if isinstance(source, str | os.PathLike) else source
        # A generator that is left open would be closed by the loop, at the same time as what it reads from.
        async with aclosing(lines) if isinstance(lines, AsyncGenerator) else nullcontext():
            return await self._store_all(lines)

    async def _store_all(self, lines: AsyncIterator[list[bytes]]) -> ImportReport:
        number, waiting, size = 0, list[tuple[int, bytes]](), 0
        async for part in lines:
            for data in part:
                number += 1
                if data.strip():
                    waiting.append((number, data))
                    size += len(data)
                if len(waiting) >= self._options.chunk or size >= _MOST_CHUNK_BYTES:
                    await self._store(waiting)
                    waiting, size = [], 0
        if waiting:
            await self._store(waiting)
        return self._report

    async def _store(self, lines: Sequence[tuple[int, bytes]]) -> None:
        self._chunks.begin()
        chunk = await self._prepared(lines)
        try:
            await self._session.commit(chunk.operations, self._chunks.vectors)
        except ConflictError:
            # Somebody saved an entity of this chunk after it was found missing. In the writer's thread nobody can.
            chunk = await self._session.in_writer(lambda: self._chunks.prepare_and_commit(lines))
        report = self._report
        self._report = replace(
            report,
            imported=report.imported + len(chunk.operations),
            skipped=report.skipped + chunk.skipped,
            overwritten=report.overwritten + chunk.overwritten,
            problems=(*report.problems, *chunk.problems)[:_MOST_PROBLEMS],
            problem_count=report.problem_count + len(chunk.problems),
        )
        if self._progress is not None:
            self._progress(self._report)

    async def _prepared(self, lines: Sequence[tuple[int, bytes]]) -> Chunk:
        """As `ChunkImporter.prepare`, in threads, in parts so short that the event loop is not kept waiting for the interpreter."""
        run = self._session.in_thread
        chunk, wanted = Chunk([], 0, 0, []), list[Wanted]()
        for part in _parts(lines):
            wanted += await run(partial(self._chunks.parse_all, part, chunk))
        embed = run if self._options.embedder is None else self._session.in_embedding_thread
        fresh = await embed(lambda: self._chunks.fresh(wanted, chunk))
        for some in _parts(fresh):
            chunk.operations += await run(partial(operations_of, some))
        return chunk


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _PART] for start in range(0, len(items), _PART))
