"""The command import-legacy: store what the original Synthians code has written.

It reads no file itself, and never changes the directory that it imports.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Final

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.foreign_import import (
    DryRunOption,
    EmbedOption,
    ForeignImport,
    OverwriteOption,
    import_into,
)
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, require_input
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import InvalidValueError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.legacy.report import LegacyReport
from synthians_memory.maintenance.legacy.synthians import import_legacy as import_directory
from synthians_memory.maintenance.legacy.synthians import require_outside

__all__ = ["EXAMPLES", "import_legacy"]

EXAMPLES: Final = ("--store notes import-legacy old_storage --dry-run", "--store notes import-legacy old_storage")


def import_legacy(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory that the original code has written.")],
    embed: EmbedOption = False,
    embedder: EmbedderOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> int:
    """Store what the original Synthians code has written.

    The directory is only read. What cannot be stored is reported one by one and kept in the store's quarantine; the exit code is 1 then.
    What is there with equal content is skipped, so that the same command goes on after an interruption. The store is
    made where there is none. --embedder implies --embed.
    """
    place = Place.of(context)
    require_input(directory)
    if not os.path.isdir(directory):
        raise InvalidValueError(f"{directory} is no directory", hint="`import-mcp` takes the file of an MCP server.")
    require_outside(place.path, directory)

    async def importing(
        store: MemoryPersistence, with_embedder: Embedder | None, move: Callable[[LegacyReport], None]
    ) -> LegacyReport:
        return await import_directory(
            store,
            directory,
            embedder=with_embedder,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=move,
        )

    job = ForeignImport(importing, embed, embedder, dry_run)
    return run(import_into(place, job, Output.wanted(as_json)))
