"""docs/cli.md agrees with the program: every command, option, setting, exit code and key, and no others."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
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
GROUPS: dict[str, Any] = {name: command for name, command in ROOT.commands.items() if hasattr(command, "commands")}
# Those of a group under both names: "state write".
COMMANDS: dict[str, Any] = {
    **{name: command for name, command in ROOT.commands.items() if name not in GROUPS},
    **{f"{name} {inner}": command for name, group in GROUPS.items() for inner, command in group.commands.items()},
}
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
    # `ledger check` asks git.
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for line in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "base"]):
        subprocess.run(["git", *line], cwd=tmp_path, check=True)
    call = Called(CliRunner(), app, tmp_path / "unused")
    (tmp_path / "memory.jsonl").write_text(
        '{"type":"entity","name":"Ada","entityType":"person","observations":["tea"]}'
    )
    (tmp_path / "old_storage" / "memories").mkdir(parents=True)
    (tmp_path / "old_storage" / "memories" / "one.json").write_text('{"id":"one","content":"of the original code"}')
    for name in [*(name for name in COMMANDS if name not in LAST + ENDLESS), *LAST]:
        check_example(name, call)


# It goes on until it is ended, and has a test of its own.
ENDLESS = ("serve",)
# What they take away the others need.
LAST = ("purge", "delete", "move")


def check_example(name: str, call: Called) -> None:
    if name == "watch":
        Path("notes/memories/added.json").write_text('{"memory_id": "added", "content": "by hand"}', encoding="utf-8")
    outcome = call(*example(SECTIONS[name]))
    assert outcome.code == (ExitCode.RESTORED if name == "restore" else 0), (name, outcome)
    if name not in ("get", "stats", "ledger run"):
        found = outcome.lines[0] if name in ("list", "watch") else outcome.json
        assert set(found) == keys(SECTIONS[name]), name


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_says_what_it_does_with_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Examples:\n    synthians-memory --store notes" in result.output
    for option in options_of(COMMANDS[name] if name else ROOT):
        assert option in result.output


@pytest.mark.parametrize("name", GROUPS)
def test_help_of_a_group_lists_its_commands(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    for inner, command in GROUPS[name].commands.items():
        # The help cuts what does not fit its column.
        beginning = command.get_short_help_str(30).removesuffix("...")
        assert re.search(rf"^  {inner} +{re.escape(beginning)}", result.output, re.MULTILINE)
