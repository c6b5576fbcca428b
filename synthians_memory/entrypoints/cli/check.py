"""The command check: compare every part of the store with every other.

It mends nothing; `repair` does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.findings import findings_table, summary
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place

__all__ = ["EXAMPLES", "Level", "check"]

EXAMPLES: Final = ("--store notes check", "--store notes check --level quick || echo look at it")


class Level(StrEnum):
    """How closely to look."""

    QUICK = "quick"
    FULL = "full"


def check(
    context: typer.Context,
    level: Annotated[
        Level, typer.Option(help="quick compares names, sizes and times; full reads every byte.")
    ] = Level.FULL,
    as_json: JsonOption = False,
) -> int:
    """Look for anything that is wrong.

    Nothing is changed, and a program may go on writing meanwhile. The exit code is 1 where something needs a repair. Notes need nothing.
    """
    return run(_check(Place.of(context), level, Output.wanted(as_json)))


async def _check(place: Place, level: Level, output: Output) -> int:
    async with place.reading() as store:
        with progress("checking", "files") as move:
            findings = await store.verify_consistency(level.value, progress=lambda done, total: move(done, total=total))
        stats = store.stats()
    wrong = any(finding.severity != "note" for finding in findings)
    counts = {name: stats[name] for name in ("memories", "assemblies")}
    if output.json:
        found = [finding.to_dict() for finding in findings]
        output.document({"level": level.value, **counts, "clean": not wrong, "findings": found})
    else:
        if findings:
            output.show(findings_table(findings), "")
        output.show(f"{counts['memories']:,} memories, {counts['assemblies']:,} assemblies: {summary(findings)}")
    return ExitCode.FINDINGS if wrong else ExitCode.OK
