"""Records take what can be stored and nothing else, and rows carry a hash that anybody can compute."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthians_memory.errors import (
    DamagedRowError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    UsageError,
)
from synthians_memory.tiers import records
from synthians_memory.tiers.records import Decision, Event, Goal, Incident, Knowledge, Pattern, Record, Task, ToolCall
from synthians_memory.tiers.tables import GOALS, LONGTERM, PATTERNS, SCHEMAS, WORKING, Table, row_hash

KINDS = [value for name in records.__all__ if isinstance(value := getattr(records, name), type) and value is not Record]
TABLES = [table for schema in SCHEMAS for table in schema.tables]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
seconds = st.integers(0, 253_402_300_799)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(["pending", "running", "completed", "failed", "cancelled", "auf Eis"]),
    "intelligence_level": st.sampled_from(["reactive", "operational", "tactical", "strategic"]),
    "success_rate": st.floats(0, 1),
    "avg_duration_ms": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "priority": st.integers(-(2**63), 2**63 - 1),
    "symptoms": st.lists(texts, max_size=3),
    "tags": st.lists(texts, max_size=3),
    "options": st.lists(json_values, max_size=3),
    "steps": st.lists(json_values, max_size=3),
    **dict.fromkeys(("success", "critical"), st.booleans()),
    **dict.fromkeys(("mean", "minimum", "maximum"), st.floats(allow_nan=False, allow_infinity=False)),
    **dict.fromkeys(("data", "metadata", "state"), st.dictionaries(texts, json_values, max_size=3)),
    **dict.fromkeys(("result", "input", "output"), json_values),
    **dict.fromkeys(("completed_at", "started_at", "last_used"), st.none() | seconds),
    **dict.fromkeys(("timestamp", "created_at", "updated_at", "hour"), seconds),
    **dict.fromkeys(("uses", "success_count", "fail_count", "count"), st.integers(0, 2**63 - 1)),
    "duration_ms": st.none() | st.integers(0, 2**63 - 1),
    **dict.fromkeys(
        ("id", "goal_id", "task_id", "agent_name"),
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10),
    ),
    **dict.fromkeys(
        ("agent", "error", "reason", "model_used", "outcome", "created_from", "root_cause", "resolution"),
        st.none() | texts,
    ),
}


@st.composite
def stored_records(draw: st.DrawFn, kind: type[Record]) -> Record:
    return kind(**{field.name: draw(VALUES.get(field.name, texts)) for field in fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(st.data())
def test_a_record_survives_its_dict(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(stored_records(kind))
    plain = record.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert kind.from_dict(plain) == record
    assert list(plain) == [field.name for field in fields(kind)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=20)
@given(st.data())
def test_a_record_survives_its_row(table: Table[Any], data: st.DataObject) -> None:
    record = data.draw(stored_records(table.record))
    extra = dict.fromkeys(table.extra, None) | ({"archived_at": 7} if table.extra else {})
    values = table.encode(record, **extra)
    row = values[: len(table.columns) + 1]
    assert table.decode(row, "x.db") == record
    assert json.dumps(table.decode(row, "x.db").to_dict(), sort_keys=True) == json.dumps(
        record.to_dict(), sort_keys=True
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=20)
@given(st.data())
def test_a_row_with_another_value_is_damaged(table: Table[Any], data: st.DataObject) -> None:
    record = data.draw(stored_records(table.record))
    extra = dict.fromkeys(table.extra, None) | ({"archived_at": 7} if table.extra else {})
    row = list(table.encode(record, **extra)[: len(table.columns) + 1])
    place = data.draw(st.integers(0, len(row) - 1))
    other = data.draw(st.none() | st.integers(0, 9) | texts | st.binary(max_size=32))
    if type(other) is type(row[place]) and other == row[place]:
        return
    row[place] = other
    with pytest.raises(DamagedRowError, match=f"x.db.*{table.name}"):
        table.decode(row, "x.db")


def test_the_hash_is_that_of_canonical_json() -> None:
    goal = Goal(id="g", description="ü", created_at=5, metadata={"b": 1, "a": [True, None, 1.5]})
    row = GOALS.encode(goal)
    columns = {
        "id": "g",
        "description": "ü",
        "status": "pending",
        "priority": 2,
        "created_at": 5,
        "completed_at": None,
        "result": None,
        "metadata": '{"a":[true,null,1.5],"b":1}',
    }
    document = json.dumps(
        {"table": "goals", "columns": columns}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert row[len(columns)] == hashlib.sha256(document.encode()).digest() == row_hash("goals", columns)
    assert row[: len(columns)] == list(columns.values())


def test_the_same_values_in_another_table_have_another_hash() -> None:
    assert row_hash("goals", {"id": "g"}) != row_hash("tasks", {"id": "g"})


def test_triggers_are_kept_folded_beside_the_hash() -> None:
    assert PATTERNS.encode(Pattern(id="p", trigger="STRASSE Straße", action=""))[-1] == "strasse strasse"


@pytest.mark.parametrize(
    ("kind", "wrong", "error"),
    [
        (Goal, {"description": 5}, InvalidTypeError),
        (Goal, {"description": "x", "id": ""}, InvalidIdError),
        (Goal, {"description": "x", "id": "a\x00b"}, InvalidIdError),
        (Goal, {"description": "x", "id": "i" * 201}, InvalidIdError),
        (Goal, {"description": "\ud800"}, InvalidValueError),
        (Goal, {"description": "x", "status": ""}, InvalidValueError),
        (Goal, {"description": "x", "status": "s" * 51}, InvalidValueError),
        (Goal, {"description": "x", "priority": 1.0}, InvalidTypeError),
        (Goal, {"description": "x", "priority": True}, InvalidTypeError),
        (Goal, {"description": "x", "priority": 2**63}, InvalidValueError),
        (Goal, {"description": "x", "created_at": -1}, InvalidValueError),
        (Goal, {"description": "x", "created_at": 1.5}, InvalidTypeError),
        (Goal, {"description": "x", "created_at": 1_700_000_000_000}, InvalidValueError),
        (Goal, {"description": "x", "metadata": [1]}, InvalidTypeError),
        (Goal, {"description": "x", "metadata": {"a": math.nan}}, InvalidValueError),
        (Goal, {"description": "x", "metadata": {1: "a"}}, InvalidTypeError),
        (Goal, {"description": "x", "result": {1, 2}}, InvalidTypeError),
        (Task, {"description": "x", "goal_id": None}, InvalidTypeError),
        (Task, {"description": "x", "goal_id": "g", "duration_ms": -1}, InvalidValueError),
        (ToolCall, {"task_id": "t", "tool_name": "x", "success": 1}, InvalidTypeError),
        (Decision, {"context": "x", "chosen": "y", "intelligence_level": "wise"}, InvalidValueError),
        (Decision, {"context": "x", "chosen": "y", "options": "ab"}, InvalidTypeError),
        (Pattern, {"trigger": "x", "action": "y", "success_rate": 1.01}, InvalidValueError),
        (Pattern, {"trigger": "x", "action": "y", "success_rate": math.nan}, InvalidValueError),
        (Pattern, {"trigger": "x", "action": "y", "uses": -1}, InvalidValueError),
        (Incident, {"description": "x", "symptoms": "cough"}, InvalidTypeError),
        (Incident, {"description": "x", "symptoms": [1]}, InvalidTypeError),
        (Knowledge, {"title": "x", "content": "y", "tags": [None]}, InvalidTypeError),
        (Event, {"category": "x", "source": "y", "critical": "yes"}, InvalidTypeError),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(
    kind: type[Record], wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{kind.__name__.lower()}\\.|a key of {kind.__name__.lower()}"):
        kind(**wrong)


def test_an_unknown_or_missing_field_is_named() -> None:
    with pytest.raises(InvalidValueError, match="Goal has no field 'prio'"):
        Goal.from_dict({"description": "x", "prio": 1})
    with pytest.raises(InvalidValueError, match="description"):
        Goal.from_dict({"id": "g"})
    with pytest.raises(InvalidTypeError, match="must be an object"):
        Goal.from_dict(["description"])  # type: ignore[arg-type]


def test_a_record_shares_nothing_with_what_it_was_given() -> None:
    data = {"list": [1]}
    event = Event(category="c", source="s", data=data)
    data["list"].append(2)
    event.to_dict()["data"]["list"].append(3)
    assert event.data == {"list": [1]}
    with pytest.raises(FrozenInstanceError):
        event.category = "d"  # type: ignore[misc]


def test_a_key_is_there_once_it_is_stored() -> None:
    goal = Goal(description="x")
    with pytest.raises(UsageError, match="no id"):
        _ = goal.key
    assert replace(goal, id="g").key == "g"
    assert records.AgentState(agent_name="a").key == "a"


def test_columns_and_indexes_are_those_that_were_promised() -> None:
    made = "\n".join(statement for schema in (WORKING, LONGTERM) for statement in schema.create())
    for index in (
        "goals (status)",
        "tasks (goal_id)",
        "tasks (status)",
        "tool_calls (task_id)",
        "tool_calls (tool_name)",
        "decisions (context)",
        "patterns (trigger)",
    ):
        assert f" ON {index}" in made
    assert list(PATTERNS.columns) == ["id", "trigger", "action", "success_rate", "uses", "last_used", "created_from"]
    assert Goal(description="x").status == "pending"
    assert Goal(description="x").priority == 2
