"""The command reembed: change a store to another embedder, or back.

It embeds nothing itself; the store does.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.embedding import open_embedder
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption, embedder_name
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import Moving, progress
from synthians_memory.entrypoints.cli.stores import Place, index_words
from synthians_memory.errors import UsageError
from synthians_memory.reports import ReembedReport

__all__ = ["EXAMPLES", "reembed"]

EXAMPLES: Final = (
    "--store notes reembed --embedder sentence-transformers:all-MiniLM-L6-v2",
    "--store notes reembed --back",
    "--store notes reembed --forget-way-back",
)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be done.

    Attributes:
        embedder: its name as it was written; None where none was.
        back, forget_way_back, drop_unembeddable: as `MemoryPersistence.reembed`.
    """

    embedder: str | None
    back: bool
    forget_way_back: bool
    drop_unembeddable: bool


def reembed(
    context: typer.Context,
    embedder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help='The new embedder: "default" (works offline, and is taken without this option), or a name such as '
            '"sentence-transformers:all-MiniLM-L6-v2". With --back: the one of the model before, for what was saved since.',
        ),
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Go back to the model before, whose embeddings the store has kept.")
    ] = False,
    forget_way_back: Annotated[
        bool, typer.Option("--forget-way-back", help="Only remove the embeddings that are kept as a way back.")
    ] = False,
    drop_unembeddable: Annotated[
        bool,
        typer.Option(
            "--drop-unembeddable",
            help="Go on although some entities have an embedding and no text: they will have none.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Give every memory and assembly an embedding of another model.

    The store changes in one step; interrupted before it, the same command goes on with what was done. The old
    embeddings are kept: --back returns to them without embedding again, --forget-way-back frees their space.
    """
    if forget_way_back and (back or embedder is not None):
        raise UsageError("--forget-way-back changes no model", hint="Leave the other options out.")
    wish = _Wish(embedder, back, forget_way_back, drop_unembeddable)
    return run(_reembed(Place.of(context), wish, Output.wanted(as_json)))


async def _reembed(place: Place, wish: _Wish, output: Output) -> int:
    place.require()
    embedder = await _embedder(wish)
    started = time.monotonic()
    async with place.writing() as store:
        with progress("reembedding", "steps") as move:
            report = await store.reembed(
                embedder,
                back=wish.back,
                forget_way_back=wish.forget_way_back,
                drop_unembeddable=wish.drop_unembeddable,
                progress=lambda so_far: _advance(so_far, move),
            )
        await index_words(store)
    _tell(report, time.monotonic() - started, output)
    return ExitCode.OK


async def _embedder(wish: _Wish) -> Embedder | None:
    if wish.forget_way_back or (wish.back and wish.embedder is None):
        return None
    return await asyncio.to_thread(open_embedder, embedder_name(wish.embedder))


def _advance(report: ReembedReport, move: Moving) -> None:
    """Each entity is staged, and later its file converted."""
    done = report.staged + report.converted
    move(done, done, 2 * report.total)


def _tell(report: ReembedReport, seconds: float, output: Output) -> None:
    document = {**report.to_dict(), "seconds": round(seconds, 3)}
    if output.json:
        output.document(document)
        return
    document["without"] = ", ".join(report.without) or "none"
    output.show(facts((name.replace("_", " "), value) for name, value in document.items()))
