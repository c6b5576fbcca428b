"""The command list: the ids in the store, with what they belong to.

It is not an export: the entities themselves are not among what it writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
import typer

from synthians_memory.entrypoints.cli.damage import Damage
from synthians_memory.entrypoints.cli.options import AssembliesOption, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.facade import MemoryPersistence
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.storage.streams import STANDARD_STREAM, write_lines
from synthians_memory.times import format_time

__all__ = ["EXAMPLES", "list_entities"]

EXAMPLES: Final = ("--store notes list --limit 10", "--store notes list --assemblies --json")

_FOR_PEOPLE: Final = 100
_BLOCK: Final = 256


def list_entities(
    context: typer.Context,
    assemblies: AssembliesOption = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many. Without it: 100 in a table, all as JSON.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """List memories, or assemblies.

    In the order of their ids; as JSON one object a line.
    """
    return run(_list(Place.of(context), kind_of(assemblies), limit, Output.wanted(as_json)))


async def _list(place: Place, kind: Kind, limit: int | None, output: Output) -> int:
    damage = Damage()
    async with place.reading() as store:
        stats = store.stats()
        count = stats["memories"] - stats["expired"] if kind == "memory" else stats["assemblies"]
        most = limit or (count if output.json else _FOR_PEOPLE)
        rows = _rows(store, kind, most, damage)
        if output.json:
            await _write_lines(rows)
        else:
            await _show(rows, kind, count, output)
    return damage.exit_code()


async def _rows(store: MemoryPersistence, kind: Kind, most: int, damage: Damage) -> AsyncIterator[dict[str, Any]]:
    entities: AsyncIterator[Entity] = (
        store.iter_memories(on_damaged=damage.note)
        if kind == "memory"
        else store.iter_assemblies(on_damaged=damage.note)
    )
    async for entity in entities:
        yield _row(entity)
        most -= 1
        if not most:
            return


def _row(entity: Entity) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": entity.kind, "id": entity.entity_id}
    if isinstance(entity, MemoryEntry):
        row["content"] = preview(entity.content)
    elif isinstance(entity, MemoryAssembly):
        row["name"] = entity.name
        row["members"] = len(entity.members)
    if isinstance(entity, MemoryEntry | MemoryAssembly):
        row["created_at"] = format_time(entity.created_at)
        row["updated_at"] = format_time(entity.updated_at) if entity.updated_at else None
    row["embedded"] = entity.vector is not None
    return row


async def _write_lines(rows: AsyncIterator[dict[str, Any]]) -> None:
    block: list[bytes] = []
    async with write_lines(STANDARD_STREAM) as lines:
        async for row in rows:
            block.append(orjson.dumps(row))
            if len(block) == _BLOCK:
                await lines.write(block)
                block = []
        await lines.write(block)


async def _show(rows: AsyncIterator[dict[str, Any]], kind: Kind, count: int, output: Output) -> None:
    shown = [row async for row in rows]
    if kind == "memory":
        cells = [(cleaned(r["id"]), _day(r), r["content"]) for r in shown]
        output.show(table(("id", "updated", "content"), cells, cut="content", wrapped=("id",)))
    else:
        named = [(cleaned(r["id"]), _day(r), str(r["members"]), cleaned(r["name"])) for r in shown]
        output.show(table(("id", "updated", "members", "name"), named, cut="name", wrapped=("id",)))
    if len(shown) < count:
        output.show(f"{len(shown):,} of {count:,}; --limit N shows more")


def _day(row: dict[str, Any]) -> str:
    return str(row["updated_at"])[:10]
