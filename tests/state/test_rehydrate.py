"""Rehydration gives what can be read, says what cannot, never fails and never changes anything."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from state_samples import MEMBERS, UNREADABLE, VALID, look, write_valid

from synthians_memory.layout import DECISION_LOG, STATE_FILES, SYSTEM_STATE, TELEMETRY
from synthians_memory.state import Context, StateChange, open_state, rehydrate
from synthians_memory.state.rehydration import rehydrated

KEYS = ["system_state", "decision_log", "architecture_map", "telemetry", "warnings"]


def others_are_unaffected(context: Context, name: str) -> None:
    for other in STATE_FILES:
        if other != name:
            assert getattr(context, MEMBERS[other]) == VALID[other]
    assert all(name in warning for warning in context.warnings)


def test_all_is_well(tmp_path: Path) -> None:
    write_valid(tmp_path)
    context = rehydrate(tmp_path)
    assert context.to_dict() == {**{MEMBERS[name]: value for name, value in VALID.items()}, "warnings": []}
    assert list(context.to_dict()) == KEYS
    assert json.loads(context.to_json()) == context.to_dict()


@pytest.mark.parametrize("name", STATE_FILES)
@pytest.mark.parametrize("damage", UNREADABLE)
def test_what_cannot_be_read_is_null_and_a_warning(damage: str, name: str, tmp_path: Path) -> None:
    write_valid(tmp_path)
    (tmp_path / name).write_bytes(UNREADABLE[damage])
    before = look(tmp_path)
    context = rehydrate(tmp_path)
    assert getattr(context, MEMBERS[name]) is None
    assert len(context.warnings) == 1
    assert len(context.warnings[0]) < 300
    others_are_unaffected(context, name)
    assert look(tmp_path) == before


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / STATE_FILES[0] if path.name != STATE_FILES[0] else path.parent / STATE_FILES[1])


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_nothing(_: Path) -> None: ...


@pytest.mark.parametrize("name", STATE_FILES)
@pytest.mark.parametrize(
    "make", [make_folder, make_link, make_dangling_link, make_fifo, make_nothing], ids=lambda make: make.__name__
)
def test_what_is_no_file_is_null_and_a_warning(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    write_valid(tmp_path)
    (tmp_path / name).unlink()
    make(tmp_path / name)
    before = look(tmp_path)
    context = rehydrate(tmp_path)
    assert getattr(context, MEMBERS[name]) is None
    assert len(context.warnings) == 1
    others_are_unaffected(context, name)
    assert look(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_what_may_not_be_read_is_null_and_a_warning(tmp_path: Path) -> None:
    write_valid(tmp_path)
    (tmp_path / TELEMETRY).chmod(0)
    context = rehydrate(tmp_path)
    assert context.telemetry is None
    others_are_unaffected(context, TELEMETRY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (SYSTEM_STATE, {**VALID[SYSTEM_STATE], "last_action_at": "yesterday"}),
        (SYSTEM_STATE, {**VALID[SYSTEM_STATE], "health_score": 10**100}),
        (SYSTEM_STATE, []),
        (DECISION_LOG, {"not": "an array"}),
        (TELEMETRY, [{"event_type": "coffee"}, "\ud800"]),
        (TELEMETRY, None),
    ],
    ids=["date-time", "huge", "array", "object", "vocabulary", "null"],
)
def test_what_breaks_its_schema_is_returned_all_the_same(name: str, value: Any, tmp_path: Path) -> None:
    write_valid(tmp_path)
    (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    context = rehydrate(tmp_path)
    assert getattr(context, MEMBERS[name]) == value
    assert context.warnings
    others_are_unaffected(context, name)
    assert json.loads(context.to_json())[MEMBERS[name]] == value


def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere" / "at all", tmp_path):
        context = rehydrate(place)
        assert [warning.split()[0] for warning in context.warnings] == list(STATE_FILES)
        assert all("missing" in warning for warning in context.warnings)
        assert rehydrate(place, in_store=True).warnings == context.warnings
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_a_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    for context in (rehydrate(tmp_path / "state"), rehydrate(tmp_path, in_store=True)):
        assert len(context.warnings) == 4
        assert context.system_state is None


def test_a_link_in_a_store_is_not_followed_out_of_it(tmp_path: Path) -> None:
    write_valid(tmp_path / "elsewhere")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "state").symlink_to(tmp_path / "elsewhere")
    context = rehydrate(tmp_path / "store", in_store=True)
    assert context.system_state is None
    assert len(context.warnings) == 4


def test_it_reads_beside_a_writer_that_holds_the_lock(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        state.write_state(StateChange(phase="building"))
        with state._locked():
            assert rehydrate(tmp_path).system_state["phase"] == "building"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["\ud800", "2026-11-20T12:00:00Z", "testing", "agent"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
near_misses = st.builds(
    lambda name, at, junk, kept: (
        json.dumps(VALID[name]).encode()[:at] + junk + json.dumps(VALID[name]).encode()[at:kept]
    ),
    st.sampled_from(STATE_FILES),
    st.integers(0, 200),
    st.binary(max_size=3),
    st.none() | st.integers(0, 300),
)
anything = st.none() | st.binary() | near_misses | json_values.map(lambda value: json.dumps(value).encode())


@given(st.fixed_dictionaries(dict.fromkeys(STATE_FILES, anything)))
@example(dict.fromkeys(STATE_FILES, b"\xef\xbb\xbf"))
@example(dict.fromkeys(STATE_FILES, b'"\\ud800"'))
@example(dict.fromkeys(STATE_FILES, b"-" + b"1" * 5000))
def test_whatever_is_in_the_files_it_never_raises(contents: dict[str, bytes | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            if content is not None:
                (Path(folder) / name).write_bytes(content)
        before = look(Path(folder))
        context = rehydrate(folder)
        assert look(Path(folder)) == before
    document = json.loads(context.to_json())
    assert list(document) == KEYS
    for name, content in contents.items():
        if content is None or document[MEMBERS[name]] is None:
            assert any(name in warning for warning in context.warnings)


@given(json_values, st.sampled_from(STATE_FILES))
def test_whatever_is_json_comes_through_unchanged(value: Any, name: str) -> None:
    context = rehydrated({name: json.dumps(value).encode()}.get)
    assert getattr(context, MEMBERS[name]) == value
    assert json.loads(context.to_json())[MEMBERS[name]] == value
    assert not any("cannot be read" in warning for warning in context.warnings)
