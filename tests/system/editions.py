"""Entities that are a function of kind, id and edition, so that another process knows them from three short values."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from synthians_memory import MemoryAssembly, MemoryEntry
from synthians_memory.layout import Kind
from synthians_memory.models import Entity

DIMENSION = 8
_BORN = datetime(2025, 1, 1, tzinfo=UTC)
_LENGTHS = (0, 20, 300, 3_000, 20_000)
_WEIGHTS = (1, 8, 8, 3, 1)

# Kind, id, and the edition that is stored; None for none.
Change = tuple[Kind, str, int | None]
Key = tuple[Kind, str]
# What a store holds: the edition of each entity that is there.
State = dict[Key, int]


def entity_of(kind: Kind, entity_id: str, edition: int) -> Entity:
    """That edition of the entity, the same in every process."""
    rng = Random(f"{kind} {entity_id} {edition}")
    length = rng.choices(_LENGTHS, _WEIGHTS)[0]
    content = f"{entity_id}, edition {edition} " + ("ünïcode " * length)[:length]
    vector = None if rng.random() < 0.2 else [rng.gauss(0, 1) for _ in range(DIMENSION)]
    metadata = {"edition": edition, "even": edition % 2 == 0, "nested": {"list": [1, None, "…"]}}
    if kind == "memory":
        return MemoryEntry(
            memory_id=entity_id,
            content=content,
            embedding=vector,
            created_at=_BORN,
            quickrecal_score=rng.random(),
            metadata=metadata,
            tags=("tag", f"e{edition}"),
        )
    return MemoryAssembly(
        assembly_id=entity_id,
        name=content[:50],
        description=content,
        members=tuple(f"member {n}" for n in range(rng.randrange(5))),
        composite_embedding=vector,
        created_at=_BORN,
        metadata=metadata,
    )


def edition_of(entity: Entity) -> int:
    """Which edition it is; AssertionError where it is none, or a mixture of two."""
    edition = entity.__dict__["metadata"].get("edition")
    assert isinstance(edition, int), f"{entity.kind} {entity.entity_id!r} is of no edition"
    whole = entity.replace(updated_at=None) == entity_of(entity.kind, entity.entity_id, edition)
    assert whole, f"{entity.kind} {entity.entity_id!r} is not wholly of edition {edition}"
    return edition


def task_of(entity_id: str) -> int:
    """The task that alone changes the entity: its id says so."""
    return int(entity_id.split("-", maxsplit=1)[0].lower().removeprefix("task"))


def ids_of(task: int, count: int) -> list[str]:
    """The ids that a task changes; some need escapes in a file name."""
    patterns = ("task{}-{}", "Task{}-{}", "task{}-ä {}", "task{}-../{}")
    return [patterns[n % 4].format(task, n) for n in range(count)]
