"""What holds for a store: two files, the environment and arguments, in rising order; what is wrong is named with its place."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import yaml

from synthians_memory import MemoryPersistence, StoreConfig
from synthians_memory.errors import (
    DiskError,
    InvalidTypeError,
    InvalidValueError,
    NotRegularFileError,
    PermissionDeniedError,
    SynthiansMemoryError,
)
from synthians_memory.maintenance.configuration import (
    ARGUMENT,
    DEFAULT,
    Configuration,
    GitHubAlerts,
    configured,
    load_configuration,
    store_path,
    user_file,
)
from synthians_memory.maintenance.configuration_keys import DEFAULTS, SECTIONS
from synthians_memory.maintenance.significance import CaptureRules

Where = Literal["user", "store"]
WHERE: tuple[Where, ...] = ("user", "store")


class Home(NamedTuple):
    """A user's home directory, and a store."""

    path: Path

    @property
    def store(self) -> Path:
        return self.path / "notes"

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.path)}

    def file(self, where: Where) -> Path:
        return self.store / "config.yaml" if where == "store" else Path(user_file(self.environment))

    def write(self, where: Where, content: bytes | str | dict[str, Any]) -> Path:
        file = self.file(where)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(content) if isinstance(content, dict) else content
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def load(self, path: str | Path | None = None, /, variables: Any = None, **arguments: Any) -> Configuration:
        return load_configuration(path or self.store, {**self.environment, **(variables or {})}, arguments)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "notes").mkdir()
    return Home(tmp_path)


