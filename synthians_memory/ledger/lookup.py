"""Looking things up: what in the log, the facts and the artifacts speaks of something.

It ranks nothing: what is newer comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from synthians_memory.json_values import JsonObject, JsonValue
from synthians_memory.ledger.entries import CAPSULE_HASHES, HASH_PREV, HASH_SELF, Entry

__all__ = ["found_in"]

_NOT_SEARCHED: Final = (HASH_PREV, HASH_SELF, CAPSULE_HASHES)


def found_in(
    entries: Iterable[Entry],
    facts: Sequence[JsonObject],
    artifacts: Mapping[str, Sequence[JsonObject]],
    query: str,
    limit: int,
) -> list[JsonObject]:
    """What holds `query` in one of its values, letters large or small, at most `limit`.

    The order is that of the runs in the log, the latest first; of one run first its facts, then its artifacts, then
    its entry. What names a run that is not in the log comes last.
    """
    wanted, places, hits = query.casefold(), dict[str, int](), list[tuple[int, int, JsonObject]]()
    for number, entry in enumerate(entries):
        places[entry.run_id] = number
        if _holds({name: value for name, value in entry.fields.items() if name not in _NOT_SEARCHED}, wanted):
            hits.append((number, 0, {**entry.fields, "kind": "log"}))
    for fact in reversed(facts):
        if _holds(fact, wanted):
            hits.append((places.get(str(fact.get("source_run")), -1), 2, {**fact, "kind": "fact"}))
    for task, rows in artifacts.items():
        for row in reversed(rows):
            if _holds([task, row], wanted):
                hits.append((places.get(str(row.get("run_id")), -1), 1, {**row, "task": task, "kind": "artifact"}))
    hits.sort(key=lambda hit: hit[:2], reverse=True)
    return [hit for _, _, hit in hits[:limit]]


def _holds(value: JsonValue, wanted: str) -> bool:
    return any(wanted in text.casefold() for text in _texts(value))


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)
