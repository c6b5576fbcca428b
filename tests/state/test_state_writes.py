"""Writers change what is named and nothing else, lose nothing, and refuse what the schemas do not know."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_samples import MEMBERS, UNREADABLE, VALID, look, write_valid

from synthians_memory import MemoryPersistence
from synthians_memory.errors import (
    DamagedFileError,
    DiskError,
    EntityNotFoundError,
    InvalidTypeError,
    InvalidValueError,
    NotAStoreError,
    NotRegularFileError,
    StoreLockedError,
)
from synthians_memory.layout import ARCHITECTURE_MAP, DECISION_LOG, STATE_FILES, SYSTEM_STATE, TELEMETRY, is_set_aside
from synthians_memory.state import (
    Decision,
    EventType,
    MadeBy,
    MapChange,
    Phase,
    StateChange,
    StateDirectory,
    TelemetryEvent,
    Written,
    open_state,
    rehydrate,
)
from synthians_memory.state.schemas import violations
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import format_time, from_micros

DECISION = Decision(decision_type="tooling", description="d", rationale="r", made_by="agent")
EVENT = TelemetryEvent(event_type="deploy", component="api")
WRITES: dict[str, Callable[[StateDirectory], Written]] = {
    SYSTEM_STATE: lambda state: state.write_state(StateChange(action="test")),
    DECISION_LOG: lambda state: state.log_decision(DECISION),
    ARCHITECTURE_MAP: lambda state: state.write_map(MapChange(component="db", dependencies=["disk"])),
    TELEMETRY: lambda state: state.log_telemetry(EVENT),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def state(tmp_path: Path, clock: ManualClock) -> Iterator[StateDirectory]:
    backend = LocalBackend(tmp_path)
    numbers = itertools.count(1)
    yield StateDirectory(backend, clock=clock, new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012}")
    backend.close()


def now(clock: ManualClock) -> str:
    return format_time(from_micros(clock.micros()))


def stored(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_bytes())


def aside(directory: Path, name: str) -> list[Path]:
    return [path for path in directory.iterdir() if is_set_aside(path.name, name)]


@pytest.mark.parametrize("name", STATE_FILES)
def test_a_first_write_makes_a_valid_file(name: str, state: StateDirectory, tmp_path: Path) -> None:
    written = WRITES[name](state)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert list(violations(name, stored(tmp_path, name))) == []
    found = stored(tmp_path, name)
    assert written == Written(found[0] if isinstance(found, list) else found)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_defaults_of_the_system_state(state: StateDirectory, clock: ManualClock) -> None:
    assert state.write_state(StateChange()).value == {
        "manifest_version": "1.0.0",
        "system_name": "",
        "org": "",
        "phase": "planning",
        "components_status": {},
        "last_action": "",
        "last_action_at": now(clock),
        "health_score": 100,
        "errors": [],
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (StateChange(), {}),
        (StateChange(phase="deployed"), {"phase": "deployed"}),
        (StateChange(phase=Phase.PLANNING), {"phase": "planning"}),
        (StateChange(action=""), {"last_action": ""}),
        (StateChange(health_score=0), {"health_score": 0}),
        (StateChange(system_name="other", org="others"), {"system_name": "other", "org": "others"}),
        (
            StateChange(components={"db": "slow", "cache": "cold"}),
            {"components_status": {"api": "healthy", "db": "slow", "cache": "cold"}},
        ),
        (StateChange(components={"api": "down"}), {"components_status": {"api": "down"}}),
        (StateChange(errors=("two",)), {"errors": ["one", "two"]}),
        (StateChange(clear_errors=True), {"errors": []}),
        (StateChange(clear_errors=True, errors=["three"]), {"errors": ["three"]}),  # type: ignore[arg-type]
        (StateChange(warnings=("w", "w")), {"warnings": ["w", "w"]}),
        (StateChange(clear_warnings=True), {}),
    ],
    ids=str,
)
def test_only_what_is_named_changes(
    change: StateChange, difference: dict[str, Any], state: StateDirectory, tmp_path: Path, clock: ManualClock
) -> None:
    write_valid(tmp_path)
    others = {name: content for name, content in look(tmp_path).items() if name not in (SYSTEM_STATE, ".")}
    state.write_state(change)
    expected = {**VALID[SYSTEM_STATE], **difference, "last_action_at": now(clock)}
    assert stored(tmp_path, SYSTEM_STATE) == expected
    assert list(stored(tmp_path, SYSTEM_STATE)) == list(expected)
    assert {name: content for name, content in look(tmp_path).items() if name not in (SYSTEM_STATE, ".")} == others


def test_missing_members_get_defaults_and_no_other_changes(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / SYSTEM_STATE).write_text('{"mine": 1, "manifest_version": "7", "health_score": "odd"}')
    state.write_state(StateChange(phase="building"))
    found = stored(tmp_path, SYSTEM_STATE)
    assert list(found)[:3] == ["mine", "manifest_version", "health_score"]
    assert (found["mine"], found["manifest_version"], found["health_score"]) == (1, "7", "odd")
    assert (found["phase"], found["errors"]) == ("building", [])


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("components_status", StateChange(components={"api": "up"})),
        ("errors", StateChange(errors=("e",))),
        ("warnings", StateChange(warnings=("w",))),
    ],
)
def test_what_cannot_be_added_to_is_left_alone(
    member: str, change: StateChange, state: StateDirectory, tmp_path: Path
) -> None:
    (tmp_path / SYSTEM_STATE).write_text(json.dumps({**VALID[SYSTEM_STATE], member: "text"}))
    before = (tmp_path / SYSTEM_STATE).read_bytes()
    with pytest.raises(DamagedFileError, match=member):
        state.write_state(change)
    assert (tmp_path / SYSTEM_STATE).read_bytes() == before
    state.write_state(StateChange(action="something else"))
    assert stored(tmp_path, SYSTEM_STATE)[member] == "text"


def test_a_list_that_is_cleared_need_not_be_one(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / SYSTEM_STATE).write_text('{"errors": "text"}')
    assert state.write_state(StateChange(clear_errors=True)).value["errors"] == []


REFUSED: list[Callable[[], object]] = [
    lambda: StateChange(phase="Building"),
    lambda: StateChange(phase=""),
    lambda: StateChange(phase=7),  # type: ignore[arg-type]
    lambda: StateChange(health_score=-1),
    lambda: StateChange(health_score=101),
    lambda: StateChange(health_score=85.0),  # type: ignore[arg-type]
    lambda: StateChange(health_score=True),
    lambda: StateChange(health_score="85"),  # type: ignore[arg-type]
    lambda: StateChange(health_score=10**5000),
    lambda: StateChange(components={"api": 1}),  # type: ignore[dict-item]
    lambda: StateChange(components=["api"]),  # type: ignore[arg-type]
    lambda: StateChange(errors="one"),  # type: ignore[arg-type]
    lambda: StateChange(warnings=(1,)),  # type: ignore[arg-type]
    lambda: StateChange(action="\ud800"),
    lambda: Decision(decision_type="t", description="d", rationale="r", made_by="committee"),
    lambda: Decision(decision_type="t", description="d", rationale=None, made_by="human"),  # type: ignore[arg-type]
    lambda: Decision(decision_type="t", description="d", rationale="r", made_by="human", related_components="api"),  # type: ignore[arg-type]
    lambda: TelemetryEvent(event_type="success", component="api"),
    lambda: TelemetryEvent(event_type=10**5000, component="api"),  # type: ignore[arg-type]
    lambda: TelemetryEvent(event_type="error", component="api", value=float("nan")),
    lambda: TelemetryEvent(event_type="error", component="api", value=float("-inf")),
    lambda: TelemetryEvent(event_type="error", component="api", value=10**5000),
    lambda: TelemetryEvent(event_type="error", component="api", value=True),
    lambda: TelemetryEvent(event_type="error", component="api", value="42"),  # type: ignore[arg-type]
    lambda: TelemetryEvent(event_type="error", component="api", metadata=["a"]),  # type: ignore[arg-type]
    lambda: TelemetryEvent(event_type="error", component="api", metadata={"a": float("nan")}),
    lambda: TelemetryEvent(event_type="error", component="api", metadata={1: "a"}),  # type: ignore[dict-item]
    lambda: MapChange(health=101, component="api"),
    lambda: MapChange(status="up"),
    lambda: MapChange(component="api", dependencies="db"),
    lambda: MapChange(component="api", removed=["api"]),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_schemas_do_not_know_is_refused(number: int) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError)):
        REFUSED[number]()


def test_what_a_caller_does_later_to_what_it_gave_does_not_matter(state: StateDirectory) -> None:
    metadata = {"a": [1]}
    event = TelemetryEvent(event_type=EventType.ERROR, component="api", metadata=metadata)
    metadata["a"].append(2)
    assert state.log_telemetry(event).value["metadata"] == {"a": [1]}


def test_decisions_are_appended_with_fresh_ids(state: StateDirectory, tmp_path: Path, clock: ManualClock) -> None:
    first = state.log_decision(DECISION)
    clock.advance(1)
    second = state.log_decision(
        Decision(
            decision_type="process",
            description="ä\u2028🎈",
            rationale='"',
            made_by=MadeBy.HUMAN,
            related_components=("z", "a", "z"),
            outcome="",
        )
    )
    assert stored(tmp_path, DECISION_LOG) == [first.value, second.value]
    assert first.value["id"] != second.value["id"]
    assert "outcome" not in first.value
    assert second.value["outcome"] == ""
    assert second.value["related_components"] == ["z", "a", "z"]
    assert first.value["timestamp"] < second.value["timestamp"] == now(clock)


def test_ids_are_random_uuids_by_default(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        ids = {state.log_telemetry(EVENT).value["event_id"] for _ in range(10)}
    assert len(ids) == 10
    assert rehydrate(tmp_path).warnings[0].startswith(SYSTEM_STATE)
    assert len(rehydrate(tmp_path).warnings) == 3


def test_what_is_not_given_of_an_event_is_absent(state: StateDirectory) -> None:
    assert list(state.log_telemetry(EVENT).value) == ["event_id", "timestamp", "event_type", "component"]
    given = state.log_telemetry(TelemetryEvent(event_type="error", component="api", value=0, unit="", metadata={}))
    assert [given.value[name] for name in ("value", "unit", "metadata")] == [0, "", {}]


@pytest.mark.parametrize(
    "log",
    [
        b'[{"id": "a"}]',
        b'[\r\n{"n": 0.1000, "big": 123456789012345678901234567890},\r\n"not an object"]\r\n\r\n',
        b" \n[1 ]\t",
        b'["\\ud800", "\xc3\xa4"]',
    ],
)
def test_what_stands_in_a_log_stays_byte_for_byte(log: bytes, state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / TELEMETRY).write_bytes(log)
    entry = state.log_telemetry(EVENT).value
    data = (tmp_path / TELEMETRY).read_bytes()
    assert data.startswith(log.rstrip()[:-1].rstrip())
    assert stored(tmp_path, TELEMETRY) == [*json.loads(log), entry]
    assert data.count(b"\n") > data.count(b"]\n]")


@pytest.mark.parametrize("log", [b"[]", b"[\n]\n", b" [ ] "])
def test_an_empty_log_is_one(log: bytes, state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / TELEMETRY).write_bytes(log)
    assert stored(tmp_path, TELEMETRY) == []
    assert state.log_telemetry(EVENT).set_aside is None
    assert len(stored(tmp_path, TELEMETRY)) == 1


@pytest.mark.parametrize("name", STATE_FILES)
@pytest.mark.parametrize("damage", [*UNREADABLE, "null", "another kind"])
def test_what_is_damaged_is_set_aside_and_said(
    damage: str, name: str, state: StateDirectory, tmp_path: Path, clock: ManualClock
) -> None:
    write_valid(tmp_path)
    other = b"{}" if isinstance(VALID[name], list) else b"[]"
    content = {**UNREADABLE, "null": b"null", "another kind": other}[damage]
    (tmp_path / name).write_bytes(content)
    written = WRITES[name](state)
    (kept,) = aside(tmp_path, name)
    assert kept.name == written.set_aside
    assert kept.read_bytes() == content
    assert list(violations(name, stored(tmp_path, name))) == []
    assert len(list(tmp_path.iterdir())) == 5


def test_what_was_set_aside_is_never_overwritten(state: StateDirectory, tmp_path: Path) -> None:
    contents = [b"one", b"two", b"three"]
    for content in contents:
        (tmp_path / TELEMETRY).write_bytes(content)
        state.log_telemetry(EVENT)
    assert sorted(path.read_bytes() for path in aside(tmp_path, TELEMETRY)) == sorted(contents)


@pytest.mark.parametrize("name", STATE_FILES)
def test_what_is_no_file_is_left_alone(name: str, state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("[]")
    for make in (Path.mkdir, lambda path: path.symlink_to("elsewhere"), os.mkfifo):
        make(tmp_path / name)
        before = look(tmp_path)
        with pytest.raises(NotRegularFileError):
            WRITES[name](state)
        assert look(tmp_path) == before
        (tmp_path / name).rmdir() if (tmp_path / name).is_dir() else (tmp_path / name).unlink()


def test_the_map(state: StateDirectory, tmp_path: Path, clock: ManualClock) -> None:
    state.write_map(MapChange(system_name="notes"))
    api = {"name": "api", "type": "service", "path": "src", "status": "up", "dependencies": ["db", "a"], "health": 90}
    state.write_map(
        MapChange(
            component="api", component_type="service", path="src", status="up", dependencies=["db", "a"], health=90
        )
    )
    clock.advance(1)
    state.write_map(MapChange(component="db"))
    found = stored(tmp_path, ARCHITECTURE_MAP)
    db = {"name": "db", "type": "", "path": "", "status": "", "dependencies": [], "health": 100}
    assert found == {
        "system_name": "notes",
        "components": [api, db],
        "dependency_graph": {"api": ["db", "a"], "db": []},
        "last_updated": now(clock),
    }
    state.write_map(MapChange(component="api", status="down", dependencies=()))
    found = stored(tmp_path, ARCHITECTURE_MAP)
    assert found["components"] == [{**api, "status": "down", "dependencies": []}, db]
    assert found["dependency_graph"] == {"api": [], "db": []}
    state.write_map(MapChange(removed=["api"], component="cache"))
    found = stored(tmp_path, ARCHITECTURE_MAP)
    assert [component["name"] for component in found["components"]] == ["db", "cache"]
    assert list(found["dependency_graph"]) == ["db", "cache"]


def test_a_component_that_is_not_there_cannot_go(state: StateDirectory, tmp_path: Path) -> None:
    write_valid(tmp_path)
    before = (tmp_path / ARCHITECTURE_MAP).read_bytes()
    with pytest.raises(EntityNotFoundError, match="nobody"):
        state.write_map(MapChange(removed=["api", "nobody"]))
    assert (tmp_path / ARCHITECTURE_MAP).read_bytes() == before


def test_unknown_members_of_the_map_stay(state: StateDirectory, tmp_path: Path) -> None:
    found = {**VALID[ARCHITECTURE_MAP], "mine": 1, "components": ["odd", {"name": "api", "mine": 2}]}
    (tmp_path / ARCHITECTURE_MAP).write_text(json.dumps(found))
    state.write_map(MapChange(component="api", health=1))
    changed = stored(tmp_path, ARCHITECTURE_MAP)
    assert (changed["mine"], changed["components"][0]) == (1, "odd")
    assert (changed["components"][1]["mine"], changed["components"][1]["health"]) == (2, 1)
    assert changed["dependency_graph"] == {"api": ["storage"]}


texts = st.text(st.characters(codec="utf-8"))


@given(texts, texts, st.dictionaries(texts, texts), st.lists(texts), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_accepted_fits_the_schemas(
    one: str, two: str, pairs: dict[str, str], several: list[str], number: float
) -> None:
    state = StateDirectory(MemoryBackend())
    state.write_state(
        StateChange(system_name=one, org=two, action=one, components=pairs, errors=tuple(several), warnings=(two,))
    )
    state.log_decision(
        Decision(
            decision_type=one,
            description=two,
            rationale=one,
            made_by="human",
            related_components=tuple(several),
            outcome=two,
        )
    )
    state.log_telemetry(TelemetryEvent(event_type="error", component=one, value=number, unit=two, metadata=pairs))
    state.write_map(
        MapChange(system_name=one, component=two, component_type=one, path=two, status=one, dependencies=several)
    )
    context = state.rehydrate()
    assert context.warnings == ()
    assert context.telemetry[0]["value"] == number
    assert context.system_state["components_status"] == pairs


def test_a_store_has_its_own(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError), open_state(tmp_path, in_store=True):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_beside_an_agent_that_has_the_store_open(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        with open_state(tmp_path / "store", in_store=True) as state:
            await asyncio.gather(
                *(
                    asyncio.to_thread(state.write_state, StateChange(components={f"part {n}": "up"}, errors=(str(n),)))
                    for n in range(20)
                )
            )
        assert [finding for finding in await store.verify_consistency() if finding.severity != "note"] == []
    context = rehydrate(tmp_path / "store", in_store=True)
    assert sorted(context.system_state["components_status"]) == sorted(f"part {n}" for n in range(20))
    assert sorted(context.system_state["errors"], key=int) == [str(n) for n in range(20)]
    assert context == rehydrate(tmp_path / "store" / "state")
    async with MemoryPersistence(tmp_path / "store") as store:
        assert store.opening_report.findings == ()
    assert rehydrate(tmp_path / "store", in_store=True) == context


def test_a_lock_that_is_not_given_up_ends_the_wait(tmp_path: Path) -> None:
    waits: list[float] = []
    with open_state(tmp_path) as holder, holder._locked():
        backend = LocalBackend(tmp_path)
        state = StateDirectory(backend, sleep=waits.append)
        with pytest.raises(StoreLockedError, match="writing"):
            state.log_decision(DECISION)
        backend.close()
    assert sum(waits) == pytest.approx(30)
    assert list(tmp_path.iterdir()) == []
    with open_state(tmp_path) as state:
        assert state.log_decision(DECISION).value["description"] == "d"


async def test_the_folder_of_a_store_is_one_state_however_it_is_named(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path):
        pass
    with open_state(tmp_path, in_store=True) as state:
        state.log_decision(DECISION)
        with state._locked():
            backend = LocalBackend(tmp_path / "state")
            with pytest.raises(StoreLockedError):
                StateDirectory(backend, sleep=lambda _: None).log_decision(DECISION)
            backend.close()


async def test_a_link_in_a_store_is_not_written_through(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store"):
        pass
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "state").symlink_to(tmp_path / "elsewhere")
    with open_state(tmp_path / "store", in_store=True) as state, pytest.raises(DiskError):
        state.write_state(StateChange())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_members_are_called_like_their_files() -> None:
    assert list(MEMBERS.values()) == ["system_state", "decision_log", "architecture_map", "telemetry"]