def document(key: str, value: Any) -> dict[str, Any]:
    """The sections that give `key` its value."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


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


# What is wrong is named

WRONG: list[tuple[dict[str, Any] | str, type[SynthiansMemoryError], str, str]] = [
    ({"storage": {"flush_threshold": "many"}}, InvalidTypeError, "storage.flush_threshold", "an integer"),
    ({"storage": {"flush_threshold": None}}, InvalidTypeError, "storage.flush_threshold", "an integer"),
    ({"storage": {"flush_threshold": {}}}, InvalidTypeError, "storage.flush_threshold", "an integer"),
    ({"storage": {"flush_threshold": {"a": 1}}}, InvalidValueError, "unknown key storage.flush_threshold.a", "Did you"),
    ({"storage": {"flush_threshold": 0}}, InvalidValueError, "storage.flush_threshold", "lie in 1.."),
    ({"storage": {"durability": "sometimes"}}, InvalidValueError, "storage.durability", "'interval'"),
    ({"storage": {"auto_repair": 1}}, InvalidTypeError, "storage.auto_repair", "true or false"),
    ({"storage": {"backup_enabled": "yes"}}, InvalidTypeError, "storage.backup_enabled", "true or false"),
    ({"storage": {"backup_retention_days": 0}}, InvalidValueError, "storage.backup_retention_days", "lie in 1.."),
    ({"storage": {"flush_treshold": 3}}, InvalidValueError, "unknown key storage.flush_treshold", "flush_threshold"),
    ({"storage": {"storage_path": "x"}}, InvalidValueError, "unknown key storage.storage_path", "storage.path"),
    ({"storage": 5}, InvalidTypeError, "storage", "dictionary"),
    ({"health": {"check_interval_hours": 0}}, InvalidValueError, "health.check_interval_hours", "above 0"),
    ({"health": {"check_interval_hours": "hourly"}}, InvalidTypeError, "health.check_interval_hours", "a number"),
    ({"health": {"check_interval_hours": True}}, InvalidTypeError, "health.check_interval_hours", "a number"),
    ("health: {check_interval_hours: .nan}", InvalidValueError, "health.check_interval_hours", "above 0"),
    ("health: {check_interval_hours: .inf}", InvalidValueError, "health.check_interval_hours", "at most"),
    ({"health": {"auto_rollback": "no"}}, InvalidTypeError, "health.auto_rollback", "true or false"),
    ({"health": {"rollback": True}}, InvalidValueError, "unknown key health.rollback", "health.auto_rollback"),
    ({"healthy": {}}, InvalidValueError, "unknown key healthy", "health"),
    ({"flush_threshold": 3}, InvalidValueError, "unknown key flush_threshold", "storage"),
    ({"capture": {"rules": "all"}}, InvalidTypeError, "capture.rules", "list"),
    ({"capture": {"rules": [{"name": "x"}]}}, InvalidTypeError, "capture", "importance"),
    ({"capture": {"rules": [5]}}, InvalidTypeError, "capture", "a name, words"),
    (
        {"capture": {"rules": [{"name": "x", "words": ["x"], "importance": 2}]}},
        InvalidValueError,
        "capture",
        "importance 2",
    ),
    (
        {"capture": {"rules": [{"name": "x", "words": ["x"], "importance": 1, "wieght": 1}]}},
        InvalidValueError,
        "capture",
        "wieght",
    ),
    (
        {"capture": {"rules": [{"name": "x", "words": [], "importance": 1, "patterns": [5]}]}},
        InvalidTypeError,
        "capture",
        "no string: 5",
    ),
    ({"capture": {"tags": {"ada": "Ada"}}}, InvalidTypeError, "capture.tags.ada", "list"),
    ({"capture": {"tags": {"ada": [5]}}}, InvalidTypeError, "capture.tags.ada.0", "string"),
    ({"capture": {"tags": {"ada": [""]}}}, InvalidValueError, "capture", "empty"),
    ({"capture": {"words": []}}, InvalidValueError, "unknown key capture.words", "capture.rules"),
    ({"alerts": {"github": {"enabled": "on"}}}, InvalidTypeError, "alerts.github.enabled", "boolean"),
    ({"alerts": {"github": {"labels": "bug"}}}, InvalidTypeError, "alerts.github.labels", "list"),
    ({"alerts": {"github": {"repository": "notes"}}}, InvalidValueError, "alerts.github.repository", "OWNER/NAME"),
    ({"alerts": {"mail": {}}}, InvalidValueError, "unknown key alerts.mail", "alerts.github"),
    ({"alerts": {"github": {"token": "x"}}}, InvalidValueError, "alerts.github.token", "SYNTHIANS_MEMORY_GITHUB_TOKEN"),
    ({"github_token": "x"}, InvalidValueError, "github_token", "SYNTHIANS_MEMORY_GITHUB_TOKEN"),
]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("content", "kind", "key", "hint"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_what_is_wrong_in_a_file_is_named(
    content: dict[str, Any] | str, kind: type[SynthiansMemoryError], key: str, hint: str, where: Where, home: Home
) -> None:
    file = home.write(where, content)
    with pytest.raises(kind) as raised:
        home.load()
    assert str(file) in raised.value.message
    assert key in raised.value.message
    assert hint in str(raised.value)
    assert raised.value.hint


def test_what_is_wrong_is_found_also_where_a_higher_layer_says_otherwise(home: Home) -> None:
    home.write("user", {"storage": {"flush_threshold": "many"}})
    home.write("store", {"storage": {"flush_threshold": 3}})
    with pytest.raises(InvalidTypeError, match=r"synthians-memory/config\.yaml"):
        home.load(flush_threshold=4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("CHECK_INTERVAL_HOURS", "hourly", "must be a number"),
        ("CHECK_INTERVAL_HOURS", "nan", "above 0"),
        ("CHECK_INTERVAL_HOURS", "-1", "above 0"),
        ("AUTO_ROLLBACK", "perhaps", "true or false"),
        ("BACKUP_ENABLED", "2", "true or false"),
        ("AUTO_ROLLBAK", "true", "no setting"),
        ("FLUSH_THRESHOLD", "many", "an integer"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str, message: str, home: Home) -> None:
    with pytest.raises(InvalidValueError, match=f"SYNTHIANS_MEMORY_{name} is .*{message}"):
        home.load(variables={f"SYNTHIANS_MEMORY_{name}": text})


def test_other_variables_and_empty_ones_are_left_alone(home: Home) -> None:
    variables = {
        "SYNTHIANS_MEMORY_SERVICE_PORT": "1",
        "SYNTHIANS_MEMORY_AUTO_ROLLBACK": "",
        "STORAGE": "x",
        "HEALTH": "5",
    }
    home.write("store", {"storage": {}})
    assert home.load(variables=variables).origins == {"storage.path": ARGUMENT}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flush_threshold": "many"}, "flush_threshold must be an integer"),
        ({"auto_rollback": 1}, "auto_rollback must be true or false"),
        ({"flush_treshold": 3}, "unknown setting flush_treshold. Did you mean flush_threshold"),
        ({"storage_path": "x"}, "unknown setting storage_path"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], message: str, home: Home) -> None:
    with pytest.raises(InvalidTypeError, match=message):
        home.load(**arguments)


@pytest.mark.parametrize("name", ["path", "db_path"])
def test_the_path_cannot_stand_in_the_store_itself(name: str, home: Home) -> None:
    file = home.write("store", {"storage": {name: str(home.store)}})
    with pytest.raises(InvalidValueError, match=f"storage.{name} cannot stand in {file}") as raised:
        home.load()
    assert str(home.file("user")) in raised.value.hint


def test_a_key_and_its_alias_are_one_too_many(home: Home) -> None:
    home.write("user", {"storage": {"path": "a", "db_path": "a"}})
    with pytest.raises(InvalidValueError, match=r"both storage.path and storage.db_path"):
        home.load()


SECRET = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    "content",
    [
        f"alerts: {{github: {{token: {SECRET}}}}}",
        f"alerts: {{github: {{repository: 'https://{SECRET}@github.com/a/b'}}}}",
        f"alerts:\n  github:\n   token: '{SECRET}\n",
        f"alerts: [{SECRET}\n",
        f"alerts: {SECRET}",
        f"? {SECRET}\n: - ]",
        f"{SECRET}: 1",
        f"storage: {{flush_threshold: {SECRET}}}",
        f"storage: {{durability: {SECRET}}}",
        f"capture: {{rules: [{SECRET}]}}",
        f"storage: !{SECRET} x",
    ],
)
def test_a_token_in_a_file_is_refused_and_not_shown(content: str, home: Home) -> None:
    home.write("store", content)
    with pytest.raises((InvalidValueError, InvalidTypeError)) as raised:
        home.load()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


# What a file may look like


@pytest.mark.parametrize(
    "content",
    [
        b"storage: {flush_threshold: 3}",
        b"\xef\xbb\xbfstorage:\n  flush_threshold: 3\n",
        b"storage:\r\n  flush_threshold: 3\r\n  durability: commit # wins\r\n",
        b"\xef\xbb\xbf# notes\r\nstorage:\r\n  flush_threshold: 3\r\nhealth:\r\n",
        b'{"storage": {"flush_threshold": 3}}',
        b"%YAML 1.1\n---\nstorage: {flush_threshold: 3}\n...\n",
    ],
    ids=["flow", "mark", "windows", "mark and windows", "json", "directive"],
)
@pytest.mark.parametrize("where", WHERE)
def test_forms_of_a_file(content: bytes, where: Where, home: Home) -> None:
    home.write(where, content)
    assert home.load().settings["flush_threshold"] == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "storage:\nhealth:\n",
        "alerts:\n  github:\ncapture:\n  tags:\n",
        "{}",
        "\ufeff",
    ],
)
@pytest.mark.parametrize("where", WHERE)
def test_a_file_with_nothing_in_it(content: str, where: Where, home: Home) -> None:
    file = home.write(where, content)
    found = home.load()
    assert (dict(found.values), found.files) == ({**DEFAULTS, "storage.path": str(home.store)}, (str(file),))


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "alias"),
        ("storage: &s {flush_threshold: 3}\nhealth: {<<: *s}\n", "cannot be read"),
        ("storage: &s [*s]", "alias"),
        ("storage: {flush_threshold: 3, flush_threshold: 4}", "'flush_threshold' stands there twice"),
        ("storage: {}\nstorage: {}", "'storage' stands there twice"),
        ("capture: {tags: {on: [x]}}", "'on' is no text; put it in quotes"),
        ("? [1]\n: 2", "no text"),
        ("5: 2", "no text"),
        ("a: b: c", "line 1"),
        ("storage:\n\tflush_threshold: 3", "line 2"),
        ("a: 1\n---\na: 1", "document"),
        ("storage: !!python/object/apply:os.getcwd []", "python/object"),
        ("storage: {path: !!binary aGk=}", "binary"),
        ("storage: !!set {a}", "set"),
        ("storage: {flush_threshold: 99999999999999999999}", "64 bits"),
        ("storage: {flush_threshold: 0x" + "f" * 6000 + "}", "64 bits"),
        ("storage: {flush_threshold: " + "9" * 6000 + "}", "a number"),
        ('storage: {conversation_key: "\\ud800"}', "surrogate"),
        ("[" * 20_000, "brackets"),
        (b"storage:\n  {conversation_key: 'a\0b'}", "in line 2"),
        (b"\xff\xfes\0t\0", "not UTF-8"),
        (b"storage: {conversation_key: \xe4}", "not UTF-8, at byte 28"),
        ("# " + "x" * 300_000, "longer than"),
        ("- storage", "no sections"),
        ("storage", "no sections"),
        ("7", "no sections"),
    ],
    ids=lambda value: repr(value[:30]),
)
@pytest.mark.parametrize("where", WHERE)
def test_what_is_no_such_yaml(content: str | bytes, message: str, where: Where, home: Home) -> None:
    file = home.write(where, content)
    with pytest.raises((InvalidValueError, InvalidTypeError)) as raised:
        home.load()
    assert str(file) in raised.value.message
    assert message in raised.value.message
    assert raised.value.hint


def test_dates_are_text(home: Home) -> None:
    home.write("user", "capture: {tags: {launch: [2026-11-21]}}")
    assert home.load().capture.tags["launch"] == ("2026-11-21",)


# What may lie in the place of a file


def test_a_symlink_in_a_store_is_not_followed(home: Home) -> None:
    outside = home.path / "outside.yaml"
    outside.write_text("storage: {flush_threshold: 3}")
    home.file("store").symlink_to(outside)
    with pytest.raises(NotRegularFileError, match="not followed") as raised:
        home.load()
    assert str(home.file("store")) in raised.value.message


def test_a_symlink_of_the_user_is_followed(home: Home) -> None:
    dotfiles = home.path / "dotfiles.yaml"
    dotfiles.write_text("storage: {flush_threshold: 3}")
    home.file("user").parent.mkdir(parents=True)
    home.file("user").symlink_to(dotfiles)
    found = home.load()
    assert (found.settings, found.files) == ({"flush_threshold": 3}, (str(home.file("user")),))


def test_a_store_that_is_reached_through_a_symlink(home: Home) -> None:
    home.write("store", {"storage": {"flush_threshold": 3}})
    link = home.path / "link"
    link.symlink_to(home.store)
    assert home.load(link).settings == {"flush_threshold": 3}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_refused_at_once(where: Where, kind: str, home: Home) -> None:
    file = home.file(where)
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(DiskError) as raised:
        home.load()
    assert str(file) in raised.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("where", WHERE)
def test_a_file_that_may_not_be_read(where: Where, home: Home) -> None:
    file = home.write(where, "")
    file.chmod(0)
    with pytest.raises(PermissionDeniedError, match=str(file)):
        home.load()


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_store_that_is_not_there_has_no_file(place: str, home: Home) -> None:
    (home.path / "file").write_bytes(b"")
    assert home.load(home.path / place).files == ()


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


@pytest.mark.parametrize("blocked", ["yaml", "pydantic_settings", "pydantic"])
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
