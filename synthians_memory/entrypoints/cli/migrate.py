"""The command migrate: bring a store of an older format up to date.

It changes no file itself, and it deletes nothing: what is in the way goes to the store's quarantine.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.findings import findings_table, summary
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell, tell_first
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.maintenance.migration import MigrationReport, migrate_store

__all__ = ["EXAMPLES", "migrate"]

EXAMPLES: Final = ("--store notes migrate --dry-run", "--store notes migrate")


def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be done.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Bring a store of an older format up to date.

    Nothing happens to one that is. Also gives a superblock to a store that has none. After an interruption the same command goes on; until it is done, no
    program opens the store. The exit code is 5 where something is left that a check calls damaged or inconsistent.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    place.require()
    try:
        with progress("migrating", "files") as move:
            report = migrate_store(
                place.path,
                place.configuration.store_config,
                dry_run=dry_run,
                progress=lambda done, total: move(done, total=total),
            )
    except KeyboardInterrupt:
        tell("interrupted", "the store is between two formats.")
        tell("hint", "Run the same command again: it goes on.")
        return ExitCode.INTERRUPTED
    _tell(report, output)
    return ExitCode.OK if report.clean else ExitCode.DAMAGED


def _tell(report: MigrationReport, output: Output) -> None:
    if output.json:
        output.document(report.to_dict())
        return
    if not report.steps:
        output.show(f"The store is of format version {report.end} already.")
        return
    verb = "would" if report.dry_run else "done:"
    output.show(*(f"{verb} {what}" for what in report.steps))
    tell_first("note", list(report.notes), "--json lists all")
    if report.remaining:
        output.show("", "What is left:", findings_table(report.remaining), "", summary(report.remaining))
    output.show(cleaned(f"format version {report.start} -> {report.end}"))
