"""Filters: what they mean, and that SQL over the text index selects exactly what the definition does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from entity_strategies import assemblies, json_values, memories, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filter_values import value_key
from synthians_memory.engine.filters import FIELDS, MOST_CONDITIONS, MOST_LEVELS, TIMES, matches, parse_where
from synthians_memory.engine.text_document import document_of
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.errors import InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry

ENTRY = MemoryEntry(
    memory_id="m",
    content="text",
    tags=["a", "b"],
    quickrecal_score=0.25,
    created_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
    metadata={
        "topic": "gil",
        "n": 5,
        "f": 2.5,
        "yes": True,
        "none": None,
        "list": [1, "x", None, {"k": 1}],
        "deep": {"er": {"still": 3}, "a.b": 1, "none": None},
        "tags": "mine",
        "metadata": {"x": 1},
        "back\\slash": 1,
        "big": 2**63,
        "": "empty",
    },
)

MATCHING: list[dict[str, Any]] = [
    {},
    {"topic": "gil"},
    {"topic": "gil", "n": 5},
    {"n": 5.0},
    {"topic": {"$eq": "gil"}},
    {"topic": {"$ne": "asyncio"}},
    {"absent": {"$ne": "gil"}},
    {"n": {"$ne": "5"}},
    {"yes": {"$ne": 1}},
    {"yes": True},
    {"none": None},
    {"absent": None},
    {"absent.below": None},
    {"topic.below": None},
    {"none": {"$exists": False}},
    {"topic": {"$exists": True}},
    {"absent": {"$exists": False}},
    {"n": {"$in": [1, 5]}},
    {"absent": {"$in": [None, 1]}},
    {"n": {"$nin": [1, 2]}},
    {"absent": {"$nin": [1]}},
    {"n": {"$gt": 4, "$lt": 6}},
    {"n": {"$gte": 5, "$lte": 5}},
    {"topic": {"$gt": "g", "$lt": "h"}},
    {"big": {"$gt": 2**63 - 1}},
    {"big": {"$gt": 2**63 - 1024}},
    {"big": 2.0**63},
    {"list": {"$contains": 1}},
    {"list": {"$contains": 1.0}},
    {"list": {"$contains": None}},
    {"list": {"$contains": {"k": 1}}},
    {"list": [1.0, "x", None, {"k": 1}]},
    {"tags": {"$contains": "a"}},
    {"tags": ["a", "b"]},
    {"tags": {"$exists": True}},
    {"metadata.tags": "mine"},
    {"metadata": {"x": 1}},
    {"metadata.metadata.x": 1},
    {"deep.er.still": 3},
    {"deep.er": {"still": 3}},
    {"deep.a\\.b": 1},
    {"back\\slash": 1},
    {"back\\\\slash": 1},
    {"": "empty"},
    {"n": {"$not": {"$gt": 5}}},
    {"absent": {"$not": {"$gt": 5}}},
    {"$not": {"topic": "asyncio"}},
    {"$and": [{"n": 5}, {"topic": "gil"}]},
    {"$or": [{"n": 6}, {"topic": "gil"}]},
    {"created_at": "2026-11-20T13:00:00+01:00"},
    {"created_at": datetime(2026, 11, 20, 12)},  # noqa: DTZ001 - a naive time is read as UTC
    {"created_at": {"$gte": datetime(2026, 11, 20, 13, tzinfo=timezone(timedelta(hours=1)))}},
    {"created_at": {"$lt": "2026-11-21"}},
    {"expires_at": None},
    {"expires_at": {"$ne": "2026-11-21"}},
    {"updated_at": {"$exists": False}},
    {"quickrecal_score": {"$lt": 2**64 - 1}},
    {"quickrecal_score": 0.25},
    {"quickrecal_score": {"$ne": "0.25"}},
]
OTHER: list[dict[str, Any]] = [
    {"topic": "GIL"},
    {"topic": "gil", "n": 6},
    {"n": "5"},
    {"n": True},
    {"yes": 1},
    {"yes": {"$gt": 0}},
    {"n": {"$gt": "4"}},
    {"n": {"$ne": 5}},
    {"absent": {"$gt": 0}},
    {"absent": {"$in": [1]}},
    {"n": {"$in": []}},
    {"topic": {"$contains": "g"}},
    {"topic": None},
    {"list.0": 1},
    {"deep": {"er": {"still": 3}, "a.b": 1}},
    {"deep.a.b": 1},
    {"tags": "a"},
    {"tags.x": {"$exists": True}},
    {"created_at": {"$gt": "2026-11-20T12:00:00Z"}},
    {"created_at.x": {"$exists": True}},
    {"created_at": {"$contains": 1}},
    {"expires_at": {"$lt": "2999-01-01"}},
    {"quickrecal_score": True},
    {"big": 2**63 - 1},
    {"big": {"$lt": 2**63}},
    {"$or": [{"n": 6}, {"topic": "x"}]},
    {"$not": {}},
]
WRONG: list[tuple[Any, type[SynthiansMemoryError], str]] = [
    (5, InvalidTypeError, "where must be a mapping"),
    ({1: 2}, InvalidTypeError, "key of where"),
    ({"$nor": []}, InvalidValueError, "'\\$nor'.*Operators here: \\$and"),
    ({"a": {"$regex": "x"}}, InvalidValueError, "where.a has the unknown operator '\\$regex'.*\\$contains"),
    ({"a": {"$gt": 1, "b": 2}}, InvalidValueError, "where.a has the unknown operator 'b'"),
    ({"a": {"$in": 5}}, InvalidTypeError, "where.a.\\$in must be a list"),
    ({"a": {"$in": "abc"}}, InvalidTypeError, "where.a.\\$in must be a list"),
    ({"a": {"$exists": 1}}, InvalidTypeError, "where.a.\\$exists must be true or false"),
    ({"a": {"$gt": None}}, InvalidTypeError, "where.a.\\$gt"),
    ({"a": {"$gt": True}}, InvalidTypeError, "where.a.\\$gt"),
    ({"a": {"$gt": [1]}}, InvalidTypeError, "where.a.\\$gt"),
    ({"a": {"$not": 5}}, InvalidTypeError, "where.a.\\$not"),
    ({"$and": []}, InvalidTypeError, "\\$and must be a list"),
    ({"$or": {"a": 1}}, InvalidTypeError, "\\$or must be a list"),
    ({"$not": [1]}, InvalidTypeError, "where.\\$not must be a mapping"),
    ({"a": float("nan")}, InvalidValueError, "where.a is nan"),
    ({"a": 2**64}, InvalidValueError, "where.a is an integer beyond 64 bits"),
    ({"a": Ellipsis}, InvalidTypeError, "where.a"),
    ({"a\ud800": 1}, InvalidValueError, "surrogate"),
    ({"created_at": 5}, InvalidTypeError, "where.created_at must be a time"),
    ({"created_at": {"$gt": "soon"}}, InvalidValueError, "where.created_at.\\$gt"),
    ({"topic": datetime(2026, 1, 1, tzinfo=UTC)}, InvalidTypeError, "where.topic"),
    ({"$or": [{"a": n} for n in range(MOST_CONDITIONS)]}, InvalidValueError, "more than"),
]


@pytest.fixture(scope="module")
def index() -> Iterator[TextIndex]:
    index = TextIndex.in_memory()
    index.build("store", "epoch", "conversation_id")
    yield index
    index.close()


def selected(index: TextIndex, entities: list[Entity], where: Any) -> set[str]:
    """What SQL selects of `entities`, which are all there is."""
    held = [(kind, i) for kind in ("memory", "assembly") for i in index.hashes(kind)]
    index.apply([document_of(e, b"h", None, "conversation_id") for e in entities], held, None)
    condition = compile_filter(parse_where(where))
    return {i for kind in ("memory", "assembly") for i in index.select(kind, condition)}


@pytest.mark.parametrize("where", MATCHING, ids=str)
def test_it_matches(index: TextIndex, where: dict[str, Any]) -> None:
    assert matches(ENTRY, parse_where(where))
    assert selected(index, [ENTRY], where) == {"m"}


@pytest.mark.parametrize("where", OTHER, ids=str)
def test_it_does_not_match(index: TextIndex, where: dict[str, Any]) -> None:
    assert not matches(ENTRY, parse_where(where))
    assert selected(index, [ENTRY], where) == set()


@pytest.mark.parametrize(("where", "kind", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_no_filter_is_refused(where: Any, kind: type[SynthiansMemoryError], message: str) -> None:
    with pytest.raises(kind) as caught:
        parse_where(where)
    assert re.search(message, str(caught.value))


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    where: Any = {"a": 1}
    for _ in range(5000):
        where = {"$not": where}
    with pytest.raises(InvalidValueError, match="nested"):
        parse_where(where)


def test_as_many_conditions_as_are_allowed_can_be_asked(index: TextIndex) -> None:
    where = {"$or": [{"n": {"$in": list(range(n, n + 49))}} for n in range(MOST_CONDITIONS - 1)]}
    assert selected(index, [ENTRY], where) == {"m"}


@pytest.mark.parametrize("level", ["$not", "$and", "$or"])
def test_as_many_levels_as_are_allowed_can_be_asked(index: TextIndex, level: str) -> None:
    where: dict[str, Any] = {"topic": {"$not": {"$gt": "gil"}}}
    for _ in range(MOST_LEVELS - 1):
        where = {"$not": {"n": 6, **where}} if level == "$not" else {level: [{"n": {"$in": [5]}}, where, {"n": 5}]}
    assert selected(index, [ENTRY], where) == ({"m"} if matches(ENTRY, parse_where(where)) else set())


def test_long_lists_of_values(index: TextIndex) -> None:
    where = {"n": {"$in": list(range(5000))}, "f": {"$nin": list(range(300))}, "created_at": {"$nin": ["2020"] * 0}}
    assert selected(index, [ENTRY], where) == {"m"}
    times = [f"2026-11-{day:02}T12:00:00Z" for day in range(1, 31)] * 3
    assert selected(index, [ENTRY], {"created_at": {"$in": times}}) == {"m"}


# SQL against the definition

names = st.sampled_from(["a", "b", "a.b", "", "tags", "metadata", "ä", "\0", "$x"])
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64 - 1, -(2**63), 1e300, -0.0, 0.5, 5e-324, 2.0**53]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64 - 1),
)
few_texts = st.one_of(st.sampled_from(["", "a", "b", "ab", "\U00010000", "\uffff", "é", "e\u0301", "\0"]), texts)
few_scalars = st.one_of(st.none(), st.booleans(), numbers, few_texts)
few_values = st.recursive(
    few_scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
few_metadata = st.dictionaries(names, few_values, max_size=4)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001
few_memories = st.builds(
    MemoryEntry,
    memory_id=st.sampled_from("pqrs"),
    content=texts,
    created_at=moments,
    updated_at=st.one_of(st.none(), moments),
    expires_at=st.one_of(st.none(), moments),
    quickrecal_score=st.sampled_from([0.0, 0.5, 1.0]),
    tags=st.lists(few_texts, max_size=2),
    metadata=few_metadata,
)
few_assemblies = st.builds(
    MemoryAssembly, assembly_id=st.sampled_from("xyz"), created_at=moments, metadata=few_metadata
)
entity_lists = st.lists(
    st.one_of(few_memories, few_assemblies, memories, assemblies), max_size=5, unique_by=lambda e: e.entity_id
)


def escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(".", "\\.")


metadata_paths = st.lists(names, min_size=1, max_size=3).map(lambda keys: "metadata." + ".".join(map(escaped, keys)))
paths = st.one_of(metadata_paths, st.sampled_from([*FIELDS, "a", "b", "a.b", "tags.x", "created_at.y"]))


def conditions(path: str) -> st.SearchStrategy[Any]:
    values: st.SearchStrategy[Any] = few_values
    orders: st.SearchStrategy[Any] = st.one_of(numbers, few_texts)
    if path in TIMES:
        times = st.one_of(moments, moments.map(lambda moment: moment.isoformat()))
        values, orders = st.one_of(st.none(), times), times
    plain = values.filter(lambda v: not isinstance(v, dict) or not any(k.startswith("$") for k in v))
    operators = st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne"]), values),
        st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=60)),
        st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), orders),
        st.tuples(st.just("$exists"), st.booleans()),
        st.tuples(st.just("$contains"), few_values),
    )
    mapping = st.lists(operators, min_size=1, max_size=2).map(dict)
    return st.one_of(plain, mapping, mapping.map(lambda inner: {"$not": inner}))


leaves = paths.flatmap(lambda path: conditions(path).map(lambda condition: {path: condition}))
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda t: {t[0]: t[1]}
        ),
        inner.map(lambda where: {"$not": where}),
        st.tuples(inner, inner).map(lambda two: {**two[0], **two[1]}),
    ),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None)
@given(entities=entity_lists, where=filters)
def test_sql_selects_exactly_what_the_definition_does(
    index: TextIndex, entities: list[Entity], where: dict[str, Any]
) -> None:
    tree = parse_where(where)
    assert selected(index, entities, where) == {e.entity_id for e in entities if matches(e, tree)}


@settings(max_examples=300, deadline=None)
@given(one=numbers, other=numbers)
def test_keys_of_numbers_are_in_their_order(one: float, other: float) -> None:
    assert (value_key(one) < value_key(other), value_key(one) == value_key(other)) == (one < other, one == other)


@settings(max_examples=200, deadline=None)
@given(one=json_values, other=json_values)
def test_keys_are_equal_where_values_are(one: Any, other: Any) -> None:
    entry = MemoryEntry(content="", metadata={"v": [one]})
    assert (value_key(one) == value_key(other)) == matches(entry, parse_where({"v": {"$eq": [other]}}))
