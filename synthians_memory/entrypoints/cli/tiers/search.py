"""The command tiers search: what the long-term tier has on a text.

It does not rank: the collections do.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.tiers.rows import opened

__all__ = ["EXAMPLES", "search"]

EXAMPLES: Final = (
    '--store notes tiers search "in which order are letters answered"',
    '--store notes tiers search "letters" --collection knowledge --collection decisions --limit 3',
)


def search(
    context: typer.Context,
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to search for, in words.")],
    *,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="decisions, incidents, procedures or knowledge; without it the first three. May be repeated.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 5,
    min_relevance: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Leave out what is less relevant.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> int:
    """Find what the long-term tier has on a text.

    Decisions, incidents and procedures, however old, by meaning where the store names an embedder and else by words; the
    most relevant first.
    """
    return run(
        _search(Place.of(context), Output.wanted(as_json), " ".join(text), collection or None, limit, min_relevance)
    )


async def _search(
    place: Place, output: Output, text: str, collections: list[str] | None, limit: int, min_relevance: float
) -> int:
    async with opened(place, writing=False) as tiers:
        found = await tiers.longterm.semantic_search(text, collections, limit, min_relevance)
    if output.json:
        output.document({"results": [asdict(result) for result in found]})
    elif found:
        rows = [
            (f"{result.relevance:.3f}", result.collection, cleaned(result.id), preview(result.content))
            for result in found
        ]
        output.show(table(("relevance", "collection", "id", "what it says"), rows, wrapped=("id", "what it says")))
    else:
        output.show("nothing found")
    return ExitCode.OK
