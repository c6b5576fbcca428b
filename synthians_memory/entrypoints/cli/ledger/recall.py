"""The command ledger recall: what the log, the facts and the artifacts say of something.

It is not the recall of memories, which ranks by words and vectors.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import DirOption, directory_of, reading_ledger
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table
from synthians_memory.ledger.timeline import summary_of

__all__ = ["EXAMPLES", "recall"]

EXAMPLES: Final = ("--store notes ledger recall sorted", "--store notes ledger recall notes:1 --limit 20")


def recall(
    context: typer.Context,
    query: Annotated[list[str], typer.Argument(metavar="QUERY...", help="What to look for; letters large or small.")],
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many hits at most.")] = 5,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Look for something in the ledger.

    In the values of entries, of facts that hold, and of artifacts; newest first.
    """
    output = Output.wanted(as_json)
    with reading_ledger(directory_of(context, directory)) as ledger:
        hits = ledger.recall(" ".join(query), limit=limit)
    if output.json:
        output.document({"hits": hits})
    elif hits:
        rows = [(hit["kind"], cleaned(str(hit.get("run_id") or hit.get("source_run"))), _told(hit)) for hit in hits]
        output.show(table(("kind", "run", "what it says"), rows, wrapped=("what it says",)))
    else:
        output.show("nothing found")
    return ExitCode.OK


def _told(hit: dict[str, Any]) -> str:
    if hit["kind"] == "fact":
        return preview(f"{hit['id']}: {hit.get('statement')}")
    task = str(hit.get("task") or "")
    return preview(f"{task}: {hit.get('path')}" if hit["kind"] == "artifact" else f"{task} {summary_of(hit)}")
