"""The commands of the state: the workflow as documented, what they refuse, what they print, and the store they make."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_lines import Called, Program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthians_memory import state as state_package
from synthians_memory.layout import STATE_FILES, is_set_aside
from synthians_memory.state import open_state
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import WAIT_SECONDS, StoreLock

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "state.md").read_text(encoding="utf-8")
KEYS = ["system_state", "decision_log", "architecture_map", "telemetry", "warnings"]
DECISION = ("--type", "t", "--description", "d", "--rationale", "r", "--made-by", "agent")
EVENT = ("--event-type", "error", "--component", "api")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def steps() -> list[list[str]]:
    lines = block("sh").replace("\\\n", "").splitlines()
    return [shlex.split(line) for line in lines]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of its own, with a state in it."""
    with open_state(tmp_path / "place") as state:
        state.write_state(state_package.StateChange(components={"db": "up"}))
        state.log_decision(state_package.Decision(decision_type="t", description="d", rationale="r", made_by="human"))
        state.log_telemetry(state_package.TelemetryEvent(event_type="error", component="c"))
        state.write_map(state_package.MapChange(component="db"))
    return tmp_path / "place"


def test_the_workflow_of_the_page_each_step_a_process(program: Program, tmp_path: Path) -> None:
    script = str(Path(sys.executable).with_name("synthians-memory"))
    assert {step[0] for step in steps()} == {"synthians-memory"}
    assert {step[2] for step in steps()} == {"rehydrate", "write", "map", "log-decision", "log-telemetry"}
    outcomes = [program(*step[1:], command=[script]) for step in steps()]
    assert [outcome.code for outcome in outcomes] == [0] * len(outcomes), outcomes
    assert outcomes[0].err.count("warning: ") == 4
    assert [outcome.err for outcome in outcomes[1:]] == [""] * (len(outcomes) - 1)
    context = json.loads((tmp_path / ".memory" / "context.json").read_bytes())
    assert list(context) == KEYS
    assert context["warnings"] == []
    assert context["system_state"]["components_status"] == {"api": "healthy"}
    assert context["system_state"]["last_action"] == "scaffold_backend"
    assert context["decision_log"][0]["related_components"] == ["api", "storage"]
    assert context["decision_log"][0]["outcome"] == "Adopted"
    assert context["telemetry"][0]["value"] == 42
    assert context["telemetry"][0]["metadata"] == {"test": "test_health", "run": "abc123"}
    assert context["architecture_map"]["dependency_graph"] == {"api": ["storage"]}
    assert sorted(contents(tmp_path / ".memory")) == sorted([*STATE_FILES, "context.json"])


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "docs/state.md", "exec"), {})  # noqa: S102
    assert set(contents(tmp_path / ".memory")) == {"system_state.json", "decision_log.json"}


def test_the_page_names_each_file_and_its_schema() -> None:
    rows = re.findall(r"^\| `(\w+\.json)` \| an (\w+).*? \| `([\w.]+)` \|$", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(STATE_FILES)
    schemas = Path(str(state_package.__file__)).parent.parent / "schemas"
    for name, kind, schema in rows:
        assert schema == name.replace(".json", ".schema.json")
        assert json.loads((schemas / schema).read_bytes())["type"] == kind


# Rehydrating


def test_rehydrate_prints_one_object_also_on_a_terminal(call: Called, place: Path) -> None:
    before = contents(place)
    outcome = call("state", "rehydrate", "--state-dir", place)
    assert (outcome.code, outcome.err) == (0, "")
    assert list(outcome.json) == KEYS
    assert outcome.json["warnings"] == []
    assert call.on_terminal("state", "rehydrate", "--state-dir", place).json == outcome.json
    assert contents(place) == before
    assert not call.store.exists()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.fixed_dictionaries(
        dict.fromkeys(
            STATE_FILES, st.none() | st.binary() | st.sampled_from([b"[]", b"{}", b'{"components": {"\\n": []}}'])
        )
    )
)
def test_rehydrate_ends_well_whatever_it_finds(found: dict[str, bytes | None], call: Called) -> None:
    directory = call.store / "state"
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        (directory / name).unlink(missing_ok=True)
        if content is not None:
            (directory / name).write_bytes(content)
    outcome = call("state", "rehydrate")
    assert outcome.code == 0
    warned = [line.removeprefix("warning: ") for line in outcome.err.splitlines() if line.startswith("warning: ")]
    # What would steer a terminal is replaced there.
    assert len(warned) == len(outcome.json["warnings"]) > 0


