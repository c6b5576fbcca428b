"""Hypothesis strategies for everything that an entity may hold, and for what it may not."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st

from synthians_memory.codec import encode
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector

# The positive float32 whose shortest decimal rounds to its neighbour, the neighbours, and the ends of each range.
NOTABLE_BITS = [0x15AE43FC, 0x15AE43FD, 0x15AE43FE, 0, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x4B800000, 0x7F7FFFFF]
SIGN = 0x80000000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
plain_ids = st.text("abcxyz0189._-", min_size=1, max_size=200)
# Twenty characters of four bytes each, all escaped, still make a file name of less than 255 bytes.
unicode_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
notable_ids = st.sampled_from(
    [
        "..",
        ".",
        "../x",
        "a/b",
        "\\",
        "NUL.txt",
        "nul.txt",
        "con",
        "CON",
        "com1.A",
        "lpt9",
        "%41",
        "%",
        "A",
        "a",
        "a ",
        " ",
    ]
)
ids = st.one_of(plain_ids, unicode_ids, notable_ids)

floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**64 - 1)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, floats, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)

utc_times = st.datetimes(timezones=st.just(UTC))
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
optional_times = st.one_of(st.none(), utc_times)
scores = st.floats(0.0, 1.0)
counts = st.integers(0, 2**63 - 1)


def vector_of(bits: list[int]) -> Vector:
    """The float32 numbers with these bits."""
    return np.array(bits, dtype="<u4").view("<f4")


finite_bits = st.builds(
    lambda magnitude, sign: magnitude | sign,
    st.one_of(st.sampled_from(NOTABLE_BITS), st.integers(0, 0x7F7FFFFF)),
    st.sampled_from([0, SIGN]),
)
vectors = st.lists(finite_bits, min_size=1, max_size=8).map(vector_of)
optional_vectors = st.one_of(st.none(), vectors)

_FIELD_NAMES = frozenset(["content", "embedding", "members", "assembly_id", "memory_id", "extra", "kind", "id"])


def _extras(model: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    taken = _FIELD_NAMES | model.__dataclass_fields__.keys() | {"vector_text"}
    names = st.one_of(texts, st.sampled_from(["Zusatz", "\n", '"', "", "a\\b", "�", "\U0001f600"]))
    return st.dictionaries(names.filter(lambda name: name not in taken), json_values, max_size=4)


memories = st.builds(
    MemoryEntry,
    memory_id=ids,
    content=texts,
    embedding=optional_vectors,
    created_at=utc_times,
    updated_at=optional_times,
    quickrecal_score=scores,
    quickrecal_updated=optional_times,
    metadata=json_objects,
    tags=st.lists(texts, max_size=4),
    access_count=counts,
    last_access_time=optional_times,
    expires_at=optional_times,
    hyperbolic_embedding=optional_vectors,
    extra=_extras(MemoryEntry),
)
assemblies = st.builds(
    MemoryAssembly,
    assembly_id=ids,
    name=texts,
    description=texts,
    members=st.lists(ids, max_size=4),
    composite_embedding=optional_vectors,
    hyperbolic_embedding=optional_vectors,
    keywords=st.lists(texts, max_size=3),
    tags=st.lists(texts, max_size=3),
    topics=st.lists(texts, max_size=3),
    metadata=json_objects,
    created_at=utc_times,
    updated_at=optional_times,
    last_access_time=optional_times,
    last_activation=optional_times,
    activation_level=floats,
    activation_count=counts,
    access_count=counts,
    emotion_profile=json_objects,
    is_active=st.booleans(),
    merged_from=st.lists(ids, max_size=3),
    vector_index_updated_at=optional_times,
    extra=_extras(MemoryAssembly),
)
entities: st.SearchStrategy[Entity] = st.one_of(memories, assemblies)
# Update times that a store may stamp: the years 1 to 9999, in microseconds since 1970.
micros = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)

# What no field takes, or only some do: the hostile half of Python and JSON.
hostile_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([10**400, -(10**4299), 2**64, -(2**63) - 1, 10**30]),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["\ud800", "a\udfff", "2026-11-20", "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-01:00"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


def same_values(mine: Entity, theirs: Entity) -> bool:
    """Whether both hold the same, also where Python calls different values equal: 1, 1.0 and True; 0.0 and -0.0."""
    return mine == theirs and encode(mine).head == encode(theirs).head


def type_name(value: object) -> str:
    """The name of a parameter that is too long, or of too many digits, to be shown."""
    return type(value).__name__
