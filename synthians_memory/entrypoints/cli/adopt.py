"""The command adopt: accept one file as it stands.

It repairs nothing else.
"""

from __future__ import annotations

from typing import Final, cast

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, IdArgument, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.layout import Kind, entity_path, validate_id
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.times import format_time

__all__ = ["EXAMPLES", "adopt"]

EXAMPLES: Final = ("--store notes adopt pep-0020-001", "--store notes adopt --assembly pep-0020")


def adopt(
    context: typer.Context, entity_id: IdArgument, assembly: AssemblyOption = False, as_json: JsonOption = False
) -> int:
    """Accept one file as it stands.

    For the file of a memory, or assembly, that was changed by hand and is right, whatever its hash line says.
    """
    return run(_adopt(Place.of(context), validate_id(entity_id), kind_of(assembly), Output.wanted(as_json)))


async def _adopt(place: Place, entity_id: str, kind: Kind, output: Output) -> int:
    # The repair at opening may put the acknowledged version in the place of the one that is wanted.
    async with place.writing(auto_repair=False, startup_check="off") as store:
        entity = cast("MemoryEntry | MemoryAssembly", await store.adopt(entity_id, kind=kind))
    document = {
        "kind": kind,
        "id": entity_id,
        "path": entity_path(kind, entity_id),
        "updated_at": format_time(entity.updated_at) if entity.updated_at else None,
        "content_hash": entity.content_hash,
    }
    if output.json:
        output.document(document)
    else:
        output.show(f"adopted {document['path']}", facts(document.items()))
    return ExitCode.OK
