"""What a remote store finds and remembers.

It embeds nothing: texts go to the service, whose store has the embedder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from synthians_memory.engine.filters import parse_where
from synthians_memory.engine.fusion import Fusion
from synthians_memory.engine.searching import checked_recall, entry_to_remember, require_positive
from synthians_memory.entrypoints.grpc_client.connection import FOREVER, Connection
from synthians_memory.entrypoints.grpc_client.remote_entities import pieces
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    filter_bytes,
    json_bytes,
    kind_message,
    memory_from,
    recall_hit,
    search_hit,
)
from synthians_memory.entrypoints.grpc_server.statuses import restored
from synthians_memory.errors import InvalidTypeError, InvalidValueError, NotStoredError, SynthiansMemoryError
from synthians_memory.json_values import checked_text
from synthians_memory.layout import Kind
from synthians_memory.models import MemoryEntry, Vector, as_vector
from synthians_memory.reports import RecallHit, RecallMode, SearchHit

__all__ = ["RemoteSearches"]

_MOST_K: Final = 2**63 - 1
_PIECE_BYTES: Final = 1 << 20


class RemoteSearches:
    """Searches of a remote store.

    Attributes:
        connection: to the service.
    """

    connection: Connection

    async def search(
        self,
        query: Vector | Sequence[float] | str,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        kind: Kind = "memory",
    ) -> list[SearchHit]:
        """As `Persistence.search`; a text needs an embedder of the service's store."""
        given = _checked(k, where, kind)
        response = await self.connection.ask("Search", wire.SearchRequest(query=_query(query), **given), repeat=True)
        return [search_hit(hit) for hit in response.hits]

    async def search_batch(
        self,
        queries: Iterable[Vector | Sequence[float] | str],
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        kind: Kind = "memory",
    ) -> list[list[SearchHit]]:
        """As `MemoryPersistence.search_batch`; the filter is asked once for each MiB of queries."""
        given = _checked(k, where, kind)
        if isinstance(queries, str | bytes):
            raise InvalidTypeError(
                "queries are one text; search_batch takes many", hint="Write [query], or use search."
            )
        messages = [_query(query) for query in queries]
        self.connection.require()
        found: list[list[SearchHit]] = []
        for part in pieces(messages, lambda message: message.ByteSize(), _PIECE_BYTES):
            request = wire.SearchBatchRequest(queries=part, **given)
            responses = await self.connection.gathered("SearchBatch", request)
            found += [[search_hit(hit) for hit in response.hits] for response in responses]
        return found

    async def recall(
        self,
        text: str,
        k: int = 10,
        mode: RecallMode = "hybrid",
        where: Mapping[str, Any] | None = None,
        *,
        min_score: float | None = None,
        timeout: float | None = 5.0,  # noqa: ASYNC109 - it stops the work of the service
        fusion: Fusion = "score",
        vector_weight: float = 0.3,
        neighbours: float = 0.25,
        recency: float = 0.0,
        half_life: float = 30.0,
        importance: float = 0.0,
        on_damaged: Callable[[SynthiansMemoryError], None] | None = None,
    ) -> list[RecallHit]:
        """As `Persistence.recall`; `on_damaged` is called in the event loop, when the answer has come."""
        weights = {
            "vector_weight": vector_weight,
            "neighbours": neighbours,
            "recency": recency,
            "half_life": half_life,
            "importance": importance,
        }
        checked_recall(text, k, mode, where, min_score, fusion, **weights)
        request = wire.RecallRequest(
            text=checked_text(text, "text"),
            k=min(k, _MOST_K),
            mode=mode,
            where_json=filter_bytes(None if where is None else dict(where)),
            min_score=min_score,
            timeout_seconds=0 if timeout is None else timeout,
            fusion=fusion,
            **weights,
        )
        seconds = FOREVER if timeout is None else timeout + self.connection.timeout
        response = await self.connection.ask("Recall", request, repeat=True, timeout=seconds)
        if on_damaged is not None:
            for detail in response.damaged:
                on_damaged(restored(detail))
        return [recall_hit(hit) for hit in response.hits]

    async def remember(
        self,
        text: str,
        tags: Iterable[str] = (),
        importance: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> MemoryEntry:
        """As `MemoryPersistence.remember`; never repeated, since each time is another memory."""
        entry = entry_to_remember(text, tags, importance, metadata)
        request = wire.RememberRequest(
            text=entry.content, tags=entry.tags, importance=importance, metadata_json=json_bytes(entry.metadata)
        )
        try:
            return memory_from((await self.connection.ask("Remember", request, repeat=False)).memory)
        except NotStoredError as error:
            if isinstance(error.entry, MemoryEntry):
                error.entry = entry.replace(memory_id=error.entry.memory_id, created_at=error.entry.created_at)
            raise


def _checked(k: int, where: Mapping[str, Any] | None, kind: Kind) -> dict[str, Any]:
    """What all searches have beside their queries."""
    require_positive("k", k)
    if kind not in ("memory", "assembly"):
        raise InvalidValueError(f"kind is {kind!r}", hint='Write "memory" or "assembly".')
    if where is not None:
        parse_where(where)
    wanted = filter_bytes(None if where is None else dict(where))
    return {"k": min(k, _MOST_K), "where_json": wanted, "kind": kind_message(kind)}


def _query(query: Vector | Sequence[float] | str) -> wire.Query:
    if isinstance(query, str):
        return wire.Query(text=checked_text(query, "query"))
    return wire.Query(vector=wire.Vector(values=as_vector(query, "query").tolist()))
