"""Entities and reports as messages of the service, and back; the one place that knows both forms.

It is not a store, nor the connection: values come in and go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import orjson

from synthians_memory.engine.commit import ABSENT, Absent, Expected
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue, parse_strict
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector
from synthians_memory.reports import Finding, RecallHit, RecallMode, RecallParts, RepairReport, SearchHit
from synthians_memory.times import from_micros, to_micros

__all__ = [
    "assembly_from",
    "assembly_message",
    "expectation",
    "expected_from",
    "filter_bytes",
    "filter_from",
    "finding_from",
    "finding_message",
    "json_bytes",
    "json_from",
    "kind_from",
    "kind_message",
    "memory_from",
    "memory_message",
    "recall_hit",
    "recall_message",
    "repair_message",
    "repair_report",
    "search_hit",
    "search_message",
    "stamp_message",
    "stamped",
]

_KINDS: Final[dict[int, Kind]] = {
    wire.KIND_UNSPECIFIED: "memory",
    wire.KIND_MEMORY: "memory",
    wire.KIND_ASSEMBLY: "assembly",
}
_KIND_MESSAGES: Final[dict[Kind, wire.Kind]] = {"memory": wire.KIND_MEMORY, "assembly": wire.KIND_ASSEMBLY}

# The fields of an entity, by the way they travel. An empty list stands for no vector: no vector is empty.
_PLAIN: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("memory_id", "content", "quickrecal_score", "access_count"),
    "assembly": (
        "assembly_id",
        "name",
        "description",
        "activation_level",
        "activation_count",
        "access_count",
        "is_active",
    ),
}
_LISTS: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("tags",),
    "assembly": ("members", "keywords", "tags", "topics", "merged_from"),
}
_TIMES: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("created_at", "quickrecal_updated", "last_access_time", "expires_at", "updated_at"),
    "assembly": ("created_at", "last_access_time", "last_activation", "vector_index_updated_at", "updated_at"),
}
_OBJECTS: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("metadata", "extra"),
    "assembly": ("metadata", "emotion_profile", "extra"),
}
_VECTORS: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("hyperbolic_embedding", "embedding"),
    "assembly": ("hyperbolic_embedding", "composite_embedding"),
}
# What a save may leave to the store.
_LEFT_OUT: Final = ("memory_id", "assembly_id")
_OPTIONAL: Final = ("quickrecal_score", "is_active")


def memory_message(entry: MemoryEntry) -> wire.Memory:
    """`entry` as a message, every field of it."""
    message = wire.Memory()
    _fill(message, entry)
    return message


def assembly_message(assembly: MemoryAssembly) -> wire.Assembly:
    """`assembly` as a message, every field of it."""
    message = wire.Assembly()
    _fill(message, assembly)
    return message


def memory_from(message: wire.Memory) -> MemoryEntry:
    """The memory in `message`. Raises InvalidValueError, InvalidTypeError by the field that is wrong."""
    return MemoryEntry(**_fields(message, "memory"))


def assembly_from(message: wire.Assembly) -> MemoryAssembly:
    """The assembly in `message`; raises as `memory_from`."""
    return MemoryAssembly(**_fields(message, "assembly"))


def _fill(message: Any, entity: Entity) -> None:
    kind, state = entity.kind, entity.__dict__
    for name in _PLAIN[kind]:
        setattr(message, name, state[name])
    for name in _LISTS[kind]:
        getattr(message, name).extend(state[name])
    for name in _TIMES[kind]:
        if state[name] is not None:
            setattr(message, name, to_micros(state[name]))
    for name in _OBJECTS[kind]:
        if state[name]:
            setattr(message, f"{name}_json", json_bytes(state[name]))
    for name in _VECTORS[kind]:
        vector: Vector | None = getattr(entity, name)
        if vector is not None:
            getattr(message, name).extend(vector.tolist())
    message.content_hash = state["content_hash"] or ""


def _fields(message: Any, kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _PLAIN[kind]:
        value = getattr(message, name)
        if not ((name in _LEFT_OUT and not value) or (name in _OPTIONAL and not message.HasField(name))):
            found[name] = value
    for name in _LISTS[kind]:
        found[name] = tuple(getattr(message, name))
    for name in _TIMES[kind]:
        if message.HasField(name):
            found[name] = from_micros(getattr(message, name))
    for name in _OBJECTS[kind]:
        found[name] = json_from(getattr(message, f"{name}_json"), name)
    for name in _VECTORS[kind]:
        values = getattr(message, name)
        if values:
            found[name] = list(values)
    found["content_hash"] = message.content_hash or None
    return found


def json_bytes(value: JsonValue) -> bytes:
    """A JSON value that was checked before, as bytes."""
    return orjson.dumps(value)


def json_from(data: bytes, what: str) -> JsonValue:
    """The JSON value in `data`, an empty object where there is none. Raises InvalidValueError."""
    return parse_strict(data, what) if data else {}


def filter_bytes(where: JsonObject | None) -> bytes:
    """A filter that was checked before, as bytes; none is no bytes."""
    return b"" if where is None else orjson.dumps(where)


def filter_from(data: bytes) -> JsonObject | None:
    """The filter in `data`; the store judges it. Raises InvalidValueError for what is no JSON."""
    return cast("JsonObject | None", parse_strict(data, "where")) if data else None


def kind_message(kind: Kind) -> wire.Kind:
    """`kind` as its number."""
    return _KIND_MESSAGES[kind]


def kind_from(number: int) -> Kind:
    """The kind with that number. Raises InvalidValueError."""
    kind = _KINDS.get(number)
    if kind is None:
        raise InvalidValueError(f"kind is {number}", hint="Send KIND_MEMORY or KIND_ASSEMBLY.")
    return kind


def expectation(expected: Expected) -> wire.Expectation | None:
    """`expected_updated_at`, checked before, as a message."""
    if expected is None:
        return None
    if isinstance(expected, Absent):
        return wire.Expectation(absent=True)
    return wire.Expectation(updated_at=to_micros(expected))


def expected_from(message: Any) -> Expected:
    """What the message's field `expected` says the store must hold. Raises InvalidValueError."""
    if not message.HasField("expected"):
        return None
    which = message.expected.WhichOneof("stored")
    if which == "updated_at":
        return from_micros(message.expected.updated_at)
    if which == "absent" and message.expected.absent:
        return ABSENT
    raise InvalidValueError("expected says nothing", hint="Set its updated_at, or absent to true, or leave it out.")


