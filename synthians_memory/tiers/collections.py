"""Collections: rows of the tiers as memories of the one store, so that they are found by what they are about.

It is not where the rows are: they are source, in the databases, and a memory follows its row.

The memory of a row has the id "<collection>-<id of the row>", and in its metadata `collection` and `row_id`. Whatever
else somebody has put into it stays: tags, score, further metadata. A memory that has such an id without that metadata
is somebody's own; it is neither found here nor changed, and a row that needs its id is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import orjson

from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import ABSENT, Expected
from synthians_memory.engine.expiry import unexpired
from synthians_memory.engine.iteration import load_many
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.searching import remember, require_positive
from synthians_memory.engine.session import Session
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.errors import (
    BatchTooLargeError,
    ConflictError,
    InvalidTypeError,
    InvalidValueError,
    SynthiansMemoryError,
)
from synthians_memory.json_values import JsonObject, checked_object, checked_text
from synthians_memory.layout import validate_id
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.tiers.collection_search import Ranked, ranked_members

__all__ = ["COLLECTIONS", "SEARCHED", "Collections", "RowMemory", "SearchResult", "inside", "memory_id_of", "row_of"]

T = TypeVar("T")

COLLECTIONS: Final = ("decisions", "incidents", "procedures", "knowledge")
# Those that are searched unless others are asked for.
SEARCHED: Final = ("decisions", "incidents", "procedures")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of a memory beside its text and metadata, as its file has it; far more than that is.
_ROOM: Final = 64 * 1024
_MOST_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A row that was found through its memory.

    Attributes:
        collection: one of COLLECTIONS.
        id: of the row.
        content: the text of its memory.
        relevance: 0 to 1, higher is better (see `tiers.collection_search`).
        metadata: of the memory.
    """

    collection: str
    id: str
    content: str
    relevance: float
    metadata: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMemory:
    """What the memory of a row has to say. Checked on construction.

    Attributes:
        collection: one of COLLECTIONS.
        row_id: id of the row.
        text: the memory's content.
        created_at: Unix seconds.
        metadata: what is told of the row beside its text; `collection` and `row_id` are added.

    Raises:
        InvalidIdError: collection and id are too long together, or no id.
        InvalidValueError, InvalidTypeError: the memory could not be stored.
    """

    collection: str
    row_id: str
    text: str
    created_at: int
    metadata: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        memory_id_of(self.collection, self.row_id)
        told = {**checked_object(self.metadata, "metadata"), "collection": self.collection, "row_id": self.row_id}
        object.__setattr__(self, "metadata", told)
        checked_text(self.text, "text")
        _ = self.created

    @property
    def memory_id(self) -> str:
        """The id of the memory."""
        return memory_id_of(self.collection, self.row_id)

    @property
    def created(self) -> datetime:
        """When the row was made, in UTC."""
        try:
            return _EPOCH + timedelta(seconds=self.created_at)
        except (OverflowError, TypeError) as error:
            raise InvalidValueError(
                f"{self.memory_id}: {self.created_at!r} is no time in Unix seconds between the years 1 and 9999"
            ) from error

    def is_told_by(self, entry: MemoryEntry) -> bool:
        """Whether `entry` says all this already, and does not expire."""
        told = all(key in entry.metadata and _equal(entry.metadata[key], v) for key, v in self.metadata.items())
        same = entry.content == self.text and entry.created_at == self.created
        return told and same and entry.expires_at is None

    def told_in(self, present: MemoryEntry | None) -> MemoryEntry:
        """The memory, made of the `present` one where there is one."""
        if present is None:
            return MemoryEntry(
                memory_id=self.memory_id, content=self.text, created_at=self.created, metadata=self.metadata
            )
        metadata = {**present.metadata, **self.metadata}
        return present.replace(content=self.text, created_at=self.created, metadata=metadata, expires_at=None)


