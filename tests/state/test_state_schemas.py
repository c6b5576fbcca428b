"""The schemas say what the tables of the specification say, and dates are really checked."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from state_samples import MEMBERS, VALID, write_valid

from synthians_memory.layout import ARCHITECTURE_MAP, DECISION_LOG, STATE_FILES, SYSTEM_STATE, TELEMETRY
from synthians_memory.state import EventType, MadeBy, Phase, rehydrate
from synthians_memory.state.schemas import MOST_VIOLATIONS, is_date_time, violations

PHASES = ["planning", "building", "testing", "deployed"]
EVENTS = ["workflow_run", "test_pass", "test_fail", "deploy", "error", "health_check"]
# The fields of each object in order, with their types; optional ones end in "?".
TABLES: dict[str, dict[str, str]] = {
    SYSTEM_STATE: {
        "manifest_version": "string",
        "system_name": "string",
        "org": "string",
        "phase": "string",
        "components_status": "object",
        "last_action": "string",
        "last_action_at": "string",
        "health_score": "integer",
        "errors": "array",
        "warnings": "array",
    },
    DECISION_LOG: {
        "id": "string",
        "timestamp": "string",
        "decision_type": "string",
        "description": "string",
        "rationale": "string",
        "made_by": "string",
        "outcome?": "string",
        "related_components": "array",
    },
    ARCHITECTURE_MAP: {
        "system_name": "string",
        "components": "array",
        "dependency_graph": "object",
        "last_updated": "string",
    },
    TELEMETRY: {
        "event_id": "string",
        "timestamp": "string",
        "event_type": "string",
        "component": "string",
        "value?": "number",
        "unit?": "string",
        "metadata?": "object",
    },
}
TIMES = {
    SYSTEM_STATE: "last_action_at",
    DECISION_LOG: "timestamp",
    ARCHITECTURE_MAP: "last_updated",
    TELEMETRY: "timestamp",
}


def schema(name: str) -> dict[str, Any]:
    path = files("synthians_memory") / "schemas" / f"{MEMBERS[name]}.schema.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def object_schema(name: str) -> dict[str, Any]:
    """Of the object, or of each object of a log."""
    whole = schema(name)
    found: dict[str, Any] = whole["items"] if whole["type"] == "array" else whole
    return found


@pytest.mark.parametrize("name", STATE_FILES)
def test_fields_types_and_what_is_required_are_those_of_the_tables(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    found = object_schema(name)
    table = TABLES[name]
    assert {field: rule["type"] for field, rule in found["properties"].items()} == {
        field.rstrip("?"): kind for field, kind in table.items()
    }
    assert found["required"] == [field for field in table if not field.endswith("?")]
    assert all(rule["description"] for rule in found["properties"].values())
    assert found["additionalProperties"] is True
    assert found["properties"][TIMES[name]]["format"] == "date-time"


def test_the_logs_are_arrays_and_the_others_objects() -> None:
    assert [schema(name)["type"] for name in STATE_FILES] == ["object", "array", "object", "array"]


def test_the_vocabularies_are_those_of_the_tables_and_of_the_library() -> None:
    assert object_schema(SYSTEM_STATE)["properties"]["phase"]["enum"] == PHASES == list(Phase)
    assert object_schema(DECISION_LOG)["properties"]["made_by"]["enum"] == ["human", "agent"] == list(MadeBy)
    assert object_schema(TELEMETRY)["properties"]["event_type"]["enum"] == EVENTS == list(EventType)


def test_a_component_of_the_map_has_the_fields_of_the_table() -> None:
    component = schema(ARCHITECTURE_MAP)["properties"]["components"]["items"]
    assert component["required"] == list(component["properties"])
    assert component["required"] == ["name", "type", "path", "status", "dependencies", "health"]


@pytest.mark.parametrize("name", STATE_FILES)
def test_what_is_valid_breaks_nothing(name: str) -> None:
    assert list(violations(name, VALID[name])) == []


def without_optional(name: str) -> Any:
    optional = {field.rstrip("?") for field in TABLES[name] if field.endswith("?")}
    return [{field: value for field, value in VALID[name][0].items() if field not in optional}]


@pytest.mark.parametrize("name", [DECISION_LOG, TELEMETRY])
def test_optional_fields_may_be_absent_and_not_null(name: str) -> None:
    log = without_optional(name)
    assert list(violations(name, log)) == []
    for field in (field.rstrip("?") for field in TABLES[name] if field.endswith("?")):
        assert list(violations(name, [{**log[0], field: None}]))


BROKEN: list[tuple[str, str, Any]] = [
    *((name, field, None) for name in STATE_FILES for field in TABLES[name] if not field.endswith("?")),
    *((name, time, "2026-02-30T12:00:00Z") for name, time in TIMES.items()),
    (SYSTEM_STATE, "phase", "Building"),
    (SYSTEM_STATE, "health_score", -1),
    (SYSTEM_STATE, "health_score", 101),
    (SYSTEM_STATE, "health_score", 85.5),
    (SYSTEM_STATE, "health_score", True),
    (SYSTEM_STATE, "health_score", "85"),
    (SYSTEM_STATE, "health_score", 10**4000),
    (SYSTEM_STATE, "components_status", {"api": 1}),
    (SYSTEM_STATE, "components_status", []),
    (SYSTEM_STATE, "errors", "one"),
    (SYSTEM_STATE, "warnings", [1]),
    (DECISION_LOG, "made_by", "committee"),
    (DECISION_LOG, "id", "no UUID"),
    (DECISION_LOG, "related_components", "api"),
    (ARCHITECTURE_MAP, "components", [{"name": "api"}]),
    (ARCHITECTURE_MAP, "dependency_graph", {"api": "storage"}),
    (TELEMETRY, "event_type", "success"),
    (TELEMETRY, "event_id", 7),
    (TELEMETRY, "value", "42"),
    (TELEMETRY, "metadata", ["a"]),
]


@pytest.mark.parametrize(("name", "field", "value"), BROKEN, ids=lambda value: str(value)[:30])
def test_what_breaks_a_schema_is_named_and_nothing_else(name: str, field: str, value: Any) -> None:
    changed = copy.deepcopy(VALID[name])
    (changed[0] if isinstance(changed, list) else changed)[field] = value
    found = list(violations(name, changed))
    assert found
    for sentence in found:
        assert sentence.startswith(name)
        assert field in sentence
        assert len(sentence) < 500


@pytest.mark.parametrize("name", STATE_FILES)
@pytest.mark.parametrize("value", [None, 1, "text", [1], {"a": 1}], ids=repr)
def test_another_kind_of_value_breaks_each_schema(name: str, value: Any) -> None:
    assert list(violations(name, value))


def test_a_violation_is_one_line_whatever_the_names() -> None:
    (found,) = violations(SYSTEM_STATE, {**VALID[SYSTEM_STATE], "components_status": {"a\nb\x1b[31m\ud800": 1}})
    assert found.isprintable()


def test_not_all_of_many_violations_are_told() -> None:
    found = list(violations(TELEMETRY, [1] * 1000))
    assert len(found) == MOST_VIOLATIONS + 1
    assert "more" in found[-1]
    assert len(list(violations(TELEMETRY, [1] * MOST_VIOLATIONS))) == MOST_VIOLATIONS


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2026-11-20T12:00:00Z", True),
        ("2026-11-20t12:00:00z", True),
        ("2026-11-20T12:00:00.123456789Z", True),
        ("2026-11-20T12:00:00+05:30", True),
        ("2026-11-20T12:00:00-00:00", True),
        ("2024-02-29T00:00:00Z", True),
        ("1998-12-31T23:59:60Z", True),
        ("1998-12-31T15:59:60.5-08:00", True),
        ("1998-12-31T22:59:60Z", False),
        ("2026-11-20T12:00:00", False),
        ("2026-11-20 12:00:00Z", False),
        ("2026-11-20", False),
        ("2026-02-29T12:00:00Z", False),
        ("2026-13-01T12:00:00Z", False),
        ("2026-11-20T24:00:00Z", False),
        ("2026-11-20T12:60:00Z", False),
        ("2026-11-20T12:00:61Z", False),
        ("2026-11-20T12:00:00+24:00", False),
        ("2026-11-20T12:00:00+05:60", False),
        ("2026-11-20T12:00:00+0530", False),
        ("2026-11-20T12:00:00.Z", False),
        ("2026-11-20T12:00:00Z\n", False),
        ("２０２６-11-20T12:00:00Z", False),
        ("26-11-20T12:00:00Z", False),
        ("2026-W47-5T12:00:00Z", False),
        ("0001-01-01T00:00:60+23:59", False),
        ("yesterday", False),
        ("", False),
        (7, True),
    ],
)
def test_date_time(text: object, right: bool) -> None:
    assert is_date_time(text) is right


WITHOUT_LIBRARY = """
import sys
sys.modules["jsonschema"] = None
from synthians_memory.state import StateChange, open_state, rehydrate
with open_state(sys.argv[1]) as state:
    state.write_state(StateChange(phase="building"))
context = rehydrate(sys.argv[1])
print(context.system_state["phase"], len(context.telemetry), *context.warnings, sep="\\n")
"""


def test_without_the_library_everything_else_works_and_it_is_said(tmp_path: Path) -> None:
    write_valid(tmp_path)
    (tmp_path / DECISION_LOG).write_bytes(b"{")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_LIBRARY, tmp_path], capture_output=True, text=True, check=True
    )
    phase, events, *warnings = result.stdout.splitlines()
    assert (phase, events) == ("building", "1")
    assert len(warnings) == 2
    assert DECISION_LOG in warnings[0]
    assert "jsonschema is not installed" in warnings[1]
    assert rehydrate(tmp_path).warnings[:1] == tuple(warnings[:1])
