"""The command repair: check every byte and mend what is found.

It deletes no source: what is in the way goes to the store's quarantine.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.findings import findings_table, summary
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.facade import MemoryPersistence
from synthians_memory.reports import RepairReport

__all__ = ["EXAMPLES", "repair"]

EXAMPLES: Final = ("--store notes repair --dry-run", "--store notes repair")


def repair(
    context: typer.Context,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Change nothing, and say what would be done; works beside a running program."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Mend what a full check finds.

    What is in the way is moved to the quarantine folder of the store. The exit code is 7 where something was mended, 5 where something is left that cannot be, and 0 where nothing
    was wrong. With --dry-run it is 1 where something would be mended.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    return run(_dry_run(place, output) if dry_run else _repair(place, output))


async def _dry_run(place: Place, output: Output) -> int:
    async with place.reading() as store:
        report = await _report(store, dry_run=True)
    _tell(report, output)
    return ExitCode.OK if report.clean else ExitCode.FINDINGS


async def _repair(place: Place, output: Output) -> int:
    # The repair at opening would do a part of it first, with less care than one that a person watches.
    async with place.writing(auto_repair=False, startup_check="off") as store:
        report = await _report(store, dry_run=False)
        rebuilt = any(note["severity"] != "note" for note in store.stats()["notes"])
    _tell(report, output)
    if not report.clean:
        return ExitCode.DAMAGED
    return ExitCode.MENDED if report.actions or rebuilt else ExitCode.OK


async def _report(store: MemoryPersistence, *, dry_run: bool) -> RepairReport:
    with progress("checking", "files") as move:
        return await store.verify_and_repair_consistency(dry_run, progress=lambda done, total: move(done, total=total))


def _tell(report: RepairReport, output: Output) -> None:
    if output.json:
        output.document(report.to_dict())
        return
    if report.findings:
        output.show(findings_table(report.findings), "")
    will = "would " if report.dry_run else "done: "
    output.show(*(f"{will}{action}" for action in report.actions))
    output.show(*(f"in quarantine: {path}" for path in report.quarantined))
    if not report.dry_run and report.remaining:
        output.show("", "What is left:", findings_table(report.remaining), "")
    output.show(
        summary(report.remaining) if not report.dry_run else f"{len(report.actions):,} steps; nothing was changed"
    )
