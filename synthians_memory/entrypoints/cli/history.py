"""The command history: the versions of one entity that are still to be had.

It brings none of them back; `restore --memory` does.
"""

from __future__ import annotations

from typing import Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, IdArgument, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, table, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.snapshots import FromOption
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.layout import Kind
from synthians_memory.maintenance.history import PastVersion
from synthians_memory.times import format_time

__all__ = ["EXAMPLES", "history"]

_SHOWN: Final = 19
EXAMPLES: Final = ("--store notes history pep-0020-001",)


def history(
    context: typer.Context,
    entity_id: IdArgument,
    assembly: AssemblyOption = False,
    directory: FromOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the versions of a memory that the store, its journal and its snapshots have, oldest first.

    The exit code is 3 where there is none.
    """
    return run(_history(Place.of(context), kind_of(assembly), entity_id, directory, Output.wanted(as_json)))


async def _history(place: Place, kind: Kind, entity_id: str, directory: str | None, output: Output) -> int:
    async with place.reading() as store:
        found = await store.history(entity_id, kind=kind, snapshots=directory)
    if output.json:
        output.document({"kind": kind, "id": entity_id, "versions": [version.to_dict() for version in found]})
    else:
        output.show(table(("time", "version", "bytes", "where"), map(_row, found), wrapped=("where",)))
    if not found:
        tell("error", f"nothing is known of the {kind} {entity_id!r}")
        tell("hint", "`list` shows the ids; give --from where snapshots lie elsewhere.")
        return ExitCode.NOT_FOUND
    return ExitCode.OK


def _row(version: PastVersion) -> tuple[str, str, str, str]:
    # Enough of the hash for the eye; JSON has it whole.
    digest = (version.content_hash or "deleted")[:_SHOWN]
    return format_time(version.time), digest, f"{version.size:,}", ", ".join(version.sources)
