"""The command capture: remember an exchange where it is significant.

It does not decide that by itself: the rules of `maintenance.significance` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.embedders import embedder_for_saving
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, MetadataOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.values import pairs
from synthians_memory.maintenance.capture import Capture

__all__ = ["EXAMPLES", "capture"]

EXAMPLES: Final = ('--store notes capture "Can we merge RFC 12?" "Approved; the benchmark is 3 x faster."',)


@dataclass(frozen=True, slots=True)
class _Exchange:
    question: str
    answer: str
    tags: list[str] | None
    importance: float | None
    metadata: dict[str, Any]


def capture(
    context: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What was asked or told.")],
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="What was answered to it.")],
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="A tag, in place of those found. May be repeated.")
    ] = None,
    importance: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="SCORE", help="In place of the one found; stores it in any case."),
    ] = None,
    metadata: MetadataOption = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remember an exchange where it is significant.

    Decisions, approvals, RFCs, bugs, releases, benchmarks, builds and tests are; small talk is not. logs/automemory.log
    says what became of each exchange.
    """
    exchange = _Exchange(question, answer, tag or None, importance, pairs(metadata or [], "--metadata"))
    return run(_capture(Place.of(context), exchange, embedder, Output.wanted(as_json)))


async def _capture(place: Place, exchange: _Exchange, name: str | None, output: Output) -> int:
    embedder = await embedder_for_saving(place, name)
    async with place.writing(create=True, embedder=embedder) as store:
        capturing = Capture(store, place.configuration.capture)
        memory_id = await capturing.capture(
            exchange.question,
            exchange.answer,
            tags=exchange.tags,
            importance=exchange.importance,
            metadata=exchange.metadata or None,
        )
    if output.json:
        output.document({"id": memory_id, "captured": memory_id is not None})
    else:
        output.show(
            "not significant; nothing was stored" if memory_id is None else f"remembered as {cleaned(memory_id)}"
        )
    if capturing.log_error is not None:
        tell("log", str(capturing.log_error))
    return ExitCode.OK
