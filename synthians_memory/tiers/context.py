"""Assembling context: the relevant part of every tier for one task, within a budget of tokens.

It stores nothing and ranks nothing: each tier says what of it is relevant, and how much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Protocol

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import checked_text
from synthians_memory.tiers.operational import SystemSnapshot
from synthians_memory.tiers.snapshot_text import snapshot_lines
from synthians_memory.tiers.tokens import TokenCounter, checked_counter, estimate_tokens

__all__ = [
    "MAX_TOKENS",
    "TIERS",
    "AssembledContext",
    "ContextChunk",
    "ContextSources",
    "FoundRow",
    "LongTermSource",
    "OperationalSource",
    "RelevantRow",
    "WorkingSource",
    "assemble_context",
]

# In the order in which the tiers are asked, and stand in what is assembled.
TIERS: Final = ("operational", "working", "longterm", "knowledge")
MAX_TOKENS: Final = 4000
_SPELLINGS: Final = {"long_term": "longterm"}
# What the state of the system may take of the budget.
_OPERATIONAL_TOKENS: Final = 500
_EVENTS: Final = 100
_LIMITS: Final = {"working": 5, "longterm": 3, "knowledge": 2}


class RelevantRow(Protocol):
    """A row of the working tier that is relevant to a text."""

    @property
    def kind(self) -> str:
        """Of what it is a row, in the singular ("decision")."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def summary(self) -> str:
        """What it says."""

    @property
    def relevance(self) -> float:
        """0 to 1."""


