"""The command watch: adopt files that a person, an editor or git changes, as they change.

It repairs nothing else.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.embedders import known_embedder
from synthians_memory.entrypoints.cli.ending import ending_by_signal
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import MissingExtraError
from synthians_memory.maintenance.watch import Watcher
from synthians_memory.maintenance.watched_change import WatchedChange

__all__ = ["EXAMPLES", "watch"]

EXAMPLES: Final = ("--store notes watch", "--store notes watch --once --adopt")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for."""

    adopt: bool
    once: bool
    interval: float
    most_removed: int | None


def watch(
    context: typer.Context,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Adopt also files whose hash line is wrong, where they parse and validate.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Adopt what has changed until now, and end.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How often all files are looked over.")
    ] = 60.0,
    most_removed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="How many files that are gone within a minute count as deleted; beyond it none does. "
            "Without it: max(10, 1 %) of all.",
        ),
    ] = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Adopt files that change outside, as they change.

    Edited, replaced, added and removed ones; a line for each. Texts that were edited are embedded anew where the store names
    an embedder, or --embedder does; else their embeddings are marked as stale. Ctrl-C ends it, with exit code 0. With --once
    the exit code is 5 where something was not adopted. A program that has the store open watches it itself: see docs/api.md.
    """
    wish = _Wish(adopt, once, interval, most_removed)
    return run(_watch(Place.of(context), wish, embedder, Output.wanted(as_json)))


async def _watch(place: Place, wish: _Wish, name: str | None, output: Output) -> int:
    with ending_by_signal() as ending:
        embedder = await _embedder(place, name)
        # The repair at opening would adopt what was edited before, and leave its embedding as it was.
        async with place.writing(auto_repair=False, startup_check="off", embedder=embedder) as store:
            watcher = Watcher(store, adopt_damaged=wish.adopt, interval=wish.interval, most_removed=wish.most_removed)
            if not wish.once:
                tell("watching", f"{place.path}; Ctrl-C ends it.")
            if not wish.once and not watcher.notified:
                every = f"every {wish.interval:g} seconds"
                tell("hint", f'Changes are found {every}; to be told at once: pip install "synthians-memory[ops]".')
            unadopted = await _until_ended(_print_all(watcher, wish, output), ending)
    return ExitCode.DAMAGED if wish.once and unadopted else ExitCode.OK


async def _embedder(place: Place, name: str | None) -> Embedder | None:
    try:
        return await known_embedder(place, name)
    except MissingExtraError as error:
        if name is not None:
            raise
        tell("hint", f"Embeddings of texts that were edited are marked as stale: {error}")
        return None


async def _until_ended(work: asyncio.Task[int], ending: asyncio.Event) -> int:
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    work.cancel()
    await asyncio.wait([work, waiting])
    return 0 if work.cancelled() else work.result()


def _print_all(watcher: Watcher, wish: _Wish, output: Output) -> asyncio.Task[int]:
    async def printing() -> int:
        unadopted = 0
        async for change in watcher.changes(once=wish.once):
            _print(change, output)
            unadopted += change.outcome != "adopted"
        return unadopted

    return asyncio.create_task(printing())


def _print(change: WatchedChange, output: Output) -> None:
    if output.json:
        output.line(json.dumps(change.to_dict(), ensure_ascii=False).encode("utf-8", "replace"))
    else:
        output.show(f"{change.outcome}: {cleaned(change.message)}")
