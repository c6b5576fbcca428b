"""Entities as messages, bit for bit; whatever a message holds, it becomes an entity or the library's error."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import entity_strategies
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory import ABSENT, MemoryAssembly, MemoryEntry
from synthians_memory.codec import encode
from synthians_memory.entrypoints.grpc_server import records
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.reports import Finding, RecallHit, RecallParts, RepairReport, SearchHit
from synthians_memory.testing.store_entity_suite import full_assembly, full_memory

assert Path(entity_strategies.__file__).parent.name == "tests", sys.path


def through_bytes(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def assert_same(one: Any, other: Any) -> None:
    """Equal, and the same bytes on disk: -0.0, 1 and 1.0, the bits of floats."""
    assert other == one
    assert other.content_hash == one.content_hash
    assert encode(other).head == encode(one).head


@given(entity_strategies.memories)
def test_memories_come_back_bit_for_bit(entry: MemoryEntry) -> None:
    assert_same(entry, records.memory_from(through_bytes(records.memory_message(entry))))


@given(entity_strategies.assemblies)
def test_assemblies_come_back_bit_for_bit(assembly: MemoryAssembly) -> None:
    assert_same(assembly, records.assembly_from(through_bytes(records.assembly_message(assembly))))


@pytest.mark.parametrize("entity", [full_memory(), full_assembly()], ids=["memory", "assembly"])
def test_every_field_has_a_place_in_its_message(entity: Any) -> None:
    make = records.memory_message if isinstance(entity, MemoryEntry) else records.assembly_message
    message = make(entity.replace(updated_at=datetime(2026, 1, 1, tzinfo=UTC), content_hash="sha256:x"))
    declared = {field.name for field in message.DESCRIPTOR.fields}
    assert {field.name for field, _ in message.ListFields()} == declared
    names = {name.removesuffix("_json") for name in declared}
    assert names == set(entity.__dataclass_fields__)


def test_what_a_save_may_leave_out() -> None:
    entry = records.memory_from(wire.Memory(content="only"))
    assert (len(entry.memory_id), entry.quickrecal_score, entry.embedding) == (36, 0.5, None)
    group = records.assembly_from(wire.Assembly())
    assert (len(group.assembly_id), group.is_active, group.composite_embedding) == (36, True, None)


BAD_MEMORIES = {
    "no json": wire.Memory(metadata_json=b"{"),
    "no object": wire.Memory(metadata_json=b"[]"),
    "twice": wire.Memory(metadata_json=b'{"a": 1, "a": 2}'),
    "beyond 64 bits": wire.Memory(metadata_json=b'{"a": 18446744073709551616}'),
    "not a number": wire.Memory(embedding=[float("nan")]),
    "infinite": wire.Memory(hyperbolic_embedding=[float("inf")]),
    "after time": wire.Memory(created_at=2**62),
    "before time": wire.Memory(expires_at=-(2**62)),
    "score": wire.Memory(quickrecal_score=1.5),
    "count": wire.Memory(access_count=-1),
    "id": wire.Memory(memory_id="a\nb"),
    "known name": wire.Memory(extra_json=b'{"content": 1}'),
    "deep": wire.Memory(metadata_json=b'{"a":' + b"[" * 100_000),
}


@pytest.mark.parametrize("name", BAD_MEMORIES)
def test_what_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError)):
        records.memory_from(BAD_MEMORIES[name])


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_memory_or_an_error(noise: bytes, place: int, byte: int) -> None:
    whole = bytearray(records.memory_message(full_memory()).SerializeToString())
    whole[place % len(whole)] = byte
    for data in (noise, bytes(whole)):
        with suppress(DecodeError, InvalidValueError, InvalidTypeError):
            records.memory_from(wire.Memory.FromString(data))


def test_expectations() -> None:
    moment = datetime(2026, 11, 20, 12, 0, 0, 7, tzinfo=UTC)
    for expected in (None, ABSENT, moment):
        request = through_bytes(wire.SaveMemoryRequest(expected=records.expectation(expected)))
        assert records.expected_from(request) == expected
    for nothing in (wire.Expectation(), wire.Expectation(absent=False)):
        with pytest.raises(InvalidValueError):
            records.expected_from(wire.SaveMemoryRequest(expected=nothing))


def test_filters_keep_their_meaning() -> None:
    assert records.filter_from(records.filter_bytes(None)) is None
    assert records.filter_from(records.filter_bytes({})) == {}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    where = {"a": {"$in": [1, 1.0, "1", True, None]}, "created_at": {"$lt": moment}}
    assert records.filter_from(records.filter_bytes(where)) == {
        **where,
        "created_at": {"$lt": "2026-01-01T00:00:00+00:00"},
    }
    with pytest.raises(InvalidValueError):
        records.filter_from(b"{")


def test_kinds() -> None:
    assert [records.kind_from(number) for number in (0, 1, 2)] == ["memory", "memory", "assembly"]
    with pytest.raises(InvalidValueError, match="kind is 7"):
        records.kind_from(7)


def test_reports_come_back() -> None:
    one = Finding("file_missing", "gone", "memories/x", "memory", "x")
    two = Finding("scratch", "left", "tmp")
    assert [records.finding_from(through_bytes(records.finding_message(f))) for f in (one, two)] == [one, two]
    report = RepairReport((one,), ("did",), (two,), ("q/x",), dry_run=True)
    assert records.repair_report(through_bytes(records.repair_message(report))) == report
    hit = SearchHit("a", 0.1, "assembly")
    assert [records.search_hit(h) for h in through_bytes(records.search_message([hit])).hits] == [hit]
    for vector in (None, 0.0, -0.5):
        recalled = RecallHit(full_memory(), 0.3, RecallParts(1.0, 2.0, vector, 0.5, 0.25), "hybrid")
        answer = through_bytes(records.recall_message([recalled], []))
        assert [records.recall_hit(h) for h in answer.hits] == [recalled]
