"""What holds for a store: two files, the environment and arguments, in rising order; what is wrong is named with its place."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from configured_homes import WHERE, Home, document

from synthians_memory import MemoryPersistence, StoreConfig
from synthians_memory.errors import (
    InvalidValueError,
)
from synthians_memory.maintenance.configuration import (
    ARGUMENT,
    DEFAULT,
    GitHubAlerts,
    configured,
    load_configuration,
    store_path,
    user_file,
)
from synthians_memory.maintenance.configuration_keys import DEFAULTS, SECTIONS
from synthians_memory.maintenance.significance import CaptureRules


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "notes").mkdir()
    return Home(tmp_path)


# Defaults


def test_without_anything_the_defaults_hold(home: Home) -> None:
    found = load_configuration(None, home.environment)
    assert (found.path, found.settings, found.files, dict(found.origins)) == ("./storage", {}, (), {})
    assert (found.backup_enabled, found.backup_retention_days) == (True, 7)
    assert (found.check_interval_hours, found.auto_rollback) == (1.0, True)
    assert (found.capture, found.github) == (CaptureRules(), None)
    assert found.store_config == StoreConfig()
    assert dict(found.values) == dict(DEFAULTS)


def test_every_setting_of_a_store_is_a_key() -> None:
    settings = {f"storage.{field.name}": field.default for field in fields(StoreConfig)}
    path = settings.pop("storage.storage_path")
    assert settings.items() <= DEFAULTS.items()
    assert DEFAULTS["storage.path"] == path
    assert {key.partition(".")[0] for key in DEFAULTS} == {section for section in SECTIONS if "." not in section}


# Order

# A key of each kind: variable, and a value for each layer.
KEYS: dict[str, list[Any]] = {
    "storage.flush_threshold": [3, 4, 5, 6],
    "storage.durability": ["interval", "commit", "interval", "commit"],
    "storage.target_recall": [0.5, 0.6, 0.7, 0.8],
    "storage.backup_enabled": [False, True, False, True],
    "storage.backup_retention_days": [1, 2, 3, 4],
    "health.check_interval_hours": [2.0, 3.5, 24, 0.5],
    "health.auto_rollback": [False, True, False, True],
}
LAYERS = ("user", "store", "environment", "arguments")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("given", [one for n in range(5) for one in combinations(range(4), n)], ids=str)
def test_the_highest_layer_that_gives_a_key_counts(key: str, given: tuple[int, ...], home: Home) -> None:
    name, values = key.rpartition(".")[2], KEYS[key]
    variable = f"SYNTHIANS_MEMORY_{name.upper()}"
    for layer in set(given) & {0, 1}:
        home.write(WHERE[layer], document(key, values[layer]))
    variables = {variable: str(values[2]).lower()} if 2 in given else {}
    found = home.load(variables=variables, **({name: values[3]} if 3 in given else {}))
    wanted = values[max(given)] if given else DEFAULTS[key]
    origins = [str(home.file("user")), str(home.file("store")), variable, ARGUMENT]
    assert (found.values[key], found.origin(key)) == (wanted, origins[max(given)] if given else DEFAULT)
    assert found.files == tuple(str(home.file(WHERE[layer])) for layer in given if layer < 2)
    if name in {field.name for field in fields(StoreConfig)}:
        assert dict(found.settings) == ({name: wanted} if given else {})
        assert getattr(found.store_config, name) == wanted
    if hasattr(found, name):
        assert getattr(found, name) == wanted


def test_layers_are_laid_over_each_other_key_by_key(home: Home) -> None:
    home.write(
        "user", {"storage": {"flush_threshold": 3, "durability": "interval"}, "health": {"auto_rollback": False}}
    )
    home.write("store", {"storage": {"durability": "commit"}, "health": {"check_interval_hours": 2}})
    found = home.load(variables={"SYNTHIANS_MEMORY_FLUSH_INTERVAL": "2"}, metric="ip")
    assert found.settings == {"flush_threshold": 3, "durability": "commit", "flush_interval": 2.0, "metric": "ip"}
    assert (found.auto_rollback, found.check_interval_hours) == (False, 2.0)


@pytest.mark.parametrize("name", ["path", "db_path"])
@pytest.mark.parametrize("given", range(3))
def test_the_path_of_the_store(given: int, name: str, home: Home) -> None:
    file = home.write("user", {"storage": {name: "~/mine"}})
    mine = str(home.path / "mine")
    environment = {**home.environment, **({"SYNTHIANS_MEMORY_STORE": "~/his"} if given else {})}
    argument = "~/hers" if given > 1 else None
    found = load_configuration(argument, environment)
    wanted = [
        (mine, str(file)),
        (str(home.path / "his"), "SYNTHIANS_MEMORY_STORE"),
        (str(home.path / "hers"), ARGUMENT),
    ]
    assert (found.path, found.origin("storage.path")) == wanted[given]
    assert (found.values["storage.path"], found.store_config.storage_path) == (found.path, found.path)
    assert store_path(argument, environment) == found.path
    assert found.settings == {}


def test_the_file_of_the_store_that_the_users_file_names_is_read(home: Home) -> None:
    home.write("user", {"storage": {"path": str(home.store)}})
    home.write("store", {"storage": {"flush_threshold": 9}})
    assert load_configuration(None, home.environment).settings == {"flush_threshold": 9}


def test_a_path_of_no_use_is_refused(home: Home) -> None:
    for wrong in ("", "a\0b"):
        with pytest.raises(InvalidValueError, match="storage_path is empty or has"):
            load_configuration(wrong, home.environment)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.config"),
        ({"HOME": "/home/ada", "XDG_CONFIG_HOME": "/etc/ada"}, "/etc/ada"),
        ({"HOME": "/home/ada", "XDG_CONFIG_HOME": "relative"}, "/home/ada/.config"),
        ({"HOME": "/home/ada", "XDG_CONFIG_HOME": ""}, "/home/ada/.config"),
    ],
)
def test_where_the_users_file_is(environment: dict[str, str], folder: str) -> None:
    assert user_file(environment) == f"{folder}/synthians-memory/config.yaml"


def test_without_a_home_in_the_environment_the_system_knows_it() -> None:
    assert user_file({}) == os.path.expanduser("~/.config/synthians-memory/config.yaml")


# Capture and alerts


def test_tags_of_both_files_are_put_together(home: Home) -> None:
    home.write("user", {"capture": {"tags": {"people": ["Ada"], "rust": [], "db": ["sqlite"]}}})
    home.write("store", {"capture": {"tags": {"people": ["Grace"], "db": []}}})
    found = home.load()
    tags = found.capture.judge("Grace and Ada like cargo, sqlite and github").tags
    assert set(tags) == {"people", "github"}
    assert "people" not in found.capture.judge("Ada").tags
    assert found.origin("capture.tags.people") == str(home.file("store"))
    assert found.origin("capture.tags.rust") == str(home.file("user"))


def test_rules_of_the_store_take_the_place_of_the_users(home: Home) -> None:
    rule = {"name": "tea", "words": ["tea"], "importance": 0.4}
    home.write("user", {"capture": {"rules": [{**rule, "name": "milk"}]}})
    home.write("store", {"capture": {"rules": [rule]}})
    found = home.load()
    assert found.capture.judge("tea, approved").rules == ("tea",)
    assert found.values["capture.rules"] == [rule]


def test_issues_are_filed_only_where_that_is_switched_on(home: Home) -> None:
    home.write("user", {"alerts": {"github": {"repository": "ada/notes", "labels": ["memory"], "assignees": ["ada"]}}})
    assert home.load().github is None
    home.write("store", {"alerts": {"github": {"enabled": True}}})
    assert home.load().github == GitHubAlerts("ada/notes", ("memory",), ("ada",))


def test_a_switch_without_a_repository_is_refused(home: Home) -> None:
    file = home.write("store", {"alerts": {"github": {"enabled": True}}})
    with pytest.raises(InvalidValueError, match=f"{file} switches alerts.github on"):
        home.load()


# In a program


async def test_a_store_is_opened_as_its_configuration_says(home: Home) -> None:
    home.write("store", {"storage": {"embedding_dimension": 3, "metric": "ip", "durability": "interval"}})
    config = configured(home.store, home.environment, durability="commit")
    async with MemoryPersistence(config=config) as store:
        stats = store.stats()
        assert (stats["location"], stats["embedding_dimension"]) == (str(home.store), 3)
        assert (stats["metric"], store.config.durability) == ("ip", "commit")
    # The settings were there before the store, and are there still.
    assert configured(home.store, home.environment).durability == "interval"


WITHOUT = """
import sys
for name in {blocked!r}: sys.modules[name] = None
from synthians_memory.errors import MissingExtraError
from synthians_memory.maintenance.configuration import load_configuration
try:
    print(dict(load_configuration(sys.argv[1], dict(HOME=sys.argv[2], SYNTHIANS_MEMORY_FLUSH_THRESHOLD="3")).settings))
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "blocked", ["yaml", *(pytest.param(name, marks=pytest.mark.long) for name in ("pydantic_settings", "pydantic"))]
)
def test_without_the_extra_only_files_are_missed(blocked: str, home: Home) -> None:
    command = [sys.executable, "-c", WITHOUT.format(blocked=(blocked,)), str(home.store), str(home.path)]

    def run() -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    assert run() == "{'flush_threshold': 3}\n"
    for where in WHERE:
        file = home.write(where, "")
        assert 'pip install "synthians-memory[ops]"' in run()
        assert blocked in run()
        file.unlink()


def test_without_a_file_nothing_of_the_extra_is_imported(home: Home) -> None:
    code = "import sys; from synthians_memory.maintenance.configuration import load_configuration as load; "
    code += "load(sys.argv[1], {'HOME': sys.argv[1]}); print({'yaml', 'pydantic', 'urllib3'} & set(sys.modules))"
    command = [sys.executable, "-c", code, str(home.path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "set()\n"
