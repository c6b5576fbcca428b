"""The command ledger promote: trust a fact that a recorded run established.

It does not judge what is true.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.log import JsonArgument, given_object
from synthians_memory.entrypoints.cli.ledger.places import (
    LATEST,
    DirOption,
    directory_of,
    embedder_of,
    run_named,
    store_of,
    writing_ledger,
)
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import StoreLockedError
from synthians_memory.json_values import JsonObject
from synthians_memory.ledger.fact_memories import remember_facts
from synthians_memory.ledger.facts import fact_memory_id

__all__ = ["EXAMPLES", "promote"]

EXAMPLES: Final = (
    '--store notes ledger promote --id notes-are-sorted --statement "The notes are sorted" --confidence 0.9 --source-run latest',
    "--store notes ledger promote - --reviewed-by ada < fact.json",
)


def promote(
    context: typer.Context,
    fact: JsonArgument = None,
    *,
    fact_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; one that is there is replaced.")
    ] = None,
    statement: Annotated[str | None, typer.Option(metavar="TEXT", help="What is the case.")] = None,
    confidence: Annotated[float | None, typer.Option(metavar="SHARE", help="How sure that is, 0 to 1.")] = None,
    source_run: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run that established it; latest is the last one.")
    ] = None,
    layer: Annotated[str | None, typer.Option(metavar="LAYER", help="Its layer, such as L4.")] = None,
    evidence: Annotated[list[str] | None, typer.Option(metavar="PATH", help="What shows it. May be repeated.")] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="Until when it holds.")] = None,
    reviewed_by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who reviewed it, where its confidence is below the threshold.")
    ] = None,
    threshold: Annotated[float, typer.Option(metavar="SHARE", help="The least confidence that needs no review.")] = 0.8,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Trust a fact from now on.

    It is inserted, or replaces the one with its id; in a store it is also saved as a memory tagged fact.
    """
    given: dict[str, Any] = {
        "id": fact_id,
        "statement": statement,
        "confidence": confidence,
        "source_run": source_run,
        "layer": layer,
        "evidence": evidence,
        "expires_at": expires_at,
        "reviewed_by": reviewed_by,
    }
    fields = {**given_object(fact), **{name: value for name, value in given.items() if value is not None}}
    # Before anything is written: a setting may be wrong.
    place = store_of(context, directory)
    with writing_ledger(directory_of(context, directory)) as ledger:
        if fields.get("source_run") == LATEST:
            fields["source_run"] = run_named(ledger, LATEST)
        ledger.promote_fact(fields, threshold)
    return run(_remember(place, fields, Output.wanted(as_json)))


async def _remember(place: Place | None, fact: JsonObject, output: Output) -> int:
    remembered = place is not None and await _is_saved(place, fact)
    if output.json:
        memory_id = fact_memory_id(fact["id"]) if remembered else None
        output.document({"id": fact["id"], "source_run": fact["source_run"], "memory_id": memory_id})
    else:
        output.show(f"promoted {cleaned(fact['id'])}")
    return ExitCode.OK


async def _is_saved(place: Place, fact: JsonObject) -> bool:
    try:
        embedder = await embedder_of(place)
        async with place.writing(embedder=embedder) as store:
            await remember_facts(store, [fact], embedder)
    except StoreLockedError as error:
        tell("pending", f"the fact is promoted; it is not yet a memory, since {error.message}")
        tell("hint", "Run `ledger doctor --mend` when that program has closed the store.")
        return False
    return True
