"""The command recall: the memories that a text is about, by words and by vectors.

It does not rank: the store does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from synthians_memory.embedder import Embedder
from synthians_memory.engine.text_marks import Span, matched_spans
from synthians_memory.entrypoints.cli.damage import Damage
from synthians_memory.entrypoints.cli.embedders import known_embedder, query_embedder
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, preview, table, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.values import WhereOption, conditions
from synthians_memory.errors import InvalidValueError
from synthians_memory.reports import RecallHit

__all__ = ["EXAMPLES", "Mode", "recall"]

EXAMPLES: Final = (
    '--store notes recall "when are annotations evaluated"',
    """--store notes recall type hints -k 3 --explain --where '{"pep": {"$gt": 500}}'""",
    "--store notes recall '\"structural subtyping\" proto*' --mode text",
)

_MATCH: Final = "bold yellow"
_EXCERPT: Final = 320
# How much is shown of what stands before the first match.
_BEFORE: Final = 60
# Metadata that says where a memory comes from, for the line above its content.
_SOURCES: Final = ("title", "section")


class Mode(StrEnum):
    """By what is found."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked."""

    text: str
    k: int
    mode: Mode
    where: dict[str, Any] | None
    min_score: float | None
    timeout: float
    embedder: str | None


def recall(
    context: typer.Context,
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help='Words, "phrases in quotes", beginnings of words*.')
    ],
    *,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many hits at most.")] = 10,
    mode: Annotated[Mode, typer.Option(help="By words and vectors, or by one of them.")] = Mode.HYBRID,
    where: WhereOption = None,
    min_score: Annotated[float | None, typer.Option(metavar="SCORE", help="Leave out hits with a lower score.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    timeout: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="How long it may take.")] = 30.0,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find the memories that a text is about.

    Best first, by words and by vectors; the words that match are highlighted. In a store that names no embedder it
    goes by words alone, and says so. Also: ask, find, query.
    """
    asked = " ".join(text)
    if not asked.strip():
        raise InvalidValueError("the text is empty", hint="Ask with some words.")
    question = _Question(asked, k, mode, conditions(where or ()), min_score, timeout, embedder)
    return run(_recall(Place.of(context), question, Output.wanted(as_json), explain=explain))


async def _recall(place: Place, question: _Question, output: Output, *, explain: bool) -> int:
    place.require()
    embedder = await _embedder(place, question)
    damage = Damage()
    async with place.reading(embedder) as store:
        hits = await store.recall(
            question.text,
            question.k,
            question.mode.value,
            question.where,
            min_score=question.min_score,
            timeout=question.timeout,
            on_damaged=damage.note,
        )
    if output.json:
        output.document({"hits": [_hit(hit) for hit in hits]})
    elif hits:
        _show(hits, question.text, output, explain=explain)
    else:
        output.show("nothing found")
    if question.mode is Mode.HYBRID and embedder is None:
        tell("hint", "Found by words alone, since the store names no embedder; --embedder NAME names one.")
    return damage.exit_code()


async def _embedder(place: Place, question: _Question) -> Embedder | None:
    if question.mode is Mode.TEXT:
        return None
    if question.mode is Mode.VECTOR:
        return await query_embedder(place, question.embedder)
    return await known_embedder(place, question.embedder)


def _hit(hit: RecallHit) -> dict[str, Any]:
    entry = hit.entry
    return {
        "id": entry.memory_id,
        "score": hit.score,
        "mode": hit.mode,
        "parts": asdict(hit.parts),
        "content": entry.content,
        "tags": list(entry.tags),
        "metadata": entry.metadata,
    }


def _show(hits: list[RecallHit], text: str, output: Output, *, explain: bool) -> None:
    contents = [cleaned(" ".join(hit.entry.content.split())) for hit in hits]
    spans = matched_spans(contents, text)
    parts = ("text", "near", "vector", "recent", "weight") if explain else ()
    rows: list[tuple[str | Text, ...]] = []
    for number, (hit, content, marks) in enumerate(zip(hits, contents, spans, strict=True), 1):
        found = _described(hit).append("\n").append_text(_excerpt(content, marks))
        rows.append((str(number), f"{hit.score:.3f}", *(_explained(hit) if explain else ()), found))
    output.show(table(("", "score", *parts, "memory"), rows, wrapped=("memory",)))
    if explain:
        output.show(
            "text, near: BM25 of its own words, of its neighbours' · vector: similarity · recent, weight: recency, importance"
        )


def _explained(hit: RecallHit) -> tuple[str, ...]:
    parts = hit.parts
    vector = "" if parts.vector is None else f"{parts.vector:.3f}"
    return f"{parts.text:.2f}", f"{parts.neighbours:.2f}", vector, f"{parts.recency:.2f}", f"{parts.importance:.2f}"


def _described(hit: RecallHit) -> Text:
    entry = hit.entry
    described = Text().append(cleaned(entry.memory_id), style="bold")
    sources = [preview(str(entry.metadata[name])) for name in _SOURCES if entry.metadata.get(name) not in (None, "")]
    sources += [f"#{preview(tag)}" for tag in entry.tags]
    return described.append("  " + " · ".join(sources), style="italic") if sources else described


def _excerpt(content: str, marks: list[Span]) -> Text:
    """The beginning of `content`, or what stands around its first match, with the matches highlighted."""
    first = marks[0][0] if marks else 0
    start = 0 if first < _EXCERPT // 2 else content.rfind(" ", 0, first - _BEFORE) + 1
    shown = Text(content)
    for mark in marks:
        shown.stylize(_MATCH, *mark)
    excerpt = shown[start : start + _EXCERPT]
    return Text("… " if start else "").append_text(excerpt).append("" if len(content) <= start + _EXCERPT else " …")
