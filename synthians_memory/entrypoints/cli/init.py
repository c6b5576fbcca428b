"""The command init: make a store, or see that it is there.

It does not change a store that exists.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, get_args

import typer

from synthians_memory.config import Metric
from synthians_memory.embedder import Embedder
from synthians_memory.embedding import open_embedder
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, embedder_name
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import EmbedderMismatchError

__all__ = ["EXAMPLES", "MetricName", "init"]

EXAMPLES: Final = ("--store notes init", "--store notes init --dimension 384 --metric ip")

MetricName = StrEnum("MetricName", {name.upper(): name for name in get_args(Metric)})  # type: ignore[misc]

_FACTS: Final = ("store_id", "format_version", "embedding_dimension", "metric", "embedder")


def init(
    context: typer.Context,
    dimension: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Numbers in every vector. Without it: fixed by the first one."),
    ] = None,
    metric: Annotated[MetricName | None, typer.Option(help="How vectors are compared; cosine without it.")] = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Make a store.

    Where there is one already nothing changes; it is an error if it is not as wanted. An import makes the store
    itself: this is for fixing dimension, metric or embedder beforehand.
    """
    wanted: dict[str, Any] = {"embedding_dimension": dimension, "metric": metric and str(metric)}
    opened = open_embedder(embedder_name(embedder)) if embedder else None
    given = {name: value for name, value in wanted.items() if value is not None}
    return run(_init(Place.of(context), given, opened, Output.wanted(as_json)))


async def _init(place: Place, given: dict[str, Any], embedder: Embedder | None, output: Output) -> int:
    fresh = place.is_empty
    async with place.writing(create=True, embedder=embedder, **given) as store:
        stats = store.stats()
    wanted = {**given, **({"embedder": embedder.name} if embedder else {})}
    for name, value in wanted.items():
        if stats[name] != value:
            raise EmbedderMismatchError(f"the store {place.path} exists, and its {name} is {stats[name]}, not {value}")
    document = {"location": stats["location"], "created": fresh, **{name: stats[name] for name in _FACTS}}
    if output.json:
        output.document(document)
    else:
        output.show("made a store" if fresh else "the store was there already", facts(document.items()))
    return ExitCode.OK
