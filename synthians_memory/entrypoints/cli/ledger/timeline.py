"""The command ledger timeline: the latest entries, one after the other.

It does not check them; `ledger doctor` does.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import DirOption, directory_of, reading_ledger
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.ledger.timeline import drawn_timeline, summary_of
from synthians_memory.storage.streams import write_lines

__all__ = ["EXAMPLES", "timeline"]

EXAMPLES: Final = ("--store notes ledger timeline", "--store notes ledger timeline --task notes:1 --svg timeline.svg")


def timeline(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only entries of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 10,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw them, into this file.")] = None,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the latest entries, oldest first."""
    output = Output.wanted(as_json)
    with reading_ledger(directory_of(context, directory)) as ledger:
        entries = ledger.timeline(task=task, limit=limit)
    if svg is not None:
        run(_draw(svg, entries))
    if output.json:
        output.document({"entries": entries, "svg": svg})
    else:
        names = ("ts", "run_id", "task", "layer", "exit_status")
        rows = [(*(_cell(entry, name) for name in names), preview(summary_of(entry))) for entry in entries]
        output.show(table(("time", "run", "task", "layer", "exit", "summary"), rows, cut="summary"))
    return ExitCode.OK


def _cell(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else cleaned(str(value))


async def _draw(path: str, entries: list[dict[str, Any]]) -> int:
    async with write_lines(path) as lines:
        await lines.write([drawn_timeline(entries)])
    return ExitCode.OK
