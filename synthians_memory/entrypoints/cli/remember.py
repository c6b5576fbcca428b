"""The command remember: save a new memory of a text.

It does not change one that is there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.embedders import embedder_for_saving
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, MetadataOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place, index_words
from synthians_memory.entrypoints.cli.values import pairs
from synthians_memory.errors import InvalidValueError, disk_error
from synthians_memory.storage.streams import STANDARD_STREAM
from synthians_memory.times import format_time

__all__ = ["EXAMPLES", "remember"]

EXAMPLES: Final = (
    '--store notes remember "Ada takes her tea with milk" --tag ada --metadata topic=drinks',
    "cat letter.txt | synthians-memory --store notes remember - --importance 0.9",
)

# How long one memory may take to bring the text index up to date, where many others have to go in before it.
_INDEXING: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What is to be saved."""

    text: str
    tags: list[str]
    importance: float | None
    metadata: dict[str, Any]


def remember(
    context: typer.Context,
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="The text; - reads it from standard input.")],
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag. May be repeated.")] = None,
    importance: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="SCORE", help="Its quickrecal_score, 0 to 1.")
    ] = None,
    metadata: MetadataOption = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Save a text as a new memory.

    Embedded where the store names an embedder, or --embedder does. The store is made where there is none. Also: add,
    note, save.
    """
    known = pairs(metadata or [], "--metadata")
    content = _read_standard_input() if text == [STANDARD_STREAM] else " ".join(text)
    if not content.strip():
        raise InvalidValueError("the text is empty", hint="Give some words to remember.")
    remembered = _Remembered(content, tag or [], importance, known)
    return run(_remember(Place.of(context), remembered, embedder, Output.wanted(as_json)))


def _read_standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode().rstrip("\n")
    except OSError as error:
        raise disk_error(error, "read", "standard input") from error
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"standard input is no UTF-8 text: {error}", hint="Convert it to UTF-8.") from error


async def _remember(place: Place, remembered: _Remembered, name: str | None, output: Output) -> int:
    embedder = await embedder_for_saving(place, name)
    async with place.writing(create=True, embedder=embedder) as store:
        entry = await store.remember(
            remembered.text, remembered.tags, remembered.importance, remembered.metadata or None
        )
        await index_words(store, _INDEXING)
    embedded = entry.embedding is not None
    if output.json:
        created = format_time(entry.created_at)
        output.document({"id": entry.memory_id, "created_at": created, "embedded": embedded})
    else:
        output.show(f"remembered as {cleaned(entry.memory_id)}")
    if not embedded:
        reason = "the store names no embedder" if embedder is None else "the embedder finds nothing in it"
        more = "; `reembed` gives everything one" if embedder is None else ""
        tell("hint", f"Saved without an embedding, since {reason}; `recall` finds it by its words{more}.")
    return ExitCode.OK