def test_rehydrate_of_nothing_makes_nothing(call: Called, tmp_path: Path) -> None:
    for line in (("state", "rehydrate"), ("state", "rehydrate", "--state-dir", tmp_path / "nowhere")):
        outcome = call(*line)
        assert outcome.code == 0
        assert outcome.json == {**dict.fromkeys(KEYS), "warnings": [f"{name} is missing" for name in STATE_FILES]}
    assert list(tmp_path.iterdir()) == []


def test_rehydrate_to_a_file_whose_directories_are_made(call: Called, place: Path, tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "context.json"
    outcome = call("state", "rehydrate", "--state-dir", place, "--output", target)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert json.loads(target.read_bytes()) == call("state", "rehydrate", "--state-dir", place).json
    assert [path.name for path in target.parent.iterdir()] == ["context.json"]
    target.write_text("old")
    os.link(target, tmp_path / "old")
    assert call("state", "rehydrate", "--state-dir", place, "--output", target).code == 0
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("name", STATE_FILES)
def test_rehydrate_does_not_write_over_the_state(name: str, call: Called, place: Path, tmp_path: Path) -> None:
    before = contents(place)
    (tmp_path / "link").symlink_to(place / name)
    for target in (place / name, place / ".." / "place" / name, tmp_path / "link"):
        call("state", "rehydrate", "--state-dir", place, "--output", target).failed(2, "file of the state", "--output")
    assert contents(place) == before


def test_rehydrate_says_where_it_cannot_write(call: Called, place: Path, tmp_path: Path) -> None:
    call("state", "rehydrate", "--state-dir", place, "--output", "").failed(2, "--output is empty")
    call("state", "rehydrate", "--state-dir", place, "--output", tmp_path).failed(6, "directory")
    (tmp_path / "file").write_text("x")
    call("state", "rehydrate", "--state-dir", place, "--output", tmp_path / "file" / "context.json").failed(6, "file")


# Writing


REFUSED: list[tuple[str, ...]] = [
    ("write", "--phase", "Building"),
    ("write", "--phase", ""),
    ("write", "--health-score", "-1"),
    ("write", "--health-score", "101"),
    ("write", "--health-score", "85.5"),
    ("write", "--health-score", "NaN"),
    ("write", "--health-score", ""),
    ("write", "--component", "api"),
    ("write", "--status", "up"),
    ("write", "--component", "a", "--component", "b", "--status", "up"),
    ("write", "--component", "a", "--status", "up", "--component", "a", "--status", "down"),
    ("write", "--nonsense", "x"),
    ("write", "extra"),
    ("log-decision", *DECISION[:-1], "committee"),
    ("log-decision", *DECISION[:-2]),
    ("log-decision", *DECISION[2:]),
    ("log-telemetry", "--event-type", "success", "--component", "api"),
    ("log-telemetry", "--event-type", "error"),
    ("log-telemetry", *EVENT, "--value", "nan"),
    ("log-telemetry", *EVENT, "--value", "inf"),
    ("log-telemetry", *EVENT, "--value", "-Infinity"),
    ("log-telemetry", *EVENT, "--value", "1e999"),
    ("log-telemetry", *EVENT, "--value", "fast"),
    ("log-telemetry", *EVENT, "--value", "9" * 5000),
    ("log-telemetry", *EVENT, "--metadata", "[]"),
    ("log-telemetry", *EVENT, "--metadata", '"text"'),
    ("log-telemetry", *EVENT, "--metadata", "null"),
    ("log-telemetry", *EVENT, "--metadata", ""),
    ("log-telemetry", *EVENT, "--metadata", "{'a': 1}"),
    ("log-telemetry", *EVENT, "--metadata", '{"a": NaN}'),
    ("log-telemetry", *EVENT, "--metadata", '{"a": 1e999}'),
    ("log-telemetry", *EVENT, "--metadata", '{"a": 1, "a": 2}'),
    ("map", "--status", "up"),
    ("map", "--component", "api", "--health", "200"),
    ("map", "--component", "api", "--depends-on", "db", "--clear-dependencies"),
]


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: " ".join(line)[:60])
def test_what_is_refused_leaves_the_files_untouched(line: tuple[str, ...], call: Called, place: Path) -> None:
    before = contents(place)
    call("state", line[0], "--state-dir", place, *line[1:]).failed(2, "")
    assert contents(place) == before
    call("state", *line).failed(2, "")
    assert not call.store.exists()


