"""Whatever a file of the original code holds, its entity can be stored, and every value is in it or written down."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from synthians_memory.codec import encode, parse_line
from synthians_memory.errors import InvalidValueError
from synthians_memory.maintenance.legacy.conversion import Converted, Standby, convert_assembly, convert_memory
from synthians_memory.maintenance.legacy.fitting import VectorSpace, substitute_id
from synthians_memory.maintenance.legacy.reading import parse_lenient

NUMBERS = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.floats())
TEXTS = st.text(st.characters(codec=None), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
KEYS = st.one_of(
    TEXTS,
    st.sampled_from(
        [
            "id",
            "memory_id",
            "assembly_id",
            "content",
            "embedding",
            "timestamp",
            "quickrecal_score",
            "quickrecal",
            "quickrecal_updated",
            "metadata",
            "tags",
            "access_count",
            "last_access_time",
            "hyperbolic_embedding",
            "expires_at",
            "created_at",
            "updated_at",
            "kind",
            "vector_text",
            "extra",
            "name",
            "description",
            "memories",
            "members",
            "composite_embedding",
            "keywords",
            "topics",
            "creation_time",
            "last_activation",
            "last_activated",
            "activation_count",
            "activation_level",
            "vector_index_updated_at",
            "is_active",
            "merged_from",
            "emotion_profile",
            "assembly_schema_version",
            "content_hash",
            "legacy_import",
        ]
    ),
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=8)
STANDBY = Standby("the-name", 1_700_000_000_000_000, {})
SPACE = VectorSpace(3, "cosine")


def stored(converted: Converted) -> Any:
    """The entity, through the strict reader of lines and the writer of files."""
    entity = parse_line(converted.line()).entity
    encode(entity)
    assert entity.entity_id == converted.entity_id
    return entity


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in [key, *texts_in(item)]]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


@given(OBJECTS)
@example({"id": "x", "metadata": dict.fromkeys(["\ud800", "\udfff", "\N{REPLACEMENT CHARACTER}"], 1)})
@example({"id": "x", "metadata": json.loads("[" * 99 + "]" * 99), "tags": json.loads("[" * 95 + "]" * 95)})
@example({"id": "x", "legacy_import": float("nan"), "metadata": {"legacy_import": float("nan")}})
@example({"timestamp": 1e300, "created_at": -1e300, "updated_at": math.inf})
@example({"embedding": [1e39, 0, 0], "hyperbolic_embedding": [True, False], "access_count": 1e400})
def test_any_object_becomes_an_entity(found: dict[str, Any]) -> None:
    read = parse_lenient(json.dumps(found).encode())
    memory = convert_memory(read, STANDBY, SPACE)
    group = convert_assembly(read, STANDBY, SPACE, lambda member: False)
    for converted in (memory, group):
        entity = stored(converted)
        again = (
            convert_memory(read, STANDBY, SPACE)
            if converted is memory
            else convert_assembly(read, STANDBY, SPACE, lambda member: False)
        )
        assert again == converted
        everything = json.dumps([json.loads(converted.line()), converted.entity_id])
        for text in texts_in(list(read.values())):
            # Where it is not there as it stands, its JSON text is, as a part of another one.
            written = json.dumps(text)[1:-1]
            assert written in everything or json.dumps(written)[1:-1] in everything or is_time(text), (text, entity)


def is_time(text: str) -> bool:
    return any(character.isdigit() for character in text)


@given(st.one_of(TEXTS, VALUES))
def test_ids_are_stable_and_never_refused(value: Any) -> None:
    first = convert_memory({"id": value, "content": "x"}, STANDBY, SPACE)
    member = convert_assembly({"assembly_id": "a", "members": [value]}, STANDBY, SPACE, lambda member: True)
    stored(first)
    stored(member)
    if value is not None and not isinstance(value, dict):
        assert member.values["members"] == [first.entity_id]


def test_substitutes_tell_ids_apart() -> None:
    assert substitute_id("a\0") != substitute_id("b\0")
    assert substitute_id("\ud800") == substitute_id("\ud800")


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_by_the_error_of_the_library(data: bytes) -> None:
    with suppress(InvalidValueError):
        json.dumps(parse_lenient(data))