def _equal(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def memory_id_of(collection: str, row_id: str) -> str:
    """The id of a row's memory.

    Raises:
        InvalidValueError: there is no such collection.
        InvalidIdError: the two are too long together, or the row's is no id.
    """
    if collection not in COLLECTIONS:
        raise InvalidValueError(f"there is no collection {collection!r}", hint=f"There are {', '.join(COLLECTIONS)}.")
    return validate_id(f"{collection}-{validate_id(row_id, 'id')}", f"the id of the memory of {collection} {row_id!r}")


def row_of(entry: MemoryEntry) -> tuple[str, str] | None:
    """Collection and row id of a memory of a collection; None for any other memory."""
    collection, row_id = entry.metadata.get("collection"), entry.metadata.get("row_id")
    if collection in COLLECTIONS and isinstance(row_id, str) and entry.memory_id == f"{collection}-{row_id}":
        return str(collection), row_id
    return None


def inside(store: Persistence) -> tuple[Session, Embedder | None]:
    """The session of an open store, and the embedder it was opened with; raises StoreClosedError."""
    return store._opened(), store._embedder  # noqa: SLF001 - the tiers work in the threads of the store


class Collections:
    """The collections of one open store; used in its event loop, by any number of tasks."""

    def __init__(self, store: Persistence) -> None:
        self._store = store
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def store(self) -> Persistence:
        """Where the memories are."""
        return self._store

    # Writing

    async def store_row(self, wanted: RowMemory, write: Callable[[], Awaitable[T]]) -> T:
        """Write a row, and when it is durable its memory; returns what `write` returns.

        Rows of one id are written one after the other, so that the memory is that of the last. Whoever is cancelled
        leaves both to be written. Where only the memory fails, the row is stored, and the memory is made when the
        tiers are opened again.

        Args:
            wanted: the memory.
            write: writes the row, durably.

        Raises:
            ConflictError: somebody's own memory has the id; nothing was written.
            BatchTooLargeError: the memory is longer than the store takes; nothing was written.
            DamagedFileError, ChangedOutsideError: the file of the memory is at fault; the row is stored.
            SynthiansMemoryError: as `write`, and as a save.
        """
        return await self._shielded(self._written(wanted, write))

    async def put(
        self, collection: str, row_id: str, text: str, metadata: Mapping[str, Any], created_at: int
    ) -> MemoryEntry:
        """Make the memory of a row say this, where it does not yet; returns it as stored.

        Raises:
            InvalidIdError, InvalidValueError, InvalidTypeError: it could not be stored.
            ConflictError, BatchTooLargeError: as `store_row`.
            DamagedFileError, ChangedOutsideError: the file of the memory is at fault; repair the store first.
        """
        wanted = RowMemory(
            collection=collection, row_id=row_id, text=text, metadata=dict(metadata), created_at=created_at
        )
        return await self.follow(wanted)

    async def follow(self, wanted: RowMemory) -> MemoryEntry:
        """As `put`."""
        return await self._shielded(self._followed(wanted))

    async def follow_row(self, memory_id: str, read: Callable[[], Awaitable[RowMemory | None]]) -> MemoryEntry | None:
        """As `put`, of what `read` gives while nobody writes that row through here; None, and nothing done, where it gives None."""
        return await self._shielded(self._followed_row(memory_id, read))

    async def remove(self, collection: str, row_id: str) -> bool:
        """Delete the memory of a row that is gone; True if it was there.

        Raises:
            ConflictError: it is somebody's own memory.
        """
        memory_id = memory_id_of(collection, row_id)
        async with self._turn(memory_id):
            present = await self._present(memory_id)
            if present is None:
                return False
            _require_of_row(present, memory_id)
            return await self._store.delete_memory(memory_id, expected_updated_at=present.updated_at)

    async def settle(self) -> None:
        """Return when what cancelled callers have left is written, or has failed."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _shielded(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Whoever was cancelled does not ask for it.
            task.exception()

    def _turn(self, memory_id: str) -> asyncio.Lock:
        return self._turns.setdefault(memory_id, asyncio.Lock())

    async def _written(self, wanted: RowMemory, write: Callable[[], Awaitable[T]]) -> T:
        async with self._turn(wanted.memory_id):
            self._require_room(wanted)
            # A file that is damaged keeps nobody from storing the row.
            with suppress(*UNSERVABLE):
                await self._present_of(wanted)
            row = await write()
            await self._brought_up(wanted)
            return row

    async def _followed(self, wanted: RowMemory) -> MemoryEntry:
        async with self._turn(wanted.memory_id):
            self._require_room(wanted)
            return await self._brought_up(wanted)

    async def _followed_row(
        self, memory_id: str, read: Callable[[], Awaitable[RowMemory | None]]
    ) -> MemoryEntry | None:
        async with self._turn(memory_id):
            wanted = await read()
            if wanted is None:
                return None
            self._require_room(wanted)
            return await self._brought_up(wanted)

    def _require_room(self, wanted: RowMemory) -> None:
        session, _ = inside(self._store)
        # As JSON, where what is escaped takes more.
        size, most = len(orjson.dumps([wanted.text, wanted.metadata])), session.store.state.config.max_batch_bytes
        if size + _ROOM > most:
            raise BatchTooLargeError(
                f"the memory of {wanted.collection} {wanted.row_id!r} has {size:,} bytes, the store takes {most:,} at once",
                hint="Make it shorter, or open the store with a larger max_batch_bytes.",
            )

    async def _brought_up(self, wanted: RowMemory) -> MemoryEntry:
        for _ in range(_MOST_ATTEMPTS):
            present = await self._present_of(wanted)
            if present is not None and wanted.is_told_by(present):
                return present
            # Somebody else may save it meanwhile.
            with suppress(ConflictError):
                return await self._saved(wanted.told_in(present), self._expected(present))
        raise ConflictError(
            f"the memory {wanted.memory_id} is saved by somebody else again and again",
            entity_id=wanted.memory_id,
            stored=None,
        )

    async def _saved(self, entry: MemoryEntry, expected: Expected) -> MemoryEntry:
        session, embedder = inside(self._store)
        return await remember(session, embedder, entry, expected)

    def _expected(self, present: MemoryEntry | None) -> Expected:
        session, _ = inside(self._store)
        if present is None or unexpired(present, session.store.state.clock) is None:
            return ABSENT
        return present.updated_at

    async def _present_of(self, wanted: RowMemory) -> MemoryEntry | None:
        present = await self._present(wanted.memory_id)
        if present is not None:
            _require_of_row(present, wanted.memory_id)
        return present

    async def _present(self, memory_id: str) -> MemoryEntry | None:
        """What is stored, also where it has expired."""
        session, _ = inside(self._store)
        [(_, found)] = await load_many(session, [("memory", memory_id)], expired=True)
        return found if isinstance(found, MemoryEntry) else None

    # Searching

    async def search(
        self,
        query: str,
        collections: Sequence[str] | None = None,
        n_results: int = 5,
        min_relevance: float = 0.0,
    ) -> list[SearchResult]:
        """The rows that `query` is about, best first; of equal relevance by collection and id.

        Args:
            query: anything.
            collections: some of COLLECTIONS; None: SEARCHED.
            n_results: at most so many, at least 1.
            min_relevance: 0 to 1; less relevant ones are left out.

        Raises:
            InvalidValueError, InvalidTypeError: an argument is wrong.
        """
        names = _checked_names(SEARCHED if collections is None else collections)
        checked_text(query, "query")
        require_positive("n_results", n_results)
        _require_share(min_relevance)
        session, embedder = inside(self._store)
        prefixes = tuple(f"{name}-" for name in names)
        count = n_results
        while True:
            ranked, whole = await ranked_members(
                session, embedder, query, lambda memory_id: memory_id.startswith(prefixes), count
            )
            found = await self._results([hit for hit in ranked if hit[1] >= min_relevance], names, n_results)
            if whole or len(found) == n_results or ranked[count - 1][1] < min_relevance:
                return found
            # Some of them were no rows' memories.
            count *= 4

    async def _results(self, ranked: Ranked, names: Sequence[str], count: int) -> list[SearchResult]:
        """The first `count` of `ranked` that are memories of rows and can be served; ids are in the order of collections and rows."""
        session, _ = inside(self._store)
        damaged: list[SynthiansMemoryError] = []
        found: list[SearchResult] = []
        for start in range(0, len(ranked), count):
            part = ranked[start : start + count]
            loaded = dict(await load_many(session, [("memory", i) for i, _ in part], damaged.append))
            results = (_result(loaded.get(("memory", memory_id)), relevance) for memory_id, relevance in part)
            found += [result for result in results if result is not None and result.collection in names]
            if len(found) >= count:
                break
        return found[:count]


def _result(entry: Entity | None, relevance: float) -> SearchResult | None:
    row = row_of(entry) if isinstance(entry, MemoryEntry) else None
    if not isinstance(entry, MemoryEntry) or row is None:
        return None
    return SearchResult(
        collection=row[0], id=row[1], content=entry.content, relevance=relevance, metadata=entry.metadata
    )


def _require_of_row(entry: MemoryEntry, memory_id: str) -> None:
    if row_of(entry) is None:
        raise ConflictError(
            f"the memory {memory_id} is not that of a row; give the row another id, or that memory",
            entity_id=memory_id,
            stored=entry.updated_at,
        )


def _checked_names(collections: Sequence[str]) -> tuple[str, ...]:
    if isinstance(collections, str):
        raise InvalidTypeError("collections must be a list of names, not one string", hint="Write [name].")
    names = tuple(dict.fromkeys(collections))
    unknown = [name for name in names if name not in COLLECTIONS]
    if unknown or not names:
        what = f"there is no collection {unknown[0]!r}" if unknown else "no collection is named"
        raise InvalidValueError(what, hint=f"There are {', '.join(COLLECTIONS)}.")
    return names


def _require_share(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"min_relevance must be a number, not {value!r}")
    if not 0.0 <= value <= 1.0:
        raise InvalidValueError(f"min_relevance is {value}; it must lie in 0..1")
