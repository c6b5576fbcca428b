"""The command import: store the memories and assemblies of a JSONL file.

It does not read lines itself; the importer of the engine does.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from synthians_memory.entrypoints.cli.embedders import default_embedder
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, require_input
from synthians_memory.entrypoints.cli.output import FEW, Output, cleaned, table
from synthians_memory.entrypoints.cli.program import fail, run
from synthians_memory.entrypoints.cli.progress import Moving, progress
from synthians_memory.entrypoints.cli.stores import Place, index_words
from synthians_memory.errors import BatchTooLargeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.reports import ImportReport
from synthians_memory.storage.streams import read_lines

__all__ = ["EXAMPLES", "OnError", "import_file"]

EXAMPLES: Final = (
    "--store notes import notes.jsonl --embed",
    "--store notes import notes.jsonl.gz --on-error stop",
    "--store old export | synthians-memory --store new import -",
)


class OnError(StrEnum):
    """What a line that cannot be stored does."""

    SKIP = "skip"
    STOP = "stop"


@dataclass(slots=True)
class _Import:
    """One import, as far as it has come.

    Attributes:
        file: the path, or "-".
        size: the file's bytes where they are known and are its lines, else None.
        report: of what is stored.
        taken: bytes of the lines that the importer has taken.
    """

    file: str
    size: int | None
    chunk: int
    on_error: OnError
    overwrite: bool
    embed: bool = False
    report: ImportReport = field(default_factory=ImportReport)
    taken: int = 0

    async def lines(self) -> AsyncIterator[list[bytes]]:
        """The lines, a chunk at a time: what is asked for next comes when the chunk before is stored."""
        async with aclosing(read_lines(self.file)) as parts:
            async for part in parts:
                for start in range(0, len(part), self.chunk):
                    lines = part[start : start + self.chunk]
                    yield lines
                    self.taken += sum(map(len, lines)) + len(lines)


def import_file(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, also compressed (.gz); - is standard input.")],
    embed: Annotated[
        bool, typer.Option("--embed", help="Give every memory that comes without an embedding one.")
    ] = False,
    embedder: EmbedderOption = None,
    chunk: Annotated[int, typer.Option(min=1, metavar="N", help="Lines that are stored together.")] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is stored with other content under the same id.")
    ] = False,
    on_error: Annotated[
        OnError, typer.Option(help="What to do about a line that cannot be stored: skip and report it, or stop.")
    ] = OnError.SKIP,
    as_json: JsonOption = False,
) -> int:
    """Store what a JSONL file holds.

    Each line is one memory or assembly. The store is made where there is none. Chunks are stored whole or not at all, and stay when the import is
    interrupted: the same command goes on, since what is there with equal content is skipped. --embedder implies
    --embed.
    """
    size = require_input(file)
    job = _Import(file, size if not file.endswith(".gz") else None, chunk, on_error, overwrite)
    job.embed = embed or embedder is not None
    return run(_import(Place.of(context), job, embedder, Output.wanted(as_json)))


async def _import(place: Place, job: _Import, name: str | None, output: Output) -> int:
    embedder = await default_embedder(place, name) if job.embed else None
    started = time.monotonic()
    error: SynthiansMemoryError | None = None
    async with place.writing(create=True, embedder=embedder) as store:
        with progress("importing", "records") as move:
            try:
                job.report = await store.import_memories(
                    job.lines(),
                    chunk=job.chunk,
                    embed=job.embed,
                    overwrite=job.overwrite,
                    stop_on_error=job.on_error is OnError.STOP,
                    progress=lambda report: _advance(job, report, move),
                )
                await index_words(store)
            except SynthiansMemoryError as stopped:
                error = stopped
    _tell(job.report, error, time.monotonic() - started, output)
    if error is None:
        return ExitCode.FINDINGS if job.report.problem_count else ExitCode.OK
    code = fail(error)
    of_a_line = isinstance(error, InvalidValueError) and not isinstance(error, BatchTooLargeError)
    return ExitCode.FINDINGS if of_a_line else code


def _advance(job: _Import, report: ImportReport, move: Moving) -> None:
    job.report = report
    move(report.imported + report.skipped + report.problem_count, job.taken, job.size)


def _tell(report: ImportReport, error: SynthiansMemoryError | None, seconds: float, output: Output) -> None:
    if output.json:
        stopped = error.message if error is not None else None
        document: dict[str, Any] = {**report.to_dict(), "stopped": stopped, "seconds": round(seconds, 3)}
        output.document(document)
        return
    rate = (report.imported + report.skipped) / seconds if seconds else 0
    replaced = f" ({report.overwritten} of them replaced)" if report.overwritten else ""
    output.show(
        f"imported {report.imported:,}{replaced}, skipped {report.skipped:,}, "
        f"problems {report.problem_count:,} in {seconds:.1f} s ({rate:,.0f}/s)"
    )
    if report.problems:
        rows = [(str(p.line), p.code, Text(cleaned(p.reason))) for p in report.problems[:FEW]]
        output.show(table(("line", "problem", "reason"), rows, wrapped=("reason",)))
    if report.problem_count > FEW:
        output.show(f"... and {report.problem_count - FEW:,} more; --json lists the first thousand")
