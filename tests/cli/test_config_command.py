"""Every command goes by the configuration of its store, and `config show` tells where each value came from."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from command_lines import Called, Program
from test_cli_docs import COMMANDS, SECTIONS, example
from typer.testing import CliRunner

from synthians_memory.entrypoints.cli.app import app
from synthians_memory.maintenance.configuration_keys import DEFAULTS

# They work on a directory of their own, and take no setting of a store.
WITHOUT_SETTINGS = {name for name in COMMANDS if name.startswith(("state ", "ledger "))} - {
    "ledger promote",
    "ledger doctor",
}
ELSEWHERE = "verify-disk"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "synthians-memory"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, **sections: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "config.yaml"
    file.write_text(json.dumps(sections))
    return file


def bare(*args: str) -> Any:
    """A call without --store."""
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


def shown(call: Called, **environment: str) -> dict[str, tuple[Any, str]]:
    rows = call("config", "show", **environment).json["keys"]
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: (row["value"], row["origin"]) for row in rows}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_SETTINGS | {ELSEWHERE}])
def test_every_command_reads_the_file_in_its_store(
    name: str, call: Called, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(store, storage={"flush_threshold": "many"})
    before = sorted(path.name for path in store.rglob("*"))
    for given in ("peps_sample.jsonl", "memory.jsonl"):
        (tmp_path / given).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    call(*example(SECTIONS[name])[2:]).failed(2, f"{file} has a wrong value for storage.flush_threshold")
    assert sorted(path.name for path in store.rglob("*")) == before


@pytest.mark.parametrize("name", sorted(WITHOUT_SETTINGS))
def test_a_command_without_settings_takes_the_place_from_the_users_file(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(home, storage={"path": 5})
    monkeypatch.chdir(tmp_path)
    result = bare(*example(SECTIONS[name])[2:])
    assert (result.exit_code, f"{file} has a wrong value for storage.path" in result.stderr) == (
        125 if name == "ledger run" else 2,
        True,
    )


def test_the_settings_of_the_store_govern_its_opening(call: Called, store: Path) -> None:
    write(store, storage={"durability": "interval"})
    assert call("stats").json["durability"] == "interval"
    assert call("stats", SYNTHIANS_MEMORY_DURABILITY="commit").json["durability"] == "commit"


def test_a_store_is_made_as_a_file_that_was_there_before_says(call: Called) -> None:
    write(call.store, storage={"embedding_dimension": 3, "metric": "ip"})
    call("list").failed(3, "holds no store", "init")
    made = call("init").json
    assert (made["created"], made["embedding_dimension"], made["metric"]) == (True, 3, "ip")
    assert call("init").json["created"] is False
    assert call("check").code == 0


def test_the_store_is_where_the_users_file_says(home: Path, store: Path, tmp_path: Path) -> None:
    write(home, storage={"path": str(store)})
    assert json.loads(bare("stats").stdout)["location"] == str(store)
    assert json.loads(bare("--store", str(tmp_path / "new"), "init").stdout)["location"] == str(tmp_path / "new")


def test_capture_goes_by_the_rules_of_the_store(call: Called) -> None:
    rule = {"name": "tea", "words": ["tea"], "importance": 0.4}
    write(call.store, capture={"rules": [rule], "tags": {"people": ["Ada"]}})
    assert call("capture", "Approved?", "Yes, approved.").json["captured"] is False
    kept = call("get", call("capture", "Tea, Ada?", "With milk.").json["id"]).json
    assert (kept["quickrecal_score"], kept["tags"]) == (0.4, ["people"])


def test_a_file_without_the_extra_says_how_to_install_it(program: Program, store: Path) -> None:
    code = "import sys; sys.modules['yaml'] = None; from synthians_memory.entrypoints.cli.app import main; main()"
    command = [sys.executable, "-c", code]
    assert program("--store", store, "stats", command=command).code == 0
    write(store, storage={"durability": "interval"})
    outcome = program("--store", store, "stats", command=command)
    outcome.failed(2, "yaml cannot be imported", 'pip install "synthians-memory[ops]"')


def test_config_show_without_anything(call: Called) -> None:
    rows = shown(call)
    assert rows.pop("storage.path") == (str(call.store), "argument")
    assert rows.pop("alerts.github.token") == (None, "default")
    assert rows == {key: (value, "default") for key, value in DEFAULTS.items() if key != "storage.path"}
    assert not call.store.exists()


def test_config_show_tells_where_each_value_came_from(call: Called, home: Path) -> None:
    users = write(home, storage={"flush_threshold": 3, "durability": "interval"}, capture={"tags": {"people": ["Ada"]}})
    stores = write(call.store, storage={"durability": "commit"})
    rows = shown(call, SYNTHIANS_MEMORY_AUTO_ROLLBACK="no")
    assert rows["storage.flush_threshold"] == (3, str(users))
    assert rows["storage.durability"] == ("commit", str(stores))
    assert rows["capture.tags.people"] == (["Ada"], str(users))
    assert rows["health.auto_rollback"] == (False, "SYNTHIANS_MEMORY_AUTO_ROLLBACK")
    assert call("config", "show").json["files"] == [str(users), str(stores)]
    result = bare("config", "show")
    assert json.loads(result.stdout)["store"] == "./storage"


def test_config_show_for_people(call: Called) -> None:
    write(call.store, storage={"durability": "interval"}, capture={"tags": {"x\u202ey": ["\u001b[31mred"]}})
    outcome = call.on_terminal("config", "show")
    assert outcome.code == 0
    assert re.search(r"^storage\.durability +interval +\S+", outcome.out, re.MULTILINE)
    assert re.search(r"^storage\.embedding_dimension +none +default", outcome.out, re.MULTILINE)
    assert re.search(r"^health\.auto_rollback +true +default", outcome.out, re.MULTILINE)
    assert re.search(r"^capture\.rules +approval, decision, rfc", outcome.out, re.MULTILINE)
    assert not {"\u202e", "\u001b[31m"} & {part for part in ("\u202e", "\u001b[31m") if part in outcome.out}


def test_config_show_shows_no_secret(call: Called) -> None:
    token, password = "ghp_" + "a1B2" * 9, 'correct"horse\\7481'
    write(call.store, storage={"conversation_key": token}, capture={"tags": {"x": [f"my {password} is"]}})
    environment = {"SYNTHIANS_MEMORY_GITHUB_TOKEN": "plainly-a-token", "SERVICE_PASSWORD": password}
    outcome = call("config", "show", **environment)
    assert outcome.code == 0
    assert not [secret for secret in (token, "7481", "plainly-a-token") if secret in outcome.out + outcome.err]
    rows = {row["key"]: row for row in outcome.json["keys"]}
    assert rows["alerts.github.token"]["origin"] == "SYNTHIANS_MEMORY_GITHUB_TOKEN"
    assert rows["capture.tags.x"]["value"] == ["my [redacted] is"]
