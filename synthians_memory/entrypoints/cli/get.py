"""The command get: show one memory or assembly.

It does not search: the id must be known.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
import typer

from synthians_memory.codec import line_of
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, IdArgument, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, cleaned, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import EntityNotFoundError
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryEntry

__all__ = ["EXAMPLES", "get"]

EXAMPLES: Final = ("--store notes get pep-0020-001", "--store notes get --assembly pep-0020 --json")


def get(
    context: typer.Context, entity_id: IdArgument, assembly: AssemblyOption = False, as_json: JsonOption = False
) -> int:
    """Show one memory, or assembly.

    With all its fields; as JSON it is the line that export writes for it.
    """
    return run(_get(Place.of(context), entity_id, kind_of(assembly), Output.wanted(as_json)))


async def _get(place: Place, entity_id: str, kind: Kind, output: Output) -> int:
    async with place.reading() as store:
        entity: Entity | None
        entity = await (store.load_memory(entity_id) if kind == "memory" else store.load_assembly(entity_id))
    if entity is None:
        raise EntityNotFoundError(
            f"there is no {kind} {entity_id!r}", hint="`list` shows the ids; --assembly looks among the assemblies."
        )
    if output.json:
        output.line(line_of(entity))
    else:
        _show(entity, output)
    return ExitCode.OK


def _show(entity: Entity, output: Output) -> None:
    fields: dict[str, Any] = orjson.loads(line_of(entity))
    content = fields.pop("content", None)
    output.show(facts((name, _shown(value)) for name, value in fields.items() if value not in (None, [], {}, "")))
    if isinstance(entity, MemoryEntry):
        output.show("", cleaned(str(content)))


def _shown(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return f"{len(value)} numbers, length {np.linalg.norm(value):.4g}"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
