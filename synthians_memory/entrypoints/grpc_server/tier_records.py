"""Records of the tiers as messages, and back.

Which fields there are is said by the messages: a field `X_json` is the column X as JSON, any other the column of its name.
It knows no call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar, cast

from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import json_bytes
from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue, parse_strict
from synthians_memory.tiers.collections import SearchResult
from synthians_memory.tiers.context import AssembledContext, ContextChunk
from synthians_memory.tiers.operational import ActiveTask, SystemSnapshot
from synthians_memory.tiers.records import Event, Record

__all__ = [
    "context_from",
    "context_message",
    "fill",
    "optional_json",
    "record_from",
    "result_messages",
    "results_from",
    "sent_record",
    "snapshot_from",
    "snapshot_message",
]

R = TypeVar("R", bound=Record)
M = TypeVar("M")

_JSON: Final = "_json"


def fill(message: M, columns: Mapping[str, Any]) -> M:
    """`message` with the columns of a record; those that are None stay absent."""
    known = message.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]
    for name, value in columns.items():
        if value is None:
            continue
        if name in known:
            setattr(message, name, value)
        else:
            setattr(message, name + _JSON, json_bytes(value))
    return message


def sent_record(request: Any, name: str, kind: type[R]) -> R:
    """The record that a request brings in its field `name`. Raises InvalidValueError without it, and as `record_from`."""
    if not request.HasField(name):
        raise InvalidValueError(f"the request has no {name}", hint=f"Set its field {name}.")
    return record_from(getattr(request, name), kind)


def record_from(message: Any, kind: type[R]) -> R:
    """The record in `message`; what is absent there, the record's own default is taken for.

    Raises:
        InvalidValueError, InvalidTypeError, InvalidIdError: by the field that is wrong.
    """
    return kind.from_dict(_given(message))


def _given(message: Any) -> dict[str, JsonValue]:
    """Column -> value of what is present in `message`."""
    given: dict[str, JsonValue] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        absent = not message.HasField(field.name) if field.has_presence else value == b""
        if absent:
            continue
        if field.name.endswith(_JSON):
            given[field.name.removesuffix(_JSON)] = parse_strict(value, field.name)
        else:
            given[field.name] = value
    return given


def optional_json(message: Any, field: str) -> JsonValue:
    """The JSON value in a field; None where it is absent. Raises InvalidValueError."""
    return parse_strict(getattr(message, field), field) if message.HasField(field) else None


def snapshot_message(snapshot: SystemSnapshot) -> wire.GetSystemSnapshotResponse:
    """How things stand, as an answer."""
    return wire.GetSystemSnapshotResponse(
        events=[fill(wire.Event(), event.to_dict()) for event in snapshot.events],
        metrics=snapshot.metrics,
        active_tasks=[fill(wire.ActiveTask(), asdict(task)) for task in snapshot.active_tasks],
        counts=snapshot.counts,
        taken_at=snapshot.taken_at,
    )


def snapshot_from(message: wire.GetSystemSnapshotResponse) -> SystemSnapshot:
    """How things stand, in an answer."""
    tasks = (_given(task) for task in message.active_tasks)
    return SystemSnapshot(
        events=tuple(record_from(event, Event) for event in message.events),
        metrics=dict(sorted(message.metrics.items())),
        active_tasks=tuple(ActiveTask(**{"agent": None, **cast(Any, task)}) for task in tasks),
        counts=dict(message.counts),
        taken_at=message.taken_at,
    )


def result_messages(results: Iterable[SearchResult]) -> list[wire.SearchResult]:
    """What a search found, in its order."""
    return [fill(wire.SearchResult(), _columns(result)) for result in results]


def results_from(messages: Iterable[wire.SearchResult]) -> list[SearchResult]:
    """What a search found, in its order."""
    return [SearchResult(**cast(Any, _given(message))) for message in messages]


def _columns(result: SearchResult) -> JsonObject:
    return {
        "collection": result.collection,
        "id": result.id,
        "content": result.content,
        "relevance": result.relevance,
        "metadata": result.metadata,
    }


def context_message(context: AssembledContext) -> wire.AssembleContextResponse:
    """Assembled context, as an answer."""
    return wire.AssembleContextResponse(
        chunks=[fill(wire.ContextChunk(), asdict(chunk)) for chunk in context.chunks],
        total_tokens=context.total_tokens,
        max_tokens=context.max_tokens,
    )


def context_from(message: wire.AssembleContextResponse) -> AssembledContext:
    """Assembled context, in an answer."""
    return AssembledContext(
        chunks=tuple(ContextChunk(**cast(Any, _given(chunk))) for chunk in message.chunks),
        total_tokens=message.total_tokens,
        max_tokens=message.max_tokens,
    )