def stamp_message(entity: Entity) -> wire.Stamp:
    """What the store has stamped on `entity`, which is as stored."""
    state = entity.__dict__
    return wire.Stamp(
        kind=kind_message(entity.kind),
        id=entity.entity_id,
        created_at=to_micros(state["created_at"]),
        updated_at=to_micros(state["updated_at"]),
        content_hash=state["content_hash"],
    )


def stamped(entry: MemoryEntry, stamp: wire.Stamp) -> MemoryEntry:
    """`entry`, which was sent, as it is stored; shares nothing mutable with it."""
    return entry.detached(updated_at=from_micros(stamp.updated_at), content_hash=stamp.content_hash)


def search_message(hits: Iterable[SearchHit]) -> wire.SearchResponse:
    """Hits as the answer to one query."""
    return wire.SearchResponse(
        hits=[wire.SearchHit(id=hit.memory_id, score=hit.score, kind=kind_message(hit.kind)) for hit in hits]
    )


def search_hit(message: wire.SearchHit) -> SearchHit:
    """One hit of a search."""
    return SearchHit(message.id, message.score, kind_from(message.kind))


def recall_message(hits: Sequence[RecallHit], damaged: Sequence[wire.ErrorDetail]) -> wire.RecallResponse:
    """Recalled memories, and what stands for those that cannot be served, as an answer."""
    return wire.RecallResponse(
        hits=[
            wire.RecallHit(
                memory=memory_message(hit.entry),
                score=hit.score,
                parts=wire.RecallParts(**{name: getattr(hit.parts, name) for name in _PARTS}),
                mode=hit.mode,
            )
            for hit in hits
        ],
        damaged=damaged,
    )


_PARTS: Final = ("text", "neighbours", "vector", "recency", "importance")


def recall_hit(message: wire.RecallHit) -> RecallHit:
    """One recalled memory."""
    parts = message.parts
    vector = parts.vector if parts.HasField("vector") else None
    return RecallHit(
        memory_from(message.memory),
        message.score,
        RecallParts(parts.text, parts.neighbours, vector, parts.recency, parts.importance),
        cast(RecallMode, message.mode),
    )


def finding_message(finding: Finding) -> wire.Finding:
    """One finding of a check, with its severity and what a repair would do."""
    return wire.Finding(
        code=finding.code,
        message=finding.message,
        path=finding.path,
        kind=wire.KIND_UNSPECIFIED if finding.kind is None else kind_message(finding.kind),
        entity_id=finding.entity_id or "",
        severity=finding.severity,
        action=finding.action,
    )


def finding_from(message: wire.Finding) -> Finding:
    """One finding of a check."""
    kind = kind_from(message.kind) if message.kind else None
    return Finding(message.code, message.message, message.path, kind, message.entity_id or None)


def repair_message(report: RepairReport) -> wire.RepairReport:
    """What a repair found and did."""
    return wire.RepairReport(
        findings=map(finding_message, report.findings),
        actions=report.actions,
        remaining=map(finding_message, report.remaining),
        quarantined=report.quarantined,
        dry_run=report.dry_run,
    )


def repair_report(message: wire.RepairReport) -> RepairReport:
    """What a repair found and did."""
    return RepairReport(
        tuple(map(finding_from, message.findings)),
        tuple(message.actions),
        tuple(map(finding_from, message.remaining)),
        tuple(message.quarantined),
        message.dry_run,
    )
