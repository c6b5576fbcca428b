"""What the commands of tiers share: the tiers of the store that is named, and the printing of rows.

It decides nothing about rows: the tiers do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer

from synthians_memory.entrypoints.cli.embedders import known_embedder
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.output import Output, preview, table
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import EntityNotFoundError, UsageError
from synthians_memory.tiers import Record, Tiers, TokenCounter, estimate_tokens

__all__ = ["LimitOption", "RowIdOption", "found", "misused", "opened", "work_on_rows"]

R = TypeVar("R", bound=Record)

RowIdOption = Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id; without it a new one is drawn.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many at most.")]


@asynccontextmanager
async def opened(place: Place, *, writing: bool, count_tokens: TokenCounter = estimate_tokens) -> AsyncIterator[Tiers]:
    """The tiers of the store, open for changes or, beside a writer as well, for reading.

    Raises:
        NotAStoreError: there is no store.
        StoreLockedError: another program has it open, and `writing`.
    """
    place.require()
    embedder = await known_embedder(place, None)
    store_of = place.writing(embedder=embedder) if writing else place.reading(embedder)
    async with store_of as store, Tiers(store, count_tokens=count_tokens) as tiers:
        yield tiers


def work_on_rows(
    context: typer.Context,
    as_json: bool,
    name: str,
    work: Callable[[Tiers], Awaitable[Sequence[Record]]],
    *,
    writing: bool,
) -> int:
    """Do `work` on the tiers and print the rows that it gives; as JSON, an object whose member `name` they are.

    For people a table of what each has; a column in which nothing stands is left out.
    """
    return run(_worked(Place.of(context), Output.wanted(as_json), name, work, writing=writing))


async def _worked(
    place: Place, output: Output, name: str, work: Callable[[Tiers], Awaitable[Sequence[Record]]], *, writing: bool
) -> int:
    async with opened(place, writing=writing) as tiers:
        rows = [record.to_dict() for record in await work(tiers)]
    if output.json:
        output.document({name: rows})
    elif rows:
        columns = [column for column in rows[0] if any(row[column] not in (None, [], {}, "") for row in rows)]
        cells = [[preview(_cell(row[column])) for column in columns] for row in rows]
        output.show(table(columns, cells, wrapped=columns))
    else:
        output.show("nothing found")
    return ExitCode.OK


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def found(record: R | None, what: str) -> R:
    """The record. Raises EntityNotFoundError where there is none."""
    if record is None:
        raise EntityNotFoundError(f"there is no {what}", hint="Look up its id, and run the command again.")
    return record


def misused(message: str, command: str) -> UsageError:
    """The error for options that do not go together."""
    return UsageError(message, hint=f"See synthians-memory tiers {command} --help.")
