"""The command export: write all entities as JSONL.

It does not write the store's own files, and changes nothing in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

import typer

from synthians_memory.codec import line_of
from synthians_memory.entrypoints.cli.damage import Damage
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import Entity
from synthians_memory.storage.streams import STANDARD_STREAM, LineWriter, write_lines

__all__ = ["EXAMPLES", "export"]

EXAMPLES: Final = ("--store notes export notes.jsonl.gz", "--store notes export | grep GIL")

_BLOCK: Final = 256


def export(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Written in one step, compressed if it ends in .gz; - is standard output."),
    ] = STANDARD_STREAM,
    expired: Annotated[
        bool, typer.Option("--expired", help="Write also the memories that have expired and are stored still.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Write everything as JSONL.

    One object a line: first the memories, then the assemblies, each in the order of their ids and always in the same form, so that
    equal stores give equal bytes. What is damaged is reported and left out, and the exit code is then 5. How many memories were
    left out because they have expired is told on standard error.
    """
    return run(_export(Place.of(context), file, expired, Output.wanted(as_json)))


async def _export(place: Place, file: str, expired: bool, output: Output) -> int:
    damage = Damage()
    async with place.reading() as store, write_lines(file) as lines:
        left_out = 0 if expired else await store.sweep_expired(dry_run=True)
        counts = await _write(store, lines, damage, expired=expired)
    if left_out:
        tell("expired", f"{left_out:,} memories were left out; --expired writes them as well")
    if file != STANDARD_STREAM:
        document = {"file": file, **counts, "damaged": damage.count, "expired_left_out": left_out}
        if output.json:
            output.document(document)
        else:
            output.show(f"exported {counts['memories']:,} memories and {counts['assemblies']:,} assemblies to {file}")
    return damage.exit_code()


async def _write(store: MemoryPersistence, lines: LineWriter, damage: Damage, *, expired: bool) -> dict[str, int]:
    stats = store.stats()
    total = stats["memories"] + stats["assemblies"]
    counts = {"memory": 0, "assembly": 0}
    block: list[bytes] = []
    with progress("exporting", "records") as move:
        async for entity in _entities(store, damage, expired=expired):
            counts[entity.kind] += 1
            block.append(line_of(entity))
            if len(block) == _BLOCK:
                await lines.write(block)
                block = []
                move(sum(counts.values()), total=total)
        await lines.write(block)
    return {"memories": counts["memory"], "assemblies": counts["assembly"]}


async def _entities(store: MemoryPersistence, damage: Damage, *, expired: bool) -> AsyncIterator[Entity]:
    async for memory in store.iter_memories(on_damaged=damage.note, expired=expired):
        yield memory
    async for assembly in store.iter_assemblies(on_damaged=damage.note):
        yield assembly
