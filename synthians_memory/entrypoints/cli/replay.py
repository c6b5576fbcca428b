"""The command replay: store the memories that were parked because they could not be stored.

It parks none.
"""

from __future__ import annotations

from typing import Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell, tell_first
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.layout import FALLBACK
from synthians_memory.maintenance.fallback import Fallback, parked_memory
from synthians_memory.storage.local import LocalBackend

__all__ = ["EXAMPLES", "replay_parked"]

EXAMPLES: Final = ("--store notes replay",)


def replay_parked(context: typer.Context, as_json: JsonOption = False) -> int:
    """Store the memories that were parked.

    A memory to remember that a full or broken disk refuses is parked in logs/fallback.jsonl. Each is stored once, however
    often this is run; opening the store for changes does the same.
    """
    return run(_replay(Place.of(context), Output.wanted(as_json)))


async def _replay(place: Place, output: Output) -> int:
    place.require()
    fallback = Fallback(lambda: LocalBackend(place.path))
    before = _parked(fallback)
    # Opening for changes stores them.
    async with place.writing() as store:
        waiting, unreadable = _parked(fallback), [line for line in fallback.lines() if parked_memory(line) is None]
        reason = store.stats()["last_error"]
    stored = [memory_id for memory_id in before if memory_id not in waiting]
    told = [line[:80].decode(errors="replace") for line in unreadable]
    if output.json:
        output.document({"stored": stored, "waiting": waiting, "unreadable": told})
    else:
        output.show(f"stored {len(stored)} parked memories", *(f"  {cleaned(memory_id)}" for memory_id in stored))
    tell_first("unreadable", told, f"see {FALLBACK}")
    if told:
        tell("hint", f"These lines stay in {FALLBACK}; see what they say, then take them out by hand.")
    if waiting:
        tell("error", f"{len(waiting)} memories still cannot be stored, and stay parked: {reason}")
        return ExitCode.DISK
    return ExitCode.FINDINGS if told else ExitCode.OK


def _parked(fallback: Fallback) -> list[str]:
    return [memory.memory_id for line in fallback.lines() if (memory := parked_memory(line)) is not None]
