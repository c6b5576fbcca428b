"""The command stats: counts, sizes and the state of the store.

It is not a check: it looks at no file of an entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place

__all__ = ["EXAMPLES", "stats"]

EXAMPLES: Final = ("--store notes stats", "--store notes stats --json")

# They count what happened since the store was opened, which a command has only just done.
_SINCE_OPEN: Final = ("cache", "since_open", "opened_at", "read_only")


def stats(context: typer.Context, as_json: JsonOption = False) -> int:
    """Show how much is stored, and how."""
    return run(_stats(Place.of(context), Output.wanted(as_json)))


async def _stats(place: Place, output: Output) -> int:
    async with place.reading() as store:
        found = store.stats()
    if output.json:
        output.document(found)
    else:
        output.show(facts(_lines(found)))
    return ExitCode.OK


def _lines(found: Mapping[str, Any]) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in found.items():
        if name in _SINCE_OPEN or value is None:
            continue
        if name == "notes":
            lines += [("note", note["message"]) for note in value]
        elif isinstance(value, dict):
            lines.append(
                (name.replace("_", " "), ", ".join(f"{key} {one}".replace("_", " ") for key, one in value.items()))
            )
        else:
            lines.append((name.replace("_", " "), f"{value:,}" if isinstance(value, int) else value))
    return lines
