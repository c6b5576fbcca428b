"""The command import-mcp: store the knowledge graph of the MCP reference memory server.

It reads no file itself, and never changes the one that it imports.
"""

from __future__ import annotations

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
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.legacy.knowledge_graph import import_knowledge_graph
from synthians_memory.maintenance.legacy.report import LegacyReport

__all__ = ["EXAMPLES", "import_mcp"]

EXAMPLES: Final = ("--store notes import-mcp memory.jsonl --dry-run", "--store notes import-mcp memory.jsonl --embed")


def import_mcp(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The server's file, also compressed (.gz); - is standard input.")
    ],
    embed: EmbedOption = False,
    embedder: EmbedderOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> int:
    """Store the knowledge graph of the MCP reference memory server.

    Each entity becomes one memory, with its relations in the metadata. The file is only read. What cannot be stored is reported one by one and kept in the store's quarantine; the exit code is 1 then.
    What is there with equal content is skipped, so that the same command goes on after an interruption. The store is
    made where there is none. --embedder implies --embed.
    """
    require_input(file)

    async def importing(
        store: MemoryPersistence, with_embedder: Embedder | None, move: Callable[[LegacyReport], None]
    ) -> LegacyReport:
        return await import_knowledge_graph(
            store,
            file,
            embedder=with_embedder,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=move,
        )

    job = ForeignImport(importing, embed, embedder, dry_run)
    return run(import_into(Place.of(context), job, Output.wanted(as_json)))
