"""Import of the file that the MCP reference memory server keeps: a knowledge graph as JSON lines.

It is not a graph database: an entity becomes one memory, and its relations stand in that memory's metadata.

A line is {"type": "entity", "name", "entityType", "observations"} or {"type": "relation", "from", "to",
"relationType"}. The memory has the entity's name for an id, the name and the observations, a line each, for its
content, the type for a tag, and everything as it was under `knowledge_graph` in its metadata.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from synthians_memory.embedder import Embedder
from synthians_memory.engine.import_chunk import ImportOptions
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.store import Store
from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import JsonObject
from synthians_memory.maintenance.legacy.conversion import NOTES_KEY, Converted
from synthians_memory.maintenance.legacy.conveying import Conveyor, Failure, Item, convey
from synthians_memory.maintenance.legacy.fitting import Fitting
from synthians_memory.maintenance.legacy.kept import Pieces
from synthians_memory.maintenance.legacy.reading import json_text, parse_lenient
from synthians_memory.maintenance.legacy.report import LegacyReport, NotImported, ProblemCode
from synthians_memory.storage.streams import read_lines

__all__ = ["GRAPH_KEY", "graph_conveyor", "import_knowledge_graph"]

# The key of a memory's metadata that holds the entity as it was.
GRAPH_KEY: Final = "knowledge_graph"
_OF_ENTITY: Final = frozenset(("type", "name", "entityType", "observations"))


async def import_knowledge_graph(
    store: Persistence,
    path: str | os.PathLike[str],
    *,
    chunk: int = 200,
    embedder: Embedder | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[LegacyReport], None] | None = None,
) -> LegacyReport:
    """Store the entities and relations of an MCP memory server's file, and keep beside it what cannot be stored.

    The file is only read, and whole: it is as large as what such a server holds in memory. Repeating it, also after
    a kill, stores nothing twice; an entity that has changed since is a conflict, unless it is to be overwritten.

    Args:
        store: open; for `dry_run` read-only will do.
        path: the file, also compressed (.gz), or "-" for standard input.
        chunk: entities that are stored together, all or none.
        embedder: for all of them; None leaves them without an embedding.
        overwrite: replace a stored memory of other content; without it that is reported.
        dry_run: change nothing, and report what would be done.
        progress: called after each chunk with the report so far.

    Raises:
        InvalidValueError: a line that is too long.
        DiskError: the file cannot be read, or the store not written.
    """
    session = store._opened()  # noqa: SLF001 - the import works in the threads of the store
    options = ImportOptions(chunk, embedder, overwrite, stop_on_error=False)
    lines = [line async for part in read_lines(path) for line in part]
    name = os.fspath(path)
    conveyor = await session.in_thread(lambda: graph_conveyor(session.store, lines, options, name, dry_run=dry_run))
    return await convey(session, conveyor, embeds=embedder is not None, progress=progress)


def graph_conveyor(
    store: Store, lines: Sequence[bytes], options: ImportOptions, source: str, *, dry_run: bool = False
) -> Conveyor:
    """The import of a graph's lines into an open store, ready to run."""
    graph = _Graph()
    for number, line in enumerate(lines, 1):
        if line.strip():
            graph.take(number, line)
    graph.connect()
    conveyor = Conveyor(store, options, source, graph.things(), dry_run=dry_run)
    conveyor.skipped = graph.repeated
    return conveyor


@dataclass(slots=True)
class _Entity:
    """An entity's line, and the relations that start from it, each with its own line."""

    number: int
    line: bytes
    found: dict[str, Any]
    relations: list[dict[str, Any]] = field(default_factory=list)


class _Graph:
    """All lines of a file.

    Attributes:
        repeated: lines that say what another one says.
    """

    def __init__(self) -> None:
        self.repeated = 0
        self._entities: dict[str, _Entity] = {}
        self._relations: list[tuple[int, bytes, dict[str, Any]]] = []
        self._failures: list[Failure] = []

    def take(self, number: int, line: bytes) -> None:
        """Add one line."""
        try:
            found = parse_lenient(line)
            # What can be read can nearly always be written as well, which telling equal lines apart needs.
            json_text(found)
        except InvalidValueError as error:
            self._fail(number, line, "undecodable", error.message)
            return
        except RecursionError:
            self._fail(number, line, "undecodable", "it is nested too deeply")
            return
        kind = _kind_of(found)
        if kind == "entity":
            self._take_entity(_Entity(number, line, found))
        elif kind == "relation":
            self._relations.append((number, line, found))
        else:
            self._fail(number, line, "no_entity", "it is neither an entity with a name nor a relation")

    def _take_entity(self, entity: _Entity) -> None:
        earlier = self._entities.setdefault(json_text(entity.found["name"]), entity)
        if earlier is entity:
            return
        if json_text(earlier.found) == json_text(entity.found):
            self.repeated += 1
        else:
            what = f"line {earlier.number} has the same name, and other content; that one is imported"
            self._fail(entity.number, entity.line, "duplicate", what)

    def connect(self) -> None:
        """Give each entity its relations."""
        for number, line, found in self._relations:
            start = self._entities.get(json_text(found["from"]))
            relation = {name: value for name, value in found.items() if name not in ("type", "from")}
            if start is None:
                self._fail(number, line, "no_entity", "the entity that this relation starts from is not in the file")
            elif relation in start.relations:
                self.repeated += 1
            else:
                start.relations.append(relation)

    def _fail(self, number: int, line: bytes, code: ProblemCode, reason: str) -> None:
        self._failures.append(Failure(NotImported(f"line {number}", code, reason), _alone(line)))

    def things(self) -> Iterator[Item | Failure]:
        """What is to be stored, and what cannot be."""
        yield from self._failures
        for entity in self._entities.values():
            path, pieces = f"line {entity.number}", _alone(entity.line)
            try:
                yield Item(path, _memory(entity), pieces)
            except RecursionError:
                yield Failure(NotImported(path, "undecodable", "it is nested too deeply"), pieces)


def _alone(line: bytes) -> Pieces:
    return lambda: iter([line])


def _kind_of(found: Any) -> str:
    """What a line is: "entity", "relation" or nothing of the kind; by its type, or else by its keys."""
    if not isinstance(found, dict):
        return ""
    kind = found.get("type")
    if kind in (None, "entity") and found.get("name") is not None and "relationType" not in found:
        return "entity"
    if kind in (None, "relation") and found.get("from") is not None and found.get("to") is not None:
        return "relation"
    return ""


def _memory(entity: _Entity) -> Converted:
    fit, found = Fitting(), entity.found
    memory_id = fit.identifier(found["name"], "name")
    name = fit.text(found["name"], "content") or ""
    observations = fit.texts(found.get("observations"), "observations") or []
    kind = fit.text(found.get("entityType"), "entityType")
    graph: JsonObject = {"name": name, "entityType": kind, "observations": observations}
    graph["relations"] = fit.storable(entity.relations, "relations")
    others = {key: value for key, value in found.items() if key not in _OF_ENTITY}
    if others:
        graph["other"] = fit.object(others, "other")
    metadata: JsonObject = {GRAPH_KEY: graph}
    if fit.originals:
        metadata[NOTES_KEY] = {"originals": fit.originals}
    values = {
        "memory_id": memory_id,
        "content": "\n".join([name, *observations]),
        "tags": [kind] if kind else [],
        "metadata": metadata,
    }
    return Converted("memory", memory_id, values, frozenset(values), tuple(fit.notes))
