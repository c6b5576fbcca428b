"""The command ledger artifacts: note the files that a task brought forth, or list them.

It copies no files; git keeps them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import (
    LATEST,
    DirOption,
    directory_of,
    reading_ledger,
    run_named,
    writing_ledger,
)
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, table
from synthians_memory.errors import InvalidValueError

__all__ = ["EXAMPLES", "artifacts"]

EXAMPLES: Final = (
    "--store notes ledger artifacts --task notes:1",
    "--store notes ledger artifacts --task notes:1 --run latest docs/notes.md",
)


def artifacts(
    context: typer.Context,
    path: Annotated[list[str] | None, typer.Argument(metavar="PATH...", help="Files that git tracks.")] = None,
    task: Annotated[
        str | None, typer.Option(metavar="ID", help="The task; without it, and without PATH, all are listed.")
    ] = None,
    run: Annotated[str, typer.Option(metavar="RUN", help="The run that made them; latest is the last one.")] = LATEST,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Note files as artifacts of a task, or list them.

    Only files that git tracks. Their hashes are computed here; a file that the task has with the same hash is not noted again.
    """
    output, place = Output.wanted(as_json), directory_of(context, directory)
    added: list[dict[str, Any]] = []
    if path:
        if task is None:
            raise InvalidValueError("the files belong to no task", hint="Give it with --task.")
        with writing_ledger(place) as ledger:
            added = ledger.index_artifacts(task, path, run_named(ledger, run))
    with reading_ledger(place) as ledger:
        known = {name: rows for name, rows in ledger.artifacts().items() if task in (None, name)}
    if output.json:
        output.document({"artifacts": known, "added": added})
        return ExitCode.OK
    rows = [
        (cleaned(name), cleaned(str(row.get("path"))), str(row.get("sha256"))[:12], cleaned(str(row.get("run_id"))))
        for name, found in known.items()
        for row in found
    ]
    output.show(table(("task", "path", "sha256", "run"), rows, cut="path"), f"{len(added)} added" if path else "")
    return ExitCode.OK
