"""The command delete: delete memories, or assemblies, by their ids.

It does not delete the members of an assembly.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.layout import Kind, validate_id

__all__ = ["EXAMPLES", "delete"]

EXAMPLES: Final = ("--store notes delete pep-0020-000 pep-0020-001", "--store notes delete --assembly pep-0020")


def delete(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Write -- before one that begins with a dash.")],
    assembly: AssemblyOption = False,
    as_json: JsonOption = False,
) -> int:
    """Delete memories, or assemblies.

    All in one step. Ids that do not exist are reported, and the exit code is then 3; the others are deleted all the same. The
    members of an assembly stay.
    """
    return run(_delete(Place.of(context), list(dict.fromkeys(ids)), kind_of(assembly), Output.wanted(as_json)))


async def _delete(place: Place, ids: list[str], kind: Kind, output: Output) -> int:
    for entity_id in ids:
        validate_id(entity_id)
    async with place.writing() as store:
        known = set(await (store.list_memories() if kind == "memory" else store.list_assemblies()))
        present = [entity_id for entity_id in ids if entity_id in known]
        missing = [entity_id for entity_id in ids if entity_id not in known]
        async with store.transaction() as transaction:
            remove = transaction.delete_memory if kind == "memory" else transaction.delete_assembly
            for entity_id in present:
                remove(entity_id)
    if output.json:
        output.document({"kind": kind, "deleted": present, "missing": missing})
    else:
        output.show(f"deleted {len(present):,}")
    for entity_id in missing:
        tell("error", f"there is no {kind} {entity_id!r}")
    if missing:
        tell("hint", "`list` shows the ids; --assembly deletes assemblies.")
    return ExitCode.NOT_FOUND if missing else ExitCode.OK
