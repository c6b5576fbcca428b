"""The command tiers vacuum: give the space of what was deleted back to the disk.

It deletes nothing.
"""

from __future__ import annotations

from typing import Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.tiers.rows import opened

__all__ = ["EXAMPLES", "vacuum"]

EXAMPLES: Final = ("--store notes tiers vacuum",)


def vacuum(context: typer.Context, as_json: JsonOption = False) -> int:
    """Give the space of deleted rows back to the disk.

    Both databases are written anew, so that it needs about as much free space as they take.
    """
    return run(_vacuum(Place.of(context), Output.wanted(as_json)))


async def _vacuum(place: Place, output: Output) -> int:
    async with opened(place, writing=True) as tiers:
        freed = await tiers.vacuum()
    if output.json:
        output.document({"freed_bytes": freed})
    else:
        output.show(f"gave back {freed:,} bytes")
    return ExitCode.OK
