"""The command report: a page in HTML about the store, in one file.

It is not for programs: `doctor`, `stats` and `check` print JSON. It changes nothing in the store.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.maintenance.report.writing import write_report
from synthians_memory.storage.streams import STANDARD_STREAM

__all__ = ["EXAMPLES", "report"]

EXAMPLES: Final = ("--store notes report --out notes.html", "--store notes report --no-content --out shared.html")


def report(
    context: typer.Context,
    out: Annotated[
        str, typer.Option(metavar="FILE.html", help="Written in one step; - is standard output.")
    ] = STANDARD_STREAM,
    no_content: Annotated[
        bool, typer.Option("--no-content", help="Show only the ids of memories, not how they begin.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Write a page about the store: health, growth, sizes, a timeline, and a map of the memories.

    One file in HTML, for light and dark, wide and narrow screens and paper, that loads nothing and runs nothing. The store
    is only read, and a program may go on writing meanwhile.
    """
    return run(_report(Place.of(context), out, Output.wanted(as_json), contents=not no_content))


async def _report(place: Place, out: str, output: Output, *, contents: bool) -> int:
    place.require()
    with progress("gathering", "steps") as move:
        size = await write_report(
            place.path,
            out,
            contents=contents,
            progress=lambda name, done, total: move(done, total=total or None),
        )
    if out == STANDARD_STREAM:
        return ExitCode.OK
    if output.json:
        output.document({"file": out, "bytes": size, "content": contents})
    else:
        output.show(f"{out}: {size:,} bytes")
    return ExitCode.OK