class FoundRow(Protocol):
    """A row of the long-term tier that a search found."""

    @property
    def collection(self) -> str:
        """The collection that it is in, in the plural ("decisions")."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def content(self) -> str:
        """What it says."""

    @property
    def relevance(self) -> float:
        """0 to 1."""


class OperationalSource(Protocol):
    """The operational tier, as far as it is asked here."""

    def snapshot(self, count: int = ...) -> SystemSnapshot:
        """How things stand now."""


class WorkingSource(Protocol):
    """The working tier, as far as it is asked here."""

    async def find_relevant(self, task_description: str, limit: int = ...) -> Sequence[RelevantRow]:
        """What is relevant, best first."""


class LongTermSource(Protocol):
    """The long-term tier, as far as it is asked here."""

    async def semantic_search(
        self, query: str, collections: Sequence[str] | None = ..., n_results: int = ..., min_relevance: float = ...
    ) -> Sequence[FoundRow]:
        """What is near in meaning, best first."""

    async def search_knowledge(self, query: str, n_results: int = ...) -> Sequence[FoundRow]:
        """What of the knowledge is near in meaning, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSources:
    """The tiers to be asked."""

    operational: OperationalSource
    working: WorkingSource
    longterm: LongTermSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChunk:
    """One part of an assembled context.

    Attributes:
        source: the tier that it comes from.
        content: the text.
        tokens: how many it counts.
        relevance: to the task, 0 to 1; 1 for the state of the system.
        id: kind and id of the row, "decision:7"; "operational" for the state of the system.
    """

    source: str
    content: str
    tokens: int
    relevance: float
    id: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "source": self.source,
            "id": self.id,
            "relevance": self.relevance,
            "tokens": self.tokens,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledContext:
    """What the tiers have to say to a task.

    Attributes:
        chunks: in the order of the tiers, within one the most relevant first.
        total_tokens: the sum of theirs; what joins them is not counted.
        max_tokens: the budget, which is never exceeded.
    """

    chunks: tuple[ContextChunk, ...]
    total_tokens: int
    max_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "chunks": [chunk.to_dict() for chunk in self.chunks],
            "total_tokens": self.total_tokens,
            "max_tokens": self.max_tokens,
        }


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What may become a chunk."""

    source: str
    id: str
    content: str
    relevance: float


async def assemble_context(
    sources: ContextSources,
    task: str,
    max_tokens: int = MAX_TOKENS,
    tiers: Iterable[str] = TIERS,
    *,
    count_tokens: TokenCounter = estimate_tokens,
) -> AssembledContext:
    """Gather what is relevant to `task`: the state of the system, then rows of the working and long-term tiers, then knowledge.

    The state takes up to 500 tokens and is cut to fit. Then come at most 5, 3 and 2 rows; one that does not fit is left
    out, and smaller ones behind it may still enter. No row comes twice, nor does one text. The same state, clock and
    counter give the same context.

    Args:
        sources: the tiers.
        task: what is to be done.
        max_tokens: the budget; 0: nothing is assembled.
        tiers: which of TIERS, in any order; "long_term" is read as "longterm".
        count_tokens: counts the tokens of a text. Called in a thread.

    Raises:
        InvalidValueError, InvalidTypeError: a negative budget, an unknown tier, a task that is no text, or a counter
            that gives no count.
    """
    checked_text(task, "task")
    _require_budget(max_tokens)
    wanted = _checked_tiers(tiers)
    counter = checked_counter(count_tokens)
    if max_tokens == 0:
        return AssembledContext(chunks=(), total_tokens=0, max_tokens=0)
    snapshot = sources.operational.snapshot(_EVENTS) if "operational" in wanted else None
    candidates = await _candidates(sources, task, wanted)
    # Long texts take a tokenizer a while, and events with much data take one to be written out.
    return await asyncio.to_thread(lambda: _Assembly(max_tokens, counter).assembled(snapshot, candidates))


def _require_budget(max_tokens: int) -> None:
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
        raise InvalidTypeError(f"max_tokens must be an integer, not {type(max_tokens).__name__}")
    if max_tokens < 0:
        raise InvalidValueError(f"max_tokens is {max_tokens}", hint="Give a budget of at least 0.")


def _checked_tiers(tiers: Iterable[str]) -> set[str]:
    if isinstance(tiers, str) or not isinstance(tiers, Iterable):
        raise InvalidTypeError(f"tiers must be a list of names, not {type(tiers).__name__}", hint="Write [name].")
    wanted = set()
    for written in tiers:
        name = _SPELLINGS.get(str(written), written)
        if name not in TIERS:
            raise InvalidValueError(f"there is no tier {written!r}", hint=f"Write any of {', '.join(TIERS)}.")
        wanted.add(name)
    return wanted


async def _candidates(sources: ContextSources, task: str, wanted: set[str]) -> list[list[_Candidate]]:
    """What each tier below the operational one offers, best first, in the order of the tiers."""
    working = [
        _Candidate("working", f"{row.kind}:{row.id}", row.summary, row.relevance)
        for row in (await sources.working.find_relevant(task, _LIMITS["working"]) if "working" in wanted else ())
    ]
    # As many more as may be there twice.
    wider = _LIMITS["longterm"] + len(working)
    longterm = await sources.longterm.semantic_search(task, n_results=wider) if "longterm" in wanted else ()
    knowledge: Sequence[FoundRow] = ()
    if "knowledge" in wanted:
        knowledge = await sources.longterm.search_knowledge(task, _LIMITS["knowledge"])
    return [working, [_found("longterm", row) for row in longterm], [_found("knowledge", row) for row in knowledge]]


def _found(source: str, row: FoundRow) -> _Candidate:
    return _Candidate(source, f"{row.collection.removesuffix('s')}:{row.id}", row.content, row.relevance)


class _Assembly:
    """One context that is being assembled."""

    def __init__(self, max_tokens: int, count: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._left = max_tokens
        self._count = count
        self._chunks: list[ContextChunk] = []
        self._ids: set[str] = set()
        self._texts: set[str] = set()

    def assembled(self, snapshot: SystemSnapshot | None, offers: list[list[_Candidate]]) -> AssembledContext:
        if snapshot is not None:
            self._add_state(snapshot_lines(snapshot))
        for candidates in offers:
            self._add_rows(candidates)
        total = sum(chunk.tokens for chunk in self._chunks)
        return AssembledContext(chunks=tuple(self._chunks), total_tokens=total, max_tokens=self._max_tokens)

    def _add_state(self, lines: list[str]) -> None:
        bound = min(_OPERATIONAL_TOKENS, self._left)
        content = self._longest(list(accumulate(lines, lambda before, line: f"{before}\n{line}")), bound)
        if not content:
            # Not even the first line fits: the beginning of it is better than nothing.
            content = self._longest(list(accumulate(lines[0])), bound)
        self._enter(_Candidate("operational", "operational", content, 1.0))

    def _longest(self, beginnings: list[str], bound: int) -> str:
        """The longest of `beginnings` that counts at most `bound`, or "", where longer texts count no fewer.

        For any other counter it may be a shorter one.
        """
        low, high = 0, len(beginnings)
        while low < high:
            middle = (low + high + 1) // 2
            if self._count(beginnings[middle - 1]) <= bound:
                low = middle
            else:
                high = middle - 1
        return beginnings[low - 1] if low else ""

    def _add_rows(self, candidates: list[_Candidate]) -> None:
        taken = 0
        for candidate in candidates:
            if candidate.id in self._ids or candidate.content in self._texts:
                continue
            if taken == _LIMITS[candidate.source]:
                return
            taken += 1
            self._enter(candidate)

    def _enter(self, candidate: _Candidate) -> None:
        """Add it where it has something to say and fits."""
        if not candidate.content:
            return
        tokens = self._count(candidate.content)
        if tokens > self._left:
            return
        self._left -= tokens
        self._ids.add(candidate.id)
        self._texts.add(candidate.content)
        self._chunks.append(
            ContextChunk(
                source=candidate.source,
                content=candidate.content,
                tokens=tokens,
                relevance=candidate.relevance,
                id=candidate.id,
            )
        )
