"""The state as a part of a store: what a check finds, and what a snapshot holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from state_samples import UNREADABLE, VALID, look, write_valid

from synthians_memory.engine.part import Part
from synthians_memory.layout import DECISION_LOG, STATE, STATE_FILES, SYSTEM_STATE, TELEMETRY
from synthians_memory.state import StatePart, TelemetryEvent, open_state
from synthians_memory.state import schemas as schemas_module
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

PART: Part = StatePart()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of the state in a store, with all that belongs there."""
    write_valid(tmp_path / STATE)
    return tmp_path / STATE


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    made = LocalBackend(tmp_path)
    yield made
    made.close()


def codes(backend: Backend, level: str = "full") -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in PART.check(backend, level)]  # type: ignore[arg-type]


def test_a_store_without_a_state(backend: Backend) -> None:
    assert (PART.name, list(PART.check(backend, "full")), list(PART.source_files(backend))) == ("state", [], [])


def test_a_whole_state(state: Path, backend: Backend) -> None:
    before = look(state)
    assert codes(backend) == []
    assert PART.source_files(backend) == sorted(f"{STATE}/{name}" for name in STATE_FILES)
    assert look(state) == before


def test_a_state_of_which_some_is_missing(state: Path, backend: Backend) -> None:
    (state / TELEMETRY).unlink()
    assert codes(backend) == []
    assert f"{STATE}/{TELEMETRY}" not in PART.source_files(backend)


@pytest.mark.parametrize("damage", UNREADABLE)
def test_damage_is_found_where_every_byte_is_read(damage: str, state: Path, backend: Backend) -> None:
    (state / DECISION_LOG).write_bytes(UNREADABLE[damage])
    assert codes(backend) == [("state_damaged", f"{STATE}/{DECISION_LOG}")]
    assert codes(backend, "quick") == []
    assert f"{STATE}/{DECISION_LOG}" in PART.source_files(backend)


def test_what_does_not_fit_is_a_note(state: Path, backend: Backend) -> None:
    (state / SYSTEM_STATE).write_text(json.dumps({**VALID[SYSTEM_STATE], "phase": "?", "last_action_at": "?"}))
    assert codes(backend) == [("state_invalid", f"{STATE}/{SYSTEM_STATE}")] * 2
    assert {finding.severity for finding in PART.check(backend, "full")} == {"note"}


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("elsewhere"), os.mkfifo], ids=range(3))
def test_what_is_no_file_is_found_at_every_level(make: object, state: Path, backend: Backend) -> None:
    (state / TELEMETRY).unlink()
    make(state / TELEMETRY)  # type: ignore[operator]
    for level in ("quick", "full"):
        assert codes(backend, level) == [("state_damaged", f"{STATE}/{TELEMETRY}")]
    assert f"{STATE}/{TELEMETRY}" not in PART.source_files(backend)


@pytest.mark.parametrize("link", [False, True])
def test_no_folder(link: bool, tmp_path: Path, backend: Backend) -> None:
    if link:
        write_valid(tmp_path / "elsewhere")
        (tmp_path / STATE).symlink_to("elsewhere")
    else:
        (tmp_path / STATE).write_text("x")
    assert codes(backend, "quick") == [("state_damaged", STATE)]
    assert PART.source_files(backend) == []


def test_what_was_set_aside_is_kept_in_snapshots_and_what_is_not_ours_is_not(state: Path, backend: Backend) -> None:
    (state / TELEMETRY).write_bytes(b"damaged")
    (state / "context.json").write_text("{}")
    (state / f"{TELEMETRY}.damaged-by-hand").write_text("{}")
    (state / "context.json.damaged-20260101_000000_000000").write_text("{}")
    with open_state(state) as opened:
        written = opened.log_telemetry(TelemetryEvent(event_type="error", component="c"))
    expected = [*STATE_FILES, written.set_aside]
    assert PART.source_files(backend) == sorted(f"{STATE}/{name}" for name in expected)
    assert codes(backend) == []


def test_without_the_library_a_note_says_so(state: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas_module, "_library", lambda: None)
    monkeypatch.setattr(schemas_module, "_validator", lambda _: None)
    assert codes(backend) == [("state_unchecked", STATE)]
    assert codes(backend, "quick") == []
