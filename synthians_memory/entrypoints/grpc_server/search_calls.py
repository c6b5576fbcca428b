"""The calls of StoreService that find and remember.

It is not the search: each call is one of the facade's, between a message and a message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, cast

from synthians_memory.engine.fusion import Fusion
from synthians_memory.entrypoints.grpc_server.entity_calls import in_thread_if_large
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    filter_from,
    json_from,
    kind_from,
    memory_message,
    recall_message,
    search_message,
)
from synthians_memory.entrypoints.grpc_server.statuses import detail_of
from synthians_memory.errors import InvalidValueError, SynthiansMemoryError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import Vector, as_vector
from synthians_memory.reports import RecallMode

__all__ = ["SearchCalls"]

# About what a hit takes in a message.
_HIT_BYTES: Final = 64
_RECALLED_BYTES: Final = 2048
_WEIGHTS: Final = ("vector_weight", "neighbours", "recency", "half_life", "importance")


class SearchCalls:
    """Calls that find memories and assemblies, and the one that remembers a text.

    Args:
        store: open; its event loop is that of the calls.
    """

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store

    async def Search(self, request: wire.SearchRequest, _context: Any) -> wire.SearchResponse:
        """The nearest; raises as `search`."""
        where, kind = filter_from(request.where_json), kind_from(request.kind)
        hits = await self.store.search(_query(request.query), _k(request), where, kind=kind)
        return await in_thread_if_large(len(hits) * _HIT_BYTES, lambda: search_message(hits))

    async def SearchBatch(self, request: wire.SearchBatchRequest, _context: Any) -> AsyncIterator[wire.SearchResponse]:
        """The nearest to each of many; raises as `search_batch`."""
        where, kind = filter_from(request.where_json), kind_from(request.kind)
        queries = await in_thread_if_large(request.ByteSize(), lambda: [_query(query) for query in request.queries])
        for hits in await self.store.search_batch(queries, _k(request), where, kind=kind):
            yield search_message(hits)

    async def Recall(self, request: wire.RecallRequest, _context: Any) -> wire.RecallResponse:
        """What a text is about; raises as `recall`."""
        damaged: list[wire.ErrorDetail] = []

        def note(error: SynthiansMemoryError) -> None:
            damaged.append(detail_of(error))

        given: dict[str, Any] = {name: getattr(request, name) for name in _WEIGHTS if request.HasField(cast(Any, name))}
        if request.HasField("min_score"):
            given["min_score"] = request.min_score
        if request.HasField("timeout_seconds"):
            given["timeout"] = request.timeout_seconds or None
        hits = await self.store.recall(
            request.text,
            _k(request),
            cast(RecallMode, request.mode or "hybrid"),
            filter_from(request.where_json),
            fusion=cast(Fusion, request.fusion or "score"),
            on_damaged=note,
            **given,
        )
        size = len(hits) * _RECALLED_BYTES
        return await in_thread_if_large(size, lambda: recall_message(hits, damaged))

    async def Remember(self, request: wire.RememberRequest, _context: Any) -> wire.RememberResponse:
        """Save a new memory of a text; raises as `remember`."""
        importance = request.importance if request.HasField("importance") else None
        metadata = json_from(request.metadata_json, "metadata")
        stored = await self.store.remember(request.text, tuple(request.tags), importance, metadata)
        return wire.RememberResponse(memory=memory_message(stored))


def _k(request: Any) -> int:
    return int(request.k) if request.HasField("k") else 10


def _query(query: wire.Query) -> Vector | str:
    which = query.WhichOneof("query")
    if which == "text":
        return query.text
    if which == "vector":
        return as_vector(list(query.vector.values), "query")
    raise InvalidValueError("there is no query", hint="Send a text or a vector.")
