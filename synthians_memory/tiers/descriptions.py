"""What the memory of a row says: of decisions, incidents, procedures and pieces of knowledge.

It stores nothing. Another wording here makes every memory of the kind stale, and the next opening of the tiers writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from synthians_memory.errors import InvalidTypeError
from synthians_memory.json_values import JsonObject
from synthians_memory.tiers.collections import RowMemory
from synthians_memory.tiers.records import Decision, Incident, Knowledge, Procedure, Record

__all__ = ["row_memory"]


def row_memory(record: Record) -> RowMemory:
    """The memory of a stored record.

    Raises:
        UsageError: the record has no id yet.
        InvalidIdError: the id is too long for a memory.
        InvalidTypeError: there is no collection of such records.
    """
    describe = _DESCRIBED.get(type(record))
    if describe is None:
        raise InvalidTypeError(f"there is no collection of records of the type {type(record).__name__}")
    collection, text, told = describe(record)
    at: int = getattr(record, "created_at", None) or getattr(record, "timestamp", None) or 0
    return RowMemory(collection=collection, row_id=record.key, text=text, created_at=at, metadata=told)


def _decision(decision: Decision) -> tuple[str, str, JsonObject]:
    text = _lines(
        decision.context,
        Chosen=decision.chosen,
        Reasoning=decision.reasoning,
        Outcome=decision.outcome,
    )
    return "decisions", text, {"intelligence_level": decision.intelligence_level, "chosen": decision.chosen}


def _incident(incident: Incident) -> tuple[str, str, JsonObject]:
    text = _lines(
        incident.description,
        Symptoms="; ".join(incident.symptoms),
        Cause=incident.root_cause,
        Resolution=incident.resolution,
        Prevention=incident.prevention,
    )
    return "incidents", text, {"resolved_by": incident.resolved_by}


def _procedure(procedure: Procedure) -> tuple[str, str, JsonObject]:
    steps = [step if isinstance(step, str) else orjson.dumps(step).decode() for step in procedure.steps]
    text = _lines(f"{procedure.name}: {procedure.description}", Steps="; ".join(steps))
    return "procedures", text, {"name": procedure.name, "tags": list(procedure.tags)}


def _knowledge(knowledge: Knowledge) -> tuple[str, str, JsonObject]:
    text = f"{knowledge.title}\n{knowledge.content}"
    told = {"title": knowledge.title, "source": knowledge.source, "tags": list(knowledge.tags)}
    return "knowledge", text, told


def _lines(first: str, **others: str | None) -> str:
    return "\n".join([first, *(f"{name}: {text}" for name, text in others.items() if text)])


_DESCRIBED: Final[Mapping[type[Record], Callable[[Any], tuple[str, str, JsonObject]]]] = {
    Decision: _decision,
    Incident: _incident,
    Procedure: _procedure,
    Knowledge: _knowledge,
}
