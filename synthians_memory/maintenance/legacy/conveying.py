"""Entities of another program on their way into an open store: by chunks, and what cannot go in is kept beside.

It does not know where they come from; and an interruption needs no record, since what is stored already is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from synthians_memory.engine.import_chunk import Chunk, ChunkImporter, ImportOptions
from synthians_memory.engine.session import Session
from synthians_memory.engine.store import Store
from synthians_memory.errors import ConflictError, DiskError
from synthians_memory.maintenance.legacy.conversion import Converted
from synthians_memory.maintenance.legacy.kept import KeptBeside, Pieces, digest_of, printable
from synthians_memory.maintenance.legacy.report import MOST_NOTES, LegacyNote, LegacyReport, NotImported

__all__ = ["Conveyor", "Failure", "Item", "convey"]

_MOST_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """One entity, and where it comes from.

    Attributes:
        path: in the source.
        converted: the entity.
        pieces: its bytes as they are in the source.
    """

    path: str
    converted: Converted
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that cannot be stored.

    Attributes:
        problem: what and why; its path as it is in the source.
        pieces: its bytes; None for what has none.
    """

    problem: NotImported
    pieces: Pieces | None


class Conveyor:
    """One import; one chunk at a time is under way.

    Attributes:
        skipped: entities of the source that are there twice, with equal content.
        ignored: files that hold nothing of their own.
        dry_run: whether nothing is to be changed.
    """

    def __init__(
        self, store: Store, options: ImportOptions, source: str, things: Iterator[Item | Failure], *, dry_run: bool
    ) -> None:
        self.skipped = 0
        self.ignored: list[str] = []
        self._chunks = ChunkImporter(store, options)
        self._most = options.chunk
        # Two such fit into a batch, whatever is added to each.
        self._bound = store.state.config.max_batch_bytes // 3
        self._things = things
        self._kept = KeptBeside(store.state.backend, store.state.clock, source)
        self.dry_run = dry_run
        self._items: list[Item] = []
        self._failures: list[Failure] = []
        self._chunk: Chunk | None = None
        self._imported = self._overwritten = self._note_count = 0
        self._not_imported: list[NotImported] = []
        self._notes: list[LegacyNote] = []

    def run(self) -> LegacyReport:
        """Import everything in this thread, which is the writer's. Raises DiskError."""
        while self.prepare():
            self.store()
        return self.report

    @property
    def report(self) -> LegacyReport:
        """What was done so far."""
        return LegacyReport(
            self._imported,
            self.skipped,
            self._overwritten,
            tuple(self._not_imported),
            tuple(self._notes),
            self._note_count,
            tuple(self.ignored),
            self.dry_run,
        )

    def prepare(self) -> bool:
        """Read and encode the next chunk, in any thread; changes nothing. False where nothing is left."""
        self._items, self._failures, size = [], [], 0
        for thing in islice(self._things, self._most):
            if isinstance(thing, Failure):
                self._failures.append(thing)
                continue
            length = len(thing.converted.line())
            if length > self._bound:
                reason = f"it has {length} bytes, and a third of that which a batch may have is {self._bound}; raise max_batch_bytes"
                self._failures.append(Failure(NotImported(thing.path, "too_large", reason), thing.pieces))
                continue
            self._items.append(thing)
            size += length
            if size >= min(_MOST_BYTES, self._bound):
                break
        self._chunks.begin()
        self._chunk = self._chunks.prepare(self._lines())
        return bool(self._items or self._failures)

    def _lines(self) -> list[tuple[int, bytes]]:
        return [(number, item.converted.line()) for number, item in enumerate(self._items)]

    def store(self) -> None:
        """Store the chunk that was prepared, in the writer's thread, and keep beside it what cannot be stored.

        Raises:
            DiskError: the disk refuses; the same import goes on from here.
        """
        chunk = self._chunk or Chunk([], 0, 0, [])
        if not self.dry_run:
            try:
                self._chunks.commit(chunk)
            except ConflictError:
                # Somebody saved one of them after the chunk was prepared; in this thread nobody can.
                chunk = self._chunks.prepare_and_commit(self._lines())
        for problem in chunk.problems:
            item = self._items[problem.line]
            self._failures.append(Failure(NotImported(item.path, problem.code, problem.reason), item.pieces))
        for failure in self._failures:
            self._not_imported.append(self._set_aside(failure))
        self._count(chunk)

    def _set_aside(self, failure: Failure) -> NotImported:
        found, pieces = failure.problem, failure.pieces
        shown, reason = printable(found.path), found.reason
        if self.dry_run:
            return NotImported(shown, found.code, reason)
        try:
            digest = digest_of(found.path, pieces)
        except DiskError as error:
            pieces, reason = None, f"{reason}; its bytes cannot be read ({error.message})"
            digest = digest_of(found.path, None)
        kept = self._kept.keep(found.path, pieces, digest, reason)
        return NotImported(shown, found.code, reason, kept)

    def _count(self, chunk: Chunk) -> None:
        self._imported += len(chunk.operations)
        self._overwritten += chunk.overwritten
        self.skipped += chunk.skipped
        failed = {problem.line for problem in chunk.problems}
        for number, item in enumerate(self._items):
            if number not in failed:
                found = [LegacyNote(printable(item.path), printable(note)) for note in item.converted.notes]
                self._note_count += len(found)
                self._notes += found[: MOST_NOTES - len(self._notes)]


async def convey(
    session: Session, conveyor: Conveyor, *, embeds: bool, progress: Callable[[LegacyReport], None] | None
) -> LegacyReport:
    """As `Conveyor.run`, while others use the store: reading and encoding in a thread, storing in the writer's."""
    prepare = session.in_embedding_thread if embeds else session.in_thread
    while await prepare(conveyor.prepare):
        # A store that is open read-only has no writer, and a dry run needs none.
        await (session.in_thread if conveyor.dry_run else session.in_writer)(conveyor.store)
        if progress is not None:
            progress(conveyor.report)
    return conveyor.report
