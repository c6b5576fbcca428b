"""The command tiers context: the relevant part of the tiers for a task, within a budget of tokens.

The ring of a running program is not in it, since it is that program's; the latest events on disk stand in for it.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.tiers.rows import opened
from synthians_memory.tiers import AssembledContext, estimate_tokens, open_tokenizer
from synthians_memory.tiers.context import MAX_TOKENS, TIERS

__all__ = ["EXAMPLES", "context"]

EXAMPLES: Final = (
    '--store notes tiers context "answer the letter from Ada" --max-tokens 1000',
    '--store notes tiers context "answer the letter from Ada" --tier working --tier knowledge --tokenizer tokenizer.json',
)

_EVENTS: Final = 100


def context(
    context: typer.Context,
    task: Annotated[list[str], typer.Argument(metavar="TASK...", help="What is to be done.")],
    *,
    max_tokens: Annotated[int, typer.Option(min=0, metavar="N", help="The budget.")] = MAX_TOKENS,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="operational, working, longterm or knowledge. May be repeated; without it all."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Count by the tokenizer.json of a model; without it bytes by four."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Gather what is relevant to a task, within a budget of tokens.

    The latest events, rows of the working and long-term tiers, and knowledge.
    """
    return run(
        _context(Place.of(context), Output.wanted(as_json), " ".join(task), max_tokens, tier or TIERS, tokenizer)
    )


async def _context(
    place: Place, output: Output, task: str, max_tokens: int, names: list[str] | tuple[str, ...], tokenizer: str | None
) -> int:
    count = estimate_tokens if tokenizer is None else await open_tokenizer(tokenizer)
    async with opened(place, writing=False, count_tokens=count) as tiers:
        for event in reversed(await tiers.working.get_events(_EVENTS)):
            tiers.operational.push(event)
        assembled = await tiers.assemble_context(task, max_tokens, names)
    if output.json:
        output.document(assembled.to_dict())
    else:
        _show(assembled, output)
    return ExitCode.OK


def _show(assembled: AssembledContext, output: Output) -> None:
    for chunk in assembled.chunks:
        output.show(f"[{chunk.source}] {cleaned(chunk.id)}, relevance {chunk.relevance:.3f}, {chunk.tokens:,} tokens")
        output.show(cleaned(chunk.content), "")
    output.show(f"{assembled.total_tokens:,} of {assembled.max_tokens:,} tokens")
