"""The command ledger diff: how a run differs from another.

It judges neither.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import LATEST, DirOption, directory_of, reading_ledger, run_named
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table
from synthians_memory.ledger.comparison import OutputDifference, RunDifference

__all__ = ["EXAMPLES", "diff"]

EXAMPLES: Final = (
    "--store notes ledger diff --run latest",
    "--store notes ledger diff --run 20261120T120000Z-0a1b2c --against latest",
)


def diff(
    context: typer.Context,
    run: Annotated[str, typer.Option(metavar="RUN", help="The run; latest is the last one.")],
    against: Annotated[str, typer.Option(metavar="RUN", help="The other run; latest is the last one.")] = LATEST,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show how a run differs from another.

    In the fields of its entry, and in its output files. The exit code is 0 also where they differ.
    """
    output = Output.wanted(as_json)
    with reading_ledger(directory_of(context, directory)) as ledger:
        found = ledger.compare(run_named(ledger, run), against)
    if output.json:
        output.document(found.to_dict())
    else:
        _show(found, output)
    return ExitCode.OK


def _show(found: RunDifference, output: Output) -> None:
    if found.equal:
        output.show(f"{found.run} says and puts out the same as {found.against}")
    if found.fields:
        rows = [(cleaned(name), _cell(before), _cell(after)) for name, (before, after) in found.fields.items()]
        output.show(table(("field", found.against, found.run), rows, wrapped=(found.against, found.run)))
    for changed in found.outputs:
        output.show("", f"{cleaned(changed.name)}: {_told(changed)}", *(cleaned(line) for line in changed.lines))


def _cell(value: Any) -> str:
    return "" if value is None else preview(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _told(changed: OutputDifference) -> str:
    if changed.before is None or changed.after is None:
        return "only in the run" if changed.before is None else "missing in the run"
    return "differs"