def test_a_component_that_is_not_there(call: Called, place: Path) -> None:
    before = contents(place)
    call("state", "map", "--state-dir", place, "--remove", "nobody").failed(3, "no component 'nobody'", "rehydrate")
    assert contents(place) == before


def test_an_empty_directory_name_is_not_the_present_one(call: Called, tmp_path: Path) -> None:
    for command in (("rehydrate",), ("write",)):
        call("state", *command, "--state-dir", "").failed(2, "--state-dir is empty")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_printed(call: Called, place: Path) -> None:
    def written(*line: object) -> Any:
        outcome = call("state", line[0], "--state-dir", place, *line[1:])
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.json["set_aside"] is None
        return outcome.json["written"]

    found = written(
        *("write", "--phase", "deployed", "--action", "ship", "--health-score", "7", "--system-name", "s"),
        *("--component", "api", "--status", "up", "--component", "web", "--status", "slow", "--org", "o"),
        *("--error", "e1", "--error", "e2", "--warning", "w"),
    )
    assert (found["phase"], found["last_action"], found["health_score"]) == ("deployed", "ship", 7)
    assert (found["system_name"], found["org"]) == ("s", "o")
    assert found["components_status"] == {"db": "up", "api": "up", "web": "slow"}
    assert (found["errors"], found["warnings"]) == (["e1", "e2"], ["w"])
    found = written("write", "--clear-errors", "--error", "e3", "--clear-warnings")
    assert (found["errors"], found["warnings"], found["phase"]) == (["e3"], [], "deployed")
    found = written("log-decision", *DECISION, "--component", "b", "--component", "a")
    assert found["related_components"] == ["b", "a"]
    assert "outcome" not in found
    found = written("log-telemetry", *EVENT, "--value", "12345678901234567", "--metadata", "{}")
    assert (found["value"], found["metadata"]) == (12345678901234567, {})
    assert written("log-telemetry", *EVENT, "--value", "-1.5")["value"] == -1.5
    found = written("map", "--component", "db", "--depends-on", "b", "--depends-on", "a", "--type", "t", "--path", "p")
    assert found["dependency_graph"] == {"db": ["b", "a"]}
    assert written("map", "--component", "db", "--clear-dependencies")["dependency_graph"] == {"db": []}
    assert written("map", "--remove", "db")["components"] == []
    shown = call.on_terminal("state", "write", "--state-dir", place)
    assert shown.out == f"wrote {place / 'system_state.json'}\n"


