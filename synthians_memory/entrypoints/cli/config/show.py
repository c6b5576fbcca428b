"""The command config show: every key of the configuration, its value, and where that came from.

It needs no store, changes nothing, and shows no secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import typer
from rich.text import Text

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, table
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.json_values import JsonValue
from synthians_memory.maintenance.configuration import DEFAULT, Configuration
from synthians_memory.maintenance.github import TOKEN_VARIABLE
from synthians_memory.redaction import REDACTED, redacted, secret_values

__all__ = ["EXAMPLES", "show"]

EXAMPLES: Final = ("--store notes config show",)

_Row = tuple[str, JsonValue, str]


def show(context: typer.Context, as_json: JsonOption = False) -> int:
    """Show every key of the configuration, its value, and where that came from.

    A file, a variable of the environment, an argument, or nobody: "default". No store has to be there.
    """
    configuration, output = Place.of(context).configuration, Output.wanted(as_json)
    rows = list(_rows(configuration, os.environ))
    if output.json:
        keys = [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]
        output.document({"store": configuration.path, "files": list(configuration.files), "keys": keys})
        return ExitCode.OK
    cells = [(Text(cleaned(key)), Text(cleaned(_words(value))), Text(cleaned(origin))) for key, value, origin in rows]
    output.show(table(("key", "value", "origin"), cells, wrapped=("value", "origin")))
    return ExitCode.OK


def _rows(configuration: Configuration, environment: Mapping[str, str]) -> Iterator[_Row]:
    secrets = secret_values(environment)
    for key, value in configuration.values.items():
        yield key, redacted(_without(value, secrets)), configuration.origin(key)
        if key == "alerts.github.assignees":
            given = bool(environment.get(TOKEN_VARIABLE))
            yield "alerts.github.token", *((REDACTED, TOKEN_VARIABLE) if given else (None, DEFAULT))


def _without(value: Any, secrets: Sequence[str]) -> JsonValue:
    """`value` without what the environment keeps secret."""
    text = json.dumps(value, ensure_ascii=False)
    for secret in secrets:
        text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], REDACTED)
    found: JsonValue = json.loads(text)
    return found


def _words(value: JsonValue) -> str:
    """`value` for people; of a rule its name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_words(part["name"] if isinstance(part, dict) and "name" in part else part) for part in value)
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
