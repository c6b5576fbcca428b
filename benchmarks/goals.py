"""The goals, each a ratio or a bound on figures of one run.

A goal whose figures were not measured is left open.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import PEERS, VECTOR_PEERS
from benchmarks.figures import Figure, Figures, ratio
from benchmarks.records import DIMENSION

LARGE = 100_000
SEARCH_SIZE = 10_000
AT_MOST = "at most"
AT_LEAST = "at least"
HOLDS: dict[str, Callable[[float, float], bool]] = {AT_MOST: operator.le, AT_LEAST: operator.ge}


@dataclass(frozen=True, slots=True)
class Judged:
    """One goal beside what was measured.

    Attributes:
        what: the goal.
        size: memories in the store.
        sense: "at most" or "at least".
        limit, value: in the unit that `what` names.
        sizes_fit: whether this is the size that the goal is stated for.
    """

    what: str
    size: int
    sense: str
    limit: float
    value: float
    sizes_fit: bool = True

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return HOLDS[self.sense](self.value, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return {
            "what": self.what,
            "size": self.size,
            "goal": f"{self.sense} {self.limit:g}",
            "value": float(f"{self.value:.4g}"),
            "met": self.met,
            "stated_for_this_size": self.sizes_fit,
        }


def judge(figures: Figures) -> list[Judged]:
    """Every goal whose figures are there, at every size they are there for."""
    return [
        judged
        for part in (_saves, _many, _behind, _loads, _updates, _opening, _searches, _training)
        for judged in part(figures)
    ]


def _saves(figures: Figures) -> Iterator[Judged]:
    yield from _against(figures, "save", "ours", ["floor"], AT_MOST, 2.0)
    for peer in VECTOR_PEERS:
        yield from _against(figures, "save", "ours", [peer], AT_MOST, 1.5 if peer == "sqlite-vec" else 1.0)
    empty = figures.get("save", "ours", 0)
    for size in figures.sizes("save", "ours"):
        full = figures.get("save", "ours", size)
        if empty and full and size:
            yield Judged("save, ours / ours when empty", size, AT_MOST, 1.25, ratio(full, empty), size == LARGE)


def _many(figures: Figures) -> Iterator[Judged]:
    yield from _against(figures, "savers", "ours", ["floor"], AT_LEAST, 0.6)
    yield from _against(figures, "savers", "ours", VECTOR_PEERS, AT_LEAST, 1.0)
    # The files are there when `ours` acknowledges; what settles afterwards is its checkpoint.
    yield from _against(figures, "batch", "ours", ["floor"], AT_LEAST, 0.6)
    yield from _against(figures, "batch", "ours", ["chroma"], AT_LEAST, 5.0)


def _behind(figures: Figures) -> Iterator[Judged]:
    yield from _against(figures, "save", "ours-behind", ["sqlite-vec"], AT_MOST, 1.0)
    yield from _against(figures, "savers", "ours-behind", PEERS, AT_LEAST, 1.0)
    yield from _against(figures, "batch", "ours-behind", ["sqlite-vec"], AT_LEAST, 1.0)


def _loads(figures: Figures) -> Iterator[Judged]:
    for figure in figures.of("load cached"):
        if figure.contender == "ours":
            yield Judged("load cached, ours, µs", figure.size, AT_MOST, 10.0, figure.median)
    for size in figures.sizes("load warm", "ours", "floor"):
        ours, floor = figures.found["load warm", "ours", size], figures.found["load warm", "floor", size]
        limit = max(60.0, 2 * floor.median)
        yield Judged("load warm, ours, µs (60, or 2 x open and read)", size, AT_MOST, limit, ours.median)


def _updates(figures: Figures) -> Iterator[Judged]:
    for metric in ("update", "update-batch"):
        for figure in list(figures.of(f"{metric} round 5")):
            first = figures.get(f"{metric} round 1", figure.contender, figure.size)
            if first and figure.contender.startswith("ours"):
                what = f"{metric}, {figure.contender}, fifth round / first"
                yield Judged(what, figure.size, AT_MOST, 1.3, ratio(figure, first))


def _opening(figures: Figures) -> Iterator[Judged]:
    yield from _against(figures, "open", "ours", ["floor"], AT_MOST, 2.0, stated=LARGE)
    for metric in ("open", "open, imports included"):
        yield from _against(figures, metric, "ours", ["chroma", "lancedb"], AT_MOST, 1.0, stated=LARGE)
    for size in figures.sizes("open alone", "ours"):
        checked, unchecked = (
            figures.get("open alone", "ours", size),
            figures.get("open without its check", "ours", size),
        )
        if size and checked and unchecked:
            each = (checked.median - unchecked.median) / size * 1e6
            yield Judged("quick check at open, ours, µs per memory", size, AT_MOST, 5.0, each)
    for metric in ("memory open", "peak memory of an open"):
        for size in figures.sizes(metric, "ours"):
            limit = size * (DIMENSION * 4 + 1000) / 1e6 + 150
            value = figures.found[metric, "ours", size].median * 2**20 / 1e6
            yield Judged(f"{metric}, ours, MB", size, AT_MOST, round(limit, 1), value, size == LARGE)
    for figure in figures.of("event-loop lag"):
        if figure.contender.startswith("ours"):
            yield Judged(f"event-loop lag p99, {figure.contender}, ms", 0, AT_MOST, 10.0, figure.quantile(0.99))


def _searches(figures: Figures) -> Iterator[Judged]:
    for metric in ("search", "filtered search"):
        yield from _against(figures, metric, "ours", ["floor"], AT_MOST, 2.0, stated=SEARCH_SIZE)
        yield from _against(figures, metric, "ours", VECTOR_PEERS, AT_MOST, 1.0, stated=SEARCH_SIZE)
    yield from _against(figures, "search", "ours", ["floor-lists"], AT_MOST, 2.0, stated=LARGE)
    for metric in ("search", "filtered search", "batch search"):
        yield from _against(figures, metric, "ours", ["lancedb-index"], AT_MOST, 1.0)
        for figure in figures.of(f"recall@10 of {metric}"):
            if figure.contender in ("ours", "ours-8bit"):
                mean = statistics.fmean(figure.samples)
                yield Judged(f"recall@10 of {metric}, {figure.contender}", figure.size, AT_LEAST, 0.99, mean)
    yield from _against(figures, "batch search", "ours", VECTOR_PEERS, AT_MOST, 1.0)
    for size in figures.sizes("filtered search", "ours"):
        whole = figures.get("search", "floor", size)
        if whole:
            times = ratio(figures.found["filtered search", "ours", size], whole)
            yield Judged("filtered search, ours / floor's unfiltered", size, AT_MOST, 2.0, times, size == SEARCH_SIZE)


def _training(figures: Figures) -> Iterator[Judged]:
    for figure in figures.of("save beside training"):
        usual = figures.get("save, usual", figure.contender, figure.size)
        if usual:
            times = figure.median / usual.median
            yield Judged(f"save beside training, {figure.contender} / usual", figure.size, AT_MOST, 1.5, times)


def _against(
    figures: Figures,
    metric: str,
    ours: str,
    others: Sequence[str],
    sense: str,
    limit: float,
    *,
    stated: int | None = None,
) -> Iterator[Judged]:
    for other in others:
        for size in figures.sizes(metric, ours, other):
            value = ratio(*_pair(figures, metric, ours, other, size))
            fits = stated is None or size == stated
            yield Judged(f"{metric}, {ours} / {other}", size, sense, limit, value, fits)


def _pair(figures: Figures, metric: str, ours: str, other: str, size: int) -> tuple[Figure, Figure]:
    return figures.found[metric, ours, size], figures.found[metric, other, size]