@pytest.mark.parametrize(
    "line",
    [("write",), ("log-decision", *DECISION), ("log-telemetry", *EVENT), ("map",)],
    ids=lambda line: line[0],
)
def test_a_damaged_file_is_kept_and_said(line: tuple[str, ...], call: Called, place: Path) -> None:
    names = {"write": "system_state", "log-decision": "decision_log", "map": "architecture_map"}
    name = f"{names.get(line[0], 'telemetry')}.json"
    (place / name).write_bytes(b"[{")
    outcome = call("state", line[0], "--state-dir", place, *line[1:])
    assert outcome.code == 0
    kept = outcome.json["set_aside"]
    assert is_set_aside(kept, name)
    assert (place / kept).read_bytes() == b"[{"
    assert "was damaged" in outcome.err
    assert kept in outcome.err
    assert call("state", "rehydrate", "--state-dir", place).json["warnings"] == []


def test_what_is_no_file_is_refused(call: Called, place: Path) -> None:
    (place / "telemetry.json").unlink()
    (place / "telemetry.json").mkdir()
    call("state", "log-telemetry", "--state-dir", place, *EVENT).failed(6, "telemetry.json")
    assert (place / "telemetry.json").is_dir()


# In a store


def test_the_store_is_made_where_there_is_none_and_stays_one(call: Called) -> None:
    assert call("state", "write", "--phase", "building").code == 0
    assert call("remember", "Ada takes tea").code == 0
    assert call("state", "log-telemetry", *EVENT).code == 0
    assert call("check").json["findings"] == []
    assert call("state", "rehydrate").json["system_state"]["phase"] == "building"
    assert sorted(contents(call.store / "state")) == ["system_state.json", "telemetry.json"]


def test_the_folder_of_something_else_is_left_alone(call: Called) -> None:
    call.store.mkdir()
    (call.store / "thesis.tex").write_text("important")
    call("state", "write").failed(3, "no store")
    assert [path.name for path in call.store.iterdir()] == ["thesis.tex"]
    outcome = call("state", "rehydrate")
    assert (outcome.code, len(outcome.json["warnings"])) == (0, 4)


def test_several_first_writers_make_one_store_and_lose_nothing(program: Program, tmp_path: Path) -> None:
    started = [
        program.start("--store", "notes", "state", "log-telemetry", "--event-type", "deploy", "--component", number)
        for number in range(4)
    ]
    for process in started:
        out, err = process.communicate(timeout=100)
        assert (process.returncode, err) == (0, b""), out
    found = program("--store", "notes", "state", "rehydrate").json
    assert sorted(event["component"] for event in found["telemetry"]) == ["0", "1", "2", "3"]
    assert program("--store", "notes", "check").json["clean"]


def test_who_meets_another_that_is_making_the_store_waits(call: Called) -> None:
    backend = LocalBackend(call.store, create=True)
    lock = StoreLock.acquire(backend, clock_text="2026-11-20T12:00:00.000000Z")
    # Longer than one opening of a store waits for another.
    release = threading.Timer(2 * WAIT_SECONDS, lock.release)
    release.start()
    assert call("state", "write").code == 0
    release.join()
    backend.close()
    assert call("check").json["clean"]


def test_a_store_that_is_copied_takes_its_state_along(call: Called, tmp_path: Path) -> None:
    assert call("state", "write", "--action", "moved").code == 0
    shutil.copytree(call.store, tmp_path / "copy")
    copy = call.on(tmp_path / "copy")
    assert copy("state", "rehydrate").json == call("state", "rehydrate").json


@pytest.mark.parametrize("name", state_package.__all__)
def test_every_name_is_documented_with_its_arguments(name: str) -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.split("## synthians_memory.state\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"`{name}(\(.*?\))?(?: -> [^`]+)?`", section)
    assert found, name
    if name in ("Phase", "MadeBy", "EventType"):
        return
    scope: dict[str, Any] = {"random_id": None, "time": time}
    exec(f"def documented{found[1]}: ...", scope)  # noqa: S102
    documented, actual = (
        [(argument.name, argument.kind) for argument in inspect.signature(function).parameters.values()]
        for function in (scope["documented"], getattr(state_package, name))
    )
    assert documented == actual
