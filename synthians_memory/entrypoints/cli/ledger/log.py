"""The command ledger log: append an entry to the log.

It runs nothing; `ledger run` does, and records it.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import LATEST, DirOption, directory_of, run_named, writing_ledger
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.errors import InvalidTypeError, disk_error
from synthians_memory.json_values import JsonObject, parse_strict
from synthians_memory.storage.streams import STANDARD_STREAM

__all__ = ["EXAMPLES", "JsonArgument", "given_object", "log"]

EXAMPLES: Final = (
    '--store notes ledger log --task notes:1 --summary "Sorted the notes" --fact notes-are-sorted',
    """--store notes ledger log '{"task": "notes:1", "exit_status": 0}'""",
    "cat event.json | synthians-memory --store notes ledger log -",
)

JsonArgument = Annotated[
    str | None,
    typer.Argument(metavar="JSON", help="A JSON object; - reads it from standard input. Options go before it."),
]


def log(
    context: typer.Context,
    event: JsonArgument = None,
    *,
    task: Annotated[str | None, typer.Option(metavar="ID", help="The task that it belongs to.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="LAYER", help="Its layer, such as L4.")] = None,
    summary: Annotated[str | None, typer.Option(metavar="TEXT", help="What came of it.")] = None,
    fact: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A fact derived from it. May be repeated.")
    ] = None,
    receipt: Annotated[list[str] | None, typer.Option(metavar="PATH", help="A receipt. May be repeated.")] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run before it; latest is the last one.")
    ] = None,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Append an entry to the log.

    Its time, its run id and its hashes are added. It is durable when the command ends.
    """
    output = Output.wanted(as_json)
    given: dict[str, Any] = {"task": task, "layer": layer, "derived_facts": fact, "receipts": receipt}
    fields = {**given_object(event), **{name: value for name, value in given.items() if value}}
    if summary is not None:
        outputs = fields.get("outputs")
        fields["outputs"] = {**(outputs if isinstance(outputs, dict) else {}), "summary": summary}
    with writing_ledger(directory_of(context, directory)) as ledger:
        if parent is not None:
            fields["parent_run_id"] = run_named(ledger, parent) if parent == LATEST else parent
        run_id = ledger.write_log(fields)
    if output.json:
        output.document({"run_id": run_id})
    else:
        output.show(f"recorded as {run_id}")
    return ExitCode.OK


def given_object(written: str | None) -> JsonObject:
    """The object that a user gives as JSON; an empty one where none is given.

    Raises:
        InvalidValueError: it is no JSON.
        InvalidTypeError: it is no object.
        DiskError: standard input cannot be read.
    """
    if written is None:
        return {}
    try:
        data = sys.stdin.buffer.read() if written == STANDARD_STREAM else written.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise disk_error(error, "read", "standard input") from error
    value = parse_strict(data, "JSON")
    if not isinstance(value, dict):
        raise InvalidTypeError(f"JSON must be an object, not {type(value).__name__}")
    return value
