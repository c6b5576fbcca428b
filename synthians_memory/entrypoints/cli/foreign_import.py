"""What the commands that import from other programs have in common: the store, the progress, the report, the exit code.

It does not read what they import.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import typer
from rich.text import Text

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.embedders import default_embedder
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.output import FEW, Output, cleaned, table
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place, index_words
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.legacy.report import LegacyReport
from synthians_memory.storage.memory import Medium, MemoryBackend

__all__ = ["DryRunOption", "EmbedOption", "ForeignImport", "OverwriteOption", "import_into"]

# Given an open store, an embedder or None, and what is to be told how far the work is.
Importing: TypeAlias = Callable[
    [MemoryPersistence, Embedder | None, Callable[[LegacyReport], None]], Awaitable[LegacyReport]
]

EmbedOption = Annotated[
    bool, typer.Option("--embed", help="Give every memory that comes without a usable embedding one.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is stored with other content under the same id.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be imported.")]


@dataclass(frozen=True, slots=True)
class ForeignImport:
    """One import.

    Attributes:
        importing: does it.
        embed: whether memories get embeddings.
        embedder: the option --embedder.
        dry_run: whether nothing is to be changed.
    """

    importing: Importing
    embed: bool
    embedder: str | None
    dry_run: bool


async def import_into(place: Place, job: ForeignImport, output: Output) -> int:
    """Import into the store at `place`, made where there is none; tell about it; the exit code."""
    embedder = await default_embedder(place, job.embedder) if job.embed or job.embedder is not None else None
    started = time.monotonic()
    async with _opened(place, embedder, dry_run=job.dry_run) as store:
        with progress("importing", "records") as move:
            report = await job.importing(store, embedder, lambda report: move(_done(report)))
            if not job.dry_run:
                await index_words(store)
    _tell(report, time.monotonic() - started, output)
    return ExitCode.OK if report.complete else ExitCode.FINDINGS


@asynccontextmanager
async def _opened(place: Place, embedder: Embedder | None, *, dry_run: bool) -> AsyncIterator[MemoryPersistence]:
    if not dry_run:
        async with place.writing(create=True, embedder=embedder) as store:
            yield store
    elif place.is_empty:
        # As if it were imported into a fresh store, which is gone afterwards.
        medium = Medium()
        fresh = MemoryPersistence(
            place.path, embedder=embedder, backend=lambda: MemoryBackend(medium), **place.settings
        )
        async with fresh as store:
            yield store
    else:
        async with place.reading(embedder) as store:
            yield store


def _done(report: LegacyReport) -> int:
    return report.imported + report.skipped + len(report.not_imported)


def _tell(report: LegacyReport, seconds: float, output: Output) -> None:
    if output.json:
        output.document({**report.to_dict(), "seconds": round(seconds, 3)})
        return
    verb = "would import" if report.dry_run else "imported"
    replaced = f" ({report.overwritten:,} of them replaced)" if report.overwritten else ""
    output.show(
        f"{verb} {report.imported:,}{replaced}, skipped {report.skipped:,}, not imported {len(report.not_imported):,}, "
        f"changed on the way {report.note_count:,} in {seconds:.1f} s"
    )
    if report.notes:
        notes = [(Text(cleaned(n.path)), Text(cleaned(n.message))) for n in report.notes[:FEW]]
        output.show("", table(("path", "what was changed"), notes, wrapped=("path", "what was changed")))
    if report.note_count > FEW:
        output.show(f"... and {report.note_count - FEW:,} more; --json lists the first thousand")
    _tell_of_problems(report, output)


def _tell_of_problems(report: LegacyReport, output: Output) -> None:
    if not report.not_imported:
        return
    rows = [(Text(cleaned(p.path)), p.code, Text(cleaned(p.reason))) for p in report.not_imported[:FEW]]
    output.show("", table(("not imported", "problem", "reason"), rows, wrapped=("not imported", "reason")))
    if len(report.not_imported) > FEW:
        output.show(f"... and {len(report.not_imported) - FEW:,} more; --json lists all")
    if not report.dry_run:
        output.show("Their bytes, and the reasons, are kept in the store's quarantine folder, under not_imported.")
