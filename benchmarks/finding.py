"""How often recall finds what was asked for: by vectors, by text, by both, and with neighbours.

It measures no speed, and no other store.

    python -m benchmarks.finding --data DATA
    python -m benchmarks.finding --conversations FILE --sweep

DATA holds peps_memories.jsonl.gz, peps_assemblies.jsonl.gz and peps_queries.jsonl.gz; README.md describes FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from synthians_memory import MemoryPersistence
from synthians_memory.embedding import open_embedder

K = 10
CHUNK = 2000
CONVERSATION_KEY = "conversation_id"
# When a conversation without times began; its turns follow a second apart, in the order of the file.
BEGAN = datetime(2000, 1, 1, tzinfo=UTC)

# What is asked for, as arguments of `recall`.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "vectors": {"mode": "vector"},
    "text": {"mode": "text", "neighbours": 0.0},
    "text with neighbours": {"mode": "text"},
    "hybrid by scores": {"neighbours": 0.0},
    "hybrid by ranks": {"neighbours": 0.0, "fusion": "rank"},
    "hybrid by ranks with neighbours": {"fusion": "rank"},
    "hybrid with neighbours (the defaults)": {},
}
SWEPT: Mapping[str, Sequence[Any]] = {
    "fusion": ("score", "rank"),
    "vector_weight": (0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    "neighbours": (0.0, 0.25, 0.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A text to recall by, and the ids of the memories that answer it."""

    text: str
    answers: frozenset[str]
    where: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Task:
    """What is stored, and what is asked.

    Attributes:
        entities: lines for an import, memories before assemblies.
        facts: what a reader of the figures should know.
    """

    name: str
    entities: list[dict[str, Any]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What one way of asking found, over many questions.

    Attributes:
        at_1, at_10: share of the questions with an answer first, and among the first ten.
        evidence: share of a question's answers among the first ten, mean over the questions.
    """

    at_1: float
    at_10: float
    evidence: float

    @classmethod
    def of(cls, outcomes: Sequence[tuple[bool, bool, float]]) -> Found:
        """The means; zeros without questions."""
        count = max(1, len(outcomes))
        return cls(*(sum(values) / count for values in zip(*outcomes, strict=True))) if outcomes else cls(0, 0, 0)


# Titles


def title_task(data: Path) -> Task:
    """Every title asks for its document. Titles are stored nowhere: no metadata, no names, no paragraph with its own title."""
    queries = list(read_lines(data / "peps_queries.jsonl.gz"))
    titles = {query["assembly_id"]: folded(query["query"]) for query in queries}
    paragraphs = list(read_lines(data / "peps_memories.jsonl.gz"))
    kept = [one for one in paragraphs if titles.get(one["assembly_id"], "\0") not in folded(one["content"])]
    task = Task("titles", [{name: one[name] for name in ("id", "content", "created_at")} for one in kept])
    ids = {one["id"] for one in kept}
    answers: dict[str, frozenset[str]] = {}
    for document in read_lines(data / "peps_assemblies.jsonl.gz"):
        members = [member for member in document["members"] if member in ids]
        answers[document["assembly_id"]] = frozenset(members)
        if members:
            name = document["assembly_id"]
            task.entities.append({"kind": "assembly", "assembly_id": name, "name": name, "members": members})
    asked = [Question(query["query"], answers[query["assembly_id"]]) for query in queries]
    task.questions = [question for question in asked if question.answers]
    task.facts = {
        "paragraphs": len(kept),
        "left out with their title": len(paragraphs) - len(kept),
        "titles": len(task.questions),
        "titles left without a paragraph": len(asked) - len(task.questions),
    }
    return task


def folded(text: str) -> str:
    """`text` without regard to case and line breaks."""
    return " ".join(text.casefold().split())


# Conversations


def conversation_task(path: Path) -> Task:
    """The turns and questions of a file. SystemExit, with the line, where it has another form."""
    task = Task(path.name)
    asked: list[tuple[int, dict[str, Any]]] = []
    turns: set[str] = set()
    for number, line in enumerate(read_lines(path), 1):
        if "question" in line:
            asked.append((number, line))
            continue
        try:
            entity = turn_entity(line, number)
        except (KeyError, ValueError, TypeError) as error:
            raise SystemExit(f"{path}, line {number} is neither a turn nor a question: {error!r}") from error
        if entity["id"] in turns:
            raise SystemExit(f"{path}, line {number}: the turn {entity['id']!r} is there twice")
        turns.add(entity["id"])
        task.entities.append(entity)
    for number, line in asked:
        task.questions.append(asked_question(path, number, line, turns))
    task.facts = {"turns": len(turns), "questions": len(task.questions)}
    return task


def turn_entity(line: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One turn as a line of an import."""
    time = line.get("time")
    moment = BEGAN + timedelta(seconds=number) if time is None else datetime.fromisoformat(time)
    speaker = line.get("speaker")
    return {
        "id": str(line["turn"]),
        "content": f"{speaker}: {line['text']}" if speaker else line["text"],
        "created_at": moment.isoformat(),
        "metadata": {CONVERSATION_KEY: line["conversation"]},
    }


def asked_question(path: Path, number: int, line: Mapping[str, Any], turns: set[str]) -> Question:
    """One question; with a conversation it asks in that one only."""
    answers = frozenset(map(str, line.get("evidence", ())))
    unknown = sorted(answers - turns)
    if unknown or not answers:
        raise SystemExit(f"{path}, line {number}: its evidence names no turn of the file: {unknown}")
    conversation = line.get("conversation")
    return Question(line["question"], answers, None if conversation is None else {CONVERSATION_KEY: conversation})


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file, plain or compressed (.gz)."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from (orjson.loads(line) for line in file if line.strip())


# Measuring


async def measure(task: Task, folder: Path, *, sweep: bool) -> dict[str, Any]:
    """Store what `task` has, ask everything in every way; the figures."""
    async with MemoryPersistence(folder, embedder=open_embedder(), conversation_key=CONVERSATION_KEY) as store:
        report = await store.import_memories(chunks(task.entities), embed=True)
        if report.problem_count:
            raise SystemExit(f"{report.problem_count} lines cannot be stored, the first: {report.problems[0].reason}")
        ways = {name: Found.of(await outcomes(store, task.questions, how)) for name, how in WAYS.items()}
        document: dict[str, Any] = {"task": task.name, **task.facts, "ways": rounded(ways)}
        if sweep:
            document["sweep"] = await swept(store, task.questions)
    return document


async def chunks(entities: Sequence[Mapping[str, Any]]) -> AsyncIterator[list[bytes]]:
    """The lines of an import, some at a time."""
    for start in range(0, len(entities), CHUNK):
        yield [orjson.dumps(entity) for entity in entities[start : start + CHUNK]]


async def outcomes(
    store: MemoryPersistence, questions: Iterable[Question], how: Mapping[str, Any]
) -> list[tuple[bool, bool, float]]:
    """Of each question: an answer came first, was among the first ten, and which share of its answers was."""
    found: list[tuple[bool, bool, float]] = []
    for question in questions:
        hits = await store.recall(question.text, K, where=question.where, timeout=None, **how)
        right = [hit.entry.memory_id in question.answers for hit in hits]
        found.append((right[:1] == [True], any(right), sum(right) / len(question.answers)))
    return found


async def swept(store: MemoryPersistence, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """The figures for many weights: of the questions with even numbers, to choose by, and of the others, to judge by."""
    rows: list[dict[str, Any]] = []
    for values in itertools.product(*SWEPT.values()):
        weights = dict(zip(SWEPT, values, strict=True))
        found = await outcomes(store, questions, weights)
        even, odd = Found.of(found[::2]), Found.of(found[1::2])
        parts = {"even_at_1": even.at_1, "even_at_10": even.at_10, "odd_at_1": odd.at_1, "odd_at_10": odd.at_10}
        shares = {**parts, "evidence_at_10": Found.of(found).evidence}
        rows.append({**weights, **{name: round(value, 4) for name, value in shares.items()}})
    return rows


def rounded(ways: Mapping[str, Found]) -> dict[str, dict[str, float]]:
    """The figures of each way, to four digits."""
    return {
        name: {
            "hit_rate_at_1": round(found.at_1, 4),
            "hit_rate_at_10": round(found.at_10, 4),
            "evidence_at_10": round(found.evidence, 4),
        }
        for name, found in ways.items()
    }


# Reporting


def markdown(document: Mapping[str, Any]) -> str:
    """The figures of one task as tables."""
    facts = ", ".join(f"{name}: {value}" for name, value in document.items() if name not in ("ways", "sweep"))
    parts = [facts, "", *table("way", document["ways"])]
    if "sweep" in document:
        rows = {" / ".join(str(row[name]) for name in SWEPT): row for row in document["sweep"]}
        shares = {name: {key: row[key] for key in row if key not in SWEPT} for name, row in rows.items()}
        parts += ["", *table(" / ".join(SWEPT), shares)]
    return "\n".join(parts)


def table(first: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A table of shares, in percent."""
    columns = list(Counter(name for row in rows.values() for name in row))
    yield f"| {first} | " + " | ".join(name.replace("_", " ") for name in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in rows.items():
        yield f"| {name} | " + " | ".join(f"{row[column]:.1%}" for column in columns) + " |"


async def measure_all(tasks: Iterable[Task], *, sweep: bool) -> list[dict[str, Any]]:
    """The figures of every task, each in a store of its own that is removed."""
    documents = []
    for task in tasks:
        with tempfile.TemporaryDirectory(prefix="finding-") as folder:
            documents.append(await measure(task, Path(folder) / "store", sweep=sweep))
    return documents


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is named: tables on standard error, JSON on standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="the folder of the titles and paragraphs")
    parser.add_argument("--conversations", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--sweep", action="store_true", help="many weights as well")
    options = parser.parse_args(arguments)
    if options.data is None and not options.conversations:
        parser.error("--data or --conversations is needed")
    tasks = [title_task(options.data)] if options.data else []
    tasks += [conversation_task(path) for path in options.conversations]
    documents = asyncio.run(measure_all(tasks, sweep=options.sweep))
    for document in documents:
        print(markdown(document), end="\n\n", file=sys.stderr)
    print(orjson.dumps({"benchmark": "finding", "tasks": documents}, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
