"""The command checkpoint: make files and indexes reflect the journal, and drop it.

It is not needed for safety: what the journal holds is durable.
"""

from __future__ import annotations

from typing import Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place, index_words

__all__ = ["EXAMPLES", "checkpoint"]

EXAMPLES: Final = ("--store notes checkpoint",)

_TOLD: Final = ("memories", "assemblies", "sequence", "checkpointed_through", "pending_files")


def checkpoint(context: typer.Context, as_json: JsonOption = False) -> int:
    """Make files and indexes reflect the journal.

    The journal is dropped then. For before a copy by other tools, or after a program was killed; otherwise the store does it by itself.
    """
    return run(_checkpoint(Place.of(context), Output.wanted(as_json)))


async def _checkpoint(place: Place, output: Output) -> int:
    async with place.writing() as store:
        await index_words(store)
        await store.checkpoint()
        stats = store.stats()
    document = {name: stats[name] for name in _TOLD}
    if output.json:
        output.document(document)
    else:
        output.show(facts((name.replace("_", " "), value) for name, value in document.items()))
    return ExitCode.OK
