"""The command search: the memories nearest to a text or a vector.

It does not rank: the store does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from synthians_memory.entrypoints.cli.damage import Damage
from synthians_memory.entrypoints.cli.embedders import query_embedder
from synthians_memory.entrypoints.cli.options import (
    AssembliesOption,
    EmbedderOption,
    JsonOption,
    kind_of,
    require_input,
)
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.values import WhereOption, conditions
from synthians_memory.errors import (
    ChangedOutsideError,
    DamagedError,
    InvalidTypeError,
    InvalidValueError,
    UsageError,
    disk_error,
)
from synthians_memory.facade import MemoryPersistence
from synthians_memory.json_values import parse_strict
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector, as_vector
from synthians_memory.reports import SearchHit

__all__ = ["EXAMPLES", "search"]

EXAMPLES: Final = (
    '--store notes search "when are annotations evaluated"',
    '--store notes search "type hints" -k 3 --where pep=563 --where status=Accepted',
    """--store notes search "type hints" --where '{"pep": {"$gt": 500}}'""",
    "--store notes search --vector query.json --assemblies",
)

# Metadata that says where a memory comes from, for the line above its content.
_SOURCES: Final = ("title", "section")


@dataclass(frozen=True, slots=True)
class _Query:
    """What is searched for: a text, or else a vector."""

    text: str | None
    vector: Vector | None
    embedder: str | None
    k: int
    where: dict[str, Any] | None
    kind: Kind


def search(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to search for, in words.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="FILE", help="Search by the vector in a file instead: a JSON list of numbers.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many hits at most.")] = 10,
    where: WhereOption = None,
    assemblies: AssembliesOption = False,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find what is nearest to a text or a vector.

    Best first. A text is embedded as the memories of the store were.
    """
    place = Place.of(context)
    if (text is None) == (vector is None):
        raise UsageError(
            "one of TEXT and --vector FILE is needed", hint="Give what to search for, in one of the two ways."
        )
    if text is not None and not text.strip():
        raise InvalidValueError("the text is empty", hint="Search for some words.")
    place.require()
    query = _Query(
        text, _read_vector(vector) if vector else None, embedder, k, conditions(where or ()), kind_of(assemblies)
    )
    return run(_search(place, query, Output.wanted(as_json)))


def _read_vector(path: str) -> Vector:
    require_input(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise disk_error(error, "read", path) from error
    try:
        value = parse_strict(data, path)
        if not isinstance(value, list):
            raise InvalidValueError(f"{path} holds no JSON list")
        return as_vector(value, f"the vector in {path}")
    except (InvalidValueError, InvalidTypeError) as error:
        raise InvalidValueError(error.message, path=path, hint="Write the vector as [0.1, 0.2, ...].") from error


async def _search(place: Place, query: _Query, output: Output) -> int:
    damage = Damage()
    embedder = await query_embedder(place, query.embedder) if query.text is not None else None
    async with place.reading(embedder) as store:
        asked = query.text if query.text is not None else query.vector
        assert asked is not None  # noqa: S101
        hits = await store.search(asked, query.k, query.where, kind=query.kind)
        found = [(hit, await _entity(store, hit, damage)) for hit in hits]
        vectors = store.stats()["vectors" if query.kind == "memory" else "assembly_composites"]
    if output.json:
        output.document({"hits": [_hit(hit, entity) for hit, entity in found]})
    elif found:
        rows = [(str(i), f"{hit.score:.3f}", _described(hit, entity)) for i, (hit, entity) in enumerate(found, 1)]
        output.show(table(("", "score", query.kind), rows, cut=query.kind))
    else:
        output.show("nothing found")
    if not vectors:
        tell("hint", f"No {query.kind} in the store has a vector; `import --embed` gives memories theirs.")
    return damage.exit_code()


async def _entity(store: MemoryPersistence, hit: SearchHit, damage: Damage) -> Entity | None:
    try:
        return await (store.load_memory if hit.kind == "memory" else store.load_assembly)(hit.memory_id)
    except (DamagedError, ChangedOutsideError) as error:
        damage.note(error)
        return None


def _hit(hit: SearchHit, entity: Entity | None) -> dict[str, Any]:
    found: dict[str, Any] = {"id": hit.memory_id, "score": hit.score, "kind": hit.kind}
    if isinstance(entity, MemoryEntry):
        found |= {"content": entity.content, "metadata": entity.metadata}
    elif isinstance(entity, MemoryAssembly):
        found |= {"name": entity.name, "description": entity.description, "metadata": entity.metadata}
    return found


def _described(hit: SearchHit, entity: Entity | None) -> Text:
    described = Text(cleaned(hit.memory_id), style="bold")
    metadata: dict[str, Any] = entity.__dict__["metadata"] if entity is not None else {}
    sources = [preview(str(metadata[name])) for name in _SOURCES if metadata.get(name) not in (None, "")]
    if sources:
        described.append("  " + " · ".join(sources), style="not bold italic")
    text = "(cannot be read)"
    if isinstance(entity, MemoryEntry):
        text = entity.content
    elif isinstance(entity, MemoryAssembly):
        text = f"{entity.name} · {entity.description}" if entity.description else entity.name
    return described.append("\n" + preview(text), style="not bold")
