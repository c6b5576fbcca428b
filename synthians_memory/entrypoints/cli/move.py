"""The command move: move the store to another place.

It copies nothing itself, and it never deletes what is at the old place.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell, tell_first
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.maintenance.move import MoveReport, move_store

__all__ = ["EXAMPLES", "move"]

EXAMPLES: Final = ("--store notes move /mnt/data/notes --dry-run", "--store notes move /mnt/data/notes")


def move(
    context: typer.Context,
    new_path: Annotated[str, typer.Argument(metavar="NEW_PATH", help="Where to; must not exist, or be empty.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would be moved.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Move the store to another place.

    Every file is copied, its hash verified, and only then is the old place given up: no program opens it any more, and whoever tries is told
    where the store is now. Nothing there is deleted. After an interruption the same command goes on. The exit code
    is 1 where something could not be copied, since it is no file.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    place.require()
    try:
        with progress("moving", "files") as show:
            report = move_store(
                place.path,
                new_path,
                allow_network_filesystem=place.settings.get("allow_network_filesystem", False),
                dry_run=dry_run,
                progress=lambda done, total, size: show(done, total=total),
            )
    except KeyboardInterrupt:
        tell("interrupted", "the store is where it was, unless the move was nearly done.")
        tell("hint", "Run the same command again: it goes on.")
        return ExitCode.INTERRUPTED
    _tell(report, output)
    return ExitCode.FINDINGS if report.left else ExitCode.OK


def _tell(report: MoveReport, output: Output) -> None:
    if output.json:
        output.document(report.to_dict())
        return
    verb = "would move" if report.dry_run else "moved"
    output.show(cleaned(f"{verb} {report.files:,} files, {report.size:,} bytes, to {report.target}"))
    tell_first("left", list(report.left), "they are at the old place only")
    if not report.dry_run:
        output.show(cleaned(f"{report.source} is given up; remove it when you have seen that all is well."))
