"""Entities: validated where they enter, immutable from then on, equal by value."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from entity_strategies import entities, hostile_json, memories, same_values, type_name, vector_of, vectors
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.codec import decode_sealed, encode
from synthians_memory.errors import InvalidIdError, InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector, as_vector

MODELS: list[type[Any]] = [MemoryEntry, MemoryAssembly]
FIELDS = [(model, field.name) for model in MODELS for field in dataclasses.fields(model)]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Name(enum.StrEnum):
    ADA = "Ada"


def new(model: type[Any], **fields: Any) -> Any:
    return model(**({"content": "x"} if model is MemoryEntry else {}) | fields)


def loaded(entity: Entity) -> Entity:
    """The entity as a store returns it: read from its file, its vector not yet decoded."""
    return decode_sealed(entity.kind, encode(entity).stamp(0).data)


# Construction


def test_defaults_of_a_memory() -> None:
    before = datetime.now(UTC)
    memory = MemoryEntry(content="x")
    assert uuid.UUID(memory.memory_id).version == 4
    assert before <= memory.created_at <= datetime.now(UTC)
    assert (memory.quickrecal_score, memory.metadata, memory.tags, memory.access_count) == (0.5, {}, (), 0)
    optional = ("embedding", "updated_at", "quickrecal_updated", "last_access_time", "expires_at", "content_hash")
    assert all(getattr(memory, name) is None for name in (*optional, "hyperbolic_embedding"))
    assert MemoryEntry(content="x").memory_id != memory.memory_id
    assert MemoryEntry(content="x").metadata is not memory.metadata


def test_defaults_of_an_assembly() -> None:
    assembly = MemoryAssembly()
    assert uuid.UUID(assembly.assembly_id).version == 4
    assert (assembly.name, assembly.description, assembly.members, assembly.merged_from) == ("", "", (), ())
    assert (assembly.activation_level, assembly.activation_count, assembly.is_active) == (0.0, 0, True)
    assert assembly.composite_embedding is None


def test_kind_id_and_vector_have_one_name_for_both() -> None:
    memory = MemoryEntry(memory_id="m", content="x", embedding=[1.0])  # type: ignore[arg-type]
    assembly = MemoryAssembly(assembly_id="a", composite_embedding=[2.0])  # type: ignore[arg-type]
    assert [(e.kind, e.entity_id, float(e.vector[0])) for e in (memory, assembly) if e.vector is not None] == [
        ("memory", "m", 1.0),
        ("assembly", "a", 2.0),
    ]


def test_every_field_is_documented() -> None:
    assert all(name in (model.__doc__ or "") for model, name in FIELDS)


def test_forms_that_people_use_are_taken() -> None:
    memory = MemoryEntry(
        memory_id=np.str_("m"),
        content=Name.ADA,
        created_at="2026-11-20T13:00:00+01:00",  # type: ignore[arg-type]
        updated_at=datetime(2026, 11, 20, 12),  # type: ignore[arg-type]  # noqa: DTZ001
        tags=[Name.ADA, np.str_("x")],  # type: ignore[arg-type]
        quickrecal_score=1,
        metadata={"a": (1, 2)},
        embedding=(1, 2),  # type: ignore[arg-type]
    )
    assert (memory.created_at, memory.updated_at) == (NOW, NOW)
    assert (memory.tags, memory.metadata) == (("Ada", "x"), {"a": [1, 2]})
    plain = (memory.memory_id, memory.content, *memory.tags, memory.quickrecal_score)
    assert [type(value) for value in plain] == [str, str, str, str, float]
    assert same_values(memory.replace(updated_at=None), loaded(memory).replace(updated_at=None))


@given(hostile_json, st.sampled_from(FIELDS))
def test_every_field_takes_a_value_or_refuses_it_with_the_librarys_error(value: Any, place: tuple[Any, str]) -> None:
    model, name = place
    try:
        entity = new(model, **{name: value})
    except (InvalidValueError, InvalidTypeError):
        return
    assert loaded(entity).replace(updated_at=entity.updated_at) == entity


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"x",
        1j,
        float("nan"),
        float("inf"),
        10**5000,
        -(10**5000),
        {1: 2},
        [[]],
        lambda: None,
        type,
        "\ud800",
        ...,
        NOW,
    ],
    ids=type_name,
)
@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_hostile_objects_are_refused_by_the_field_that_takes_them(model: type[Any], name: str, value: object) -> None:
    if isinstance(value, datetime) and (name.endswith(("_at", "_time", "_updated")) or name == "last_activation"):
        assert getattr(new(model, **{name: value}), name) == value
        return
    with pytest.raises((InvalidValueError, InvalidTypeError), match=name) as caught:
        new(model, **{name: value})
    assert len(str(caught.value)) < 300
    str(caught.value).encode()


@pytest.mark.parametrize(
    "name", ["quickrecal_score", "access_count", "created_at", "metadata", "tags", "content", "memory_id"]
)
def test_only_optional_fields_may_be_none(name: str) -> None:
    with pytest.raises(InvalidTypeError, match=name):
        new(MemoryEntry, **{name: None})


@pytest.mark.parametrize("value", [-0.1, 1.0000001, 2, -(10**400)], ids=type_name)
def test_scores_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(InvalidValueError, match="quickrecal_score"):
        MemoryEntry(content="x", quickrecal_score=value)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_counts_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(InvalidValueError, match=r"access_count must lie in 0\.\.2\*\*63-1"):
        MemoryEntry(content="x", access_count=value)


@pytest.mark.parametrize("value", [True, 1.0, np.int64(1), "1"])
def test_counts_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match="access_count must be an integer"):
        MemoryEntry(content="x", access_count=value)


@pytest.mark.parametrize("value", ["text", b"text", {"a": 1}, 5, [1], [None], [["x"]]])
@pytest.mark.parametrize("name", ["tags", "members", "merged_from"])
def test_lists_of_texts_are_lists_of_texts(name: str, value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=name):
        new(MemoryEntry if name == "tags" else MemoryAssembly, **{name: value})


def test_the_text_that_is_wrong_is_named() -> None:
    with pytest.raises(InvalidValueError, match=r"tags\[1\] has a lone surrogate at character 2"):
        MemoryEntry(content="x", tags=("ok", "ab\udc00"))
    with pytest.raises(InvalidIdError, match=r"members\[1\] is empty"):
        MemoryAssembly(members=("m", ""))


@pytest.mark.parametrize(
    "name", ["content", "memory_id", "kind", "id", "assembly_id", "content_hash", "extra", "vector_text"]
)
def test_unknown_fields_may_not_take_a_name_with_a_meaning(name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"extra may not hold the name {name}"):
        MemoryEntry(content="x", extra={name: 1})


# Vectors


@given(vectors)
def test_float32_bits_are_kept(vector: Vector) -> None:
    for form in (
        vector,
        vector.astype(np.float64),
        vector.tolist(),
        tuple(vector),
        vector.astype(">f4"),
        vector[::-1][::-1],
    ):
        assert as_vector(form).tobytes() == vector.tobytes()
    assert MemoryEntry(content="x", embedding=vector).embedding.tobytes() == vector.tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, np.int8, np.uint64, ">f8", "<i2"])
def test_numbers_of_any_kind_become_float32(dtype: Any) -> None:
    vector = as_vector(np.array([1, 2, 3], dtype=dtype))
    assert vector.dtype == np.dtype("<f4")
    assert vector.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "value",
    [[], np.zeros((0,)), np.zeros((1, 2)), np.zeros((2, 0)), np.float32(1), 3, [[1.0]], [[1], [1, 2]]],
    ids=type_name,
)
def test_other_shapes_are_refused(value: Any) -> None:
    with pytest.raises(InvalidValueError, match="embedding"):
        as_vector(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3.4028236e38, -1e39, 1e300])
@pytest.mark.parametrize("dtype", [None, np.float64, np.longdouble])
def test_what_is_not_finite_as_float32_is_refused(value: float, dtype: Any) -> None:
    numbers = [0.0, value] if dtype is None else np.array([0.0, value], dtype=dtype)
    with pytest.raises(InvalidValueError, match="holds NaN, infinity or numbers beyond float32"):
        as_vector(numbers)


def test_signals_of_the_processor_raise_nothing_foreign() -> None:
    signalling = np.frombuffer(bytes.fromhex("010000000000f07f"), dtype="<f8")
    with np.errstate(all="raise"), pytest.raises(InvalidValueError, match="NaN"):
        as_vector(signalling)
    with np.errstate(all="raise"):
        assert as_vector([1e-300, 1e-42]).tolist() == [0.0, float(np.float32(1e-42))]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1,2",
        b"\x00\x00",
        ["1"],
        [None],
        [True],
        [1j],
        {"a": 1},
        [{}],
        object(),
        [10**30],
        [1.5, 10**400],
        [NOW],
        {1.0},
    ],
    ids=type_name,
)
def test_what_is_no_vector_of_numbers_is_refused(value: Any) -> None:
    with pytest.raises(SynthiansMemoryError, match="embedding"):
        as_vector(value)


def test_a_list_nested_without_end_is_refused() -> None:
    value: list[Any] = [1.0]
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SynthiansMemoryError, match="embedding"):
        as_vector(value)


# Immutability


def test_what_a_caller_does_to_its_inputs_changes_nothing() -> None:
    numbers, metadata, tags, extra = np.ones(3, dtype=np.float32), {"a": {"b": [1]}}, ["t"], {"e": [1]}
    memory = MemoryEntry(
        content="x",
        embedding=numbers,
        hyperbolic_embedding=numbers,
        metadata=metadata,
        tags=tags,
        extra=extra,  # type: ignore[arg-type]
    )
    before = encode(memory).head
    numbers[:] = 7
    metadata["a"]["b"].append(2)
    metadata["c"] = {}
    tags.append("u")
    extra["e"].clear()
    assert encode(memory).head == before
    assert (memory.metadata, memory.tags, memory.extra) == ({"a": {"b": [1]}}, ("t",), {"e": [1]})


@pytest.mark.parametrize("form", [lambda memory: memory, loaded, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("name", ["embedding", "hyperbolic_embedding"])
def test_vectors_can_never_be_written(form: Any, name: str) -> None:
    vector = getattr(form(MemoryEntry(content="x", **{name: [1.0, 2.0]})), name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        vector.setflags(write=True)
    with pytest.raises(ValueError, match="WRITEABLE"):
        vector.view("<u4").flags.writeable = True
    assert vector.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_fields_can_be_neither_set_nor_deleted(model: type[Any], name: str) -> None:
    entity = new(model)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(entity, name, getattr(entity, name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(entity, name)


def spoil(entity: Any) -> None:
    """Change whatever of an entity can be changed."""
    entity.metadata["nested"]["list"].append("new")
    entity.metadata["other"] = 1
    entity.extra.clear()


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda entity: entity.detached(),
        lambda entity: entity.replace(),
        lambda entity: entity.rechecked(),
        lambda entity: encode(entity).entity,
        lambda entity: encode(entity).stamp(0).stored_entity(),
        loaded,
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda entity: pickle.loads(pickle.dumps(entity)),  # noqa: S301
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_copies_share_nothing_that_can_be_changed(model: type[Any], duplicate: Any) -> None:
    entity = new(model, metadata={"nested": {"list": [1]}}, extra={"unknown": {"a": [1]}})
    before = encode(entity).head
    other = duplicate(entity)
    spoil(other)
    assert encode(entity).head == before
    other = duplicate(entity)
    spoil(entity)
    assert encode(other).head == before


def test_a_draft_is_not_reached_by_later_changes() -> None:
    memory = MemoryEntry(memory_id="m", content="x", metadata={"nested": {"list": []}}, extra={"e": 1})
    draft = encode(memory)
    spoil(memory)
    version = draft.stamp(0)
    assert same_values(version.stored_entity(), decode_sealed("memory", version.data))
    first = version.stored_entity()
    spoil(first)
    assert same_values(version.stored_entity(), decode_sealed("memory", version.data))


@pytest.mark.parametrize("value", [float("nan"), 2**70, object(), "\ud800", NOW, b"x"], ids=type_name)
@pytest.mark.parametrize("name", ["metadata", "extra", "emotion_profile"])
def test_what_is_smuggled_into_an_object_is_refused_at_encoding(name: str, value: object) -> None:
    entity = MemoryAssembly()
    getattr(entity, name)["smuggled"] = value
    with pytest.raises((InvalidValueError, InvalidTypeError), match=f"{name}.smuggled"):
        encode(entity)


def test_a_name_with_a_meaning_smuggled_into_extra_is_refused_at_encoding() -> None:
    memory = loaded(MemoryEntry(content="x"))
    memory.extra["memory_id"] = "y"  # type: ignore[attr-defined]
    with pytest.raises(InvalidValueError, match="extra may not hold the name memory_id"):
        encode(memory)


# Equality, hash, copies


@given(entities)
def test_copies_are_equal_with_equal_hashes(entity: Entity) -> None:
    duplicates = [entity.detached(), entity.replace(), entity.rechecked(), copy.copy(entity), copy.deepcopy(entity)]
    duplicates.append(pickle.loads(pickle.dumps(entity)))  # noqa: S301
    for other in duplicates:
        assert other == entity
        assert hash(other) == hash(entity)
        assert same_values(other, entity)


@pytest.mark.parametrize("read_before", [True, False])
def test_a_loaded_entity_survives_pickling_before_and_after_its_vector_was_read(read_before: bool) -> None:
    memory = MemoryEntry(content="x", embedding=[1.0, -0.0])  # type: ignore[arg-type]
    found = loaded(memory)
    if read_before:
        assert found.vector is not None
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):  # noqa: S301
        assert other.embedding.tobytes() == memory.embedding.tobytes()  # type: ignore[union-attr]
        assert other == found


CHANGES: list[dict[str, Any]] = [
    {"content": "y"},
    {"memory_id": "n"},
    {"embedding": [1.0, 2.0]},
    {"embedding": [0.0]},
    {"embedding": None},
    {"created_at": NOW + timedelta(microseconds=1)},
    {"updated_at": NOW},
    {"quickrecal_score": 0.25},
    {"metadata": {"a": 2}},
    {"tags": ("t", "u")},
    {"access_count": 1},
    {"extra": {"e": 1}},
]


@pytest.mark.parametrize("change", CHANGES)
def test_another_value_is_another_entity(change: dict[str, Any]) -> None:
    memory = MemoryEntry(
        memory_id="m",
        content="x",
        embedding=[-0.0],
        created_at=NOW,
        metadata={"a": 1},
        tags=("t",),  # type: ignore[arg-type]
    )
    other = memory.replace(**change)
    assert other != memory
    assert memory.replace(**{name: getattr(memory, name) for name in change}) == memory


def test_kinds_are_never_equal_and_other_types_neither() -> None:
    memory, assembly = MemoryEntry(memory_id="x", content=""), MemoryAssembly(assembly_id="x")
    assert memory != assembly
    assert memory != "x"
    assert len({memory, assembly, memory.replace()}) == 2


def test_the_content_hash_is_no_part_of_the_value() -> None:
    memory = MemoryEntry(memory_id="m", content="x", content_hash="sha256:0")
    assert memory == memory.detached(content_hash=None)


def test_the_same_instant_in_another_zone_is_the_same_value() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert MemoryEntry(memory_id="m", content="x", created_at=there) == MemoryEntry(
        memory_id="m", content="x", created_at=NOW
    )


# replace


@given(memories, st.text(st.characters(exclude_categories=["Cs"])))
def test_replace_changes_what_it_names_and_nothing_else(memory: MemoryEntry, content: str) -> None:
    other = memory.replace(content=content)
    assert other.content == content
    assert same_values(other.replace(content=memory.content), memory)


def test_replace_unsets_the_content_hash_and_keeps_the_rest() -> None:
    memory = MemoryEntry(
        content="x", updated_at=NOW, extra={"e": 1}, embedding=vector_of([0x15AE43FD]), content_hash="sha256:0"
    )
    other = memory.replace(tags=("t",))
    assert (other.content_hash, other.updated_at, other.extra) == (None, NOW, {"e": 1})
    assert loaded(memory).replace(tags=("t",)) == other.replace(updated_at=loaded(memory).updated_at)  # type: ignore[attr-defined]


def test_replace_validates() -> None:
    memory = MemoryEntry(content="x")
    with pytest.raises(InvalidValueError, match="quickrecal_score"):
        memory.replace(quickrecal_score=2.0)
    with pytest.raises(InvalidTypeError, match="MemoryEntry has no field contents, text"):
        memory.replace(text="y", contents="z")


def test_vectors_do_not_flood_the_representation() -> None:
    text = repr(MemoryEntry(content="x", embedding=[1.0] * 384, hyperbolic_embedding=[1.0] * 384))  # type: ignore[arg-type]
    assert "embedding" not in text
    assert repr(loaded(MemoryEntry(memory_id="m", content="x", embedding=[1.0]))).startswith("MemoryEntry(content='x'")  # type: ignore[arg-type]


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'MemoryEntry' object has no attribute 'text'"):
        _ = loaded(MemoryEntry(content="x", embedding=[1.0])).text  # type: ignore[attr-defined, arg-type]
