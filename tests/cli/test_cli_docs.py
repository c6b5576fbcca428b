"""docs/cli.md agrees with the program: every command, option, setting, exit code and key, and no others."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from command_lines import SAMPLE, Called
from typer.testing import CliRunner

from synthians_memory.config import StoreConfig
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.entrypoints.cli.exits import ExitCode

DOCS = (Path(__file__).resolve().parent.parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", DOCS, flags=re.MULTILINE)[1:]}
ROOT: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands
NO_COMMANDS = ["Before the command", "Output", "Exit codes", "Settings"]


def first_column(section: str) -> list[str]:
    return re.findall(r"^\| `?([^`|]+?)`? \|", section, re.MULTILINE)[1:]


def options_of(command: Any) -> list[str]:
    named = [opt for param in command.params for opt in [*param.opts, *param.secondary_opts] if opt.startswith("-")]
    arguments = [param.metavar for param in command.params if param.param_type_name == "argument"]
    return sorted([*named, *arguments])


def test_every_command_has_its_section() -> None:
    assert [name for name in SECTIONS if name not in NO_COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_row(name: str) -> None:
    assert sorted(first_column(SECTIONS[name])) == options_of(COMMANDS[name])


def test_options_before_the_command() -> None:
    assert sorted(first_column(SECTIONS["Before the command"])) == options_of(ROOT)


def test_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.MULTILINE)
    assert [int(code) for code in rows] == sorted(ExitCode)


def test_settings_and_their_defaults() -> None:
    rows = re.findall(r"^\| `SYNTHIANS_MEMORY_(\w+)` \| `?(.+?)`? \|$", SECTIONS["Settings"], re.MULTILINE)
    defaults = {field.name: field.default for field in fields(StoreConfig) if field.name != "storage_path"}
    written = {name.lower(): text for name, text in rows}
    assert list(written) == list(defaults)
    del written["embedding_dimension"], defaults["embedding_dimension"]
    assert written == {name: str(value).lower() for name, value in defaults.items()}


def example(section: str) -> list[str]:
    (line,) = re.findall(r"^    synthians-memory (.+)$", section, re.MULTILINE)
    return shlex.split(line)


def keys(section: str) -> set[str]:
    """The keys that a section says are in its JSON, without those in parentheses."""
    text = re.search(r"^JSON[^:]*: (.*?)(?:\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    assert text is not None
    outer = re.split(r", each with |; of an assembly", re.sub(r"\([^)]*\)", "", text[1]))[0]
    return set(re.findall(r"`([a-z_]+)`", outer))


def test_the_examples_run_in_their_order_and_give_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, tmp_path)
    call = Called(CliRunner(), app, tmp_path / "unused")
    for name in COMMANDS:
        if name == "delete":
            continue  # what it deletes the others need; it comes last
        check_example(name, call)
    check_example("delete", call)


def check_example(name: str, call: Called) -> None:
    outcome = call(*example(SECTIONS[name]))
    assert outcome.code == (ExitCode.RESTORED if name == "restore" else 0), (name, outcome)
    if name not in ("get", "stats"):
        found = outcome.lines[0] if name == "list" else outcome.json
        assert set(found) == keys(SECTIONS[name]), name


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_says_what_it_does_with_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [*([name] if name else []), "--help"])
    assert result.exit_code == 0
    assert "Examples:\n    synthians-memory --store notes" in result.output
    for option in options_of(COMMANDS[name] if name else ROOT):
        assert option in result.output
