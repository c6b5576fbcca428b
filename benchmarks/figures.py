"""What was measured: samples in blocks, their medians, and ratios within one run.

It judges nothing; `goals` does.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of one contender at one size.

    Attributes:
        metric: what was measured; unique in a run, e.g. "save".
        contender: whose.
        size: memories in the store before.
        unit: of the samples.
        blocks: the samples, in the turns in which contenders took each other's place.
    """

    metric: str
    contender: str
    size: int
    unit: str
    blocks: tuple[tuple[float, ...], ...]

    @property
    def samples(self) -> list[float]:
        """All of them, in ascending order."""
        return sorted(sample for block in self.blocks for sample in block)

    @property
    def median(self) -> float:
        """Of all samples."""
        return statistics.median(self.samples)

    def quantile(self, share: float) -> float:
        """The sample that this share of them does not pass."""
        samples = self.samples
        return samples[min(len(samples) - 1, int(len(samples) * share))]

    def to_dict(self) -> dict[str, Any]:
        """For the JSON report; of each block the median."""
        return {
            "metric": self.metric,
            "contender": self.contender,
            "size": self.size,
            "unit": self.unit,
            "count": len(self.samples),
            "p50": _rounded(self.median),
            "p99": _rounded(self.quantile(0.99)),
            "max": _rounded(self.samples[-1]),
            "block_medians": [_rounded(statistics.median(block)) for block in self.blocks],
        }


@dataclass(slots=True)
class Figures:
    """All figures of a run, by metric, contender and size."""

    found: dict[Key, Figure] = field(default_factory=dict)

    def add(
        self,
        metric: str,
        contender: str,
        size: int,
        unit: str,
        blocks: Sequence[Sequence[float]],
        *,
        scale: float = 1.0,
    ) -> None:
        """Keep what was measured, each sample times `scale`; nothing where there are no samples."""
        kept = tuple(tuple(sample * scale for sample in block) for block in blocks if block)
        if kept:
            self.found[metric, contender, size] = Figure(metric, contender, size, unit, kept)

    def get(self, metric: str, contender: str, size: int) -> Figure | None:
        """The figure, where it was measured."""
        return self.found.get((metric, contender, size))

    def of(self, metric: str) -> Iterator[Figure]:
        """All figures of one metric."""
        return (figure for figure in self.found.values() if figure.metric == metric)

    def metrics(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(figure.metric for figure in self.found.values()))

    def sizes(self, metric: str, *contenders: str) -> list[int]:
        """Sizes at which all of these contenders were measured, ascending."""
        by_name = [{figure.size for figure in self.of(metric) if figure.contender == name} for name in contenders]
        return sorted(set.intersection(*by_name)) if by_name else []


def ratio(one: Figure, other: Figure) -> float:
    """How many times `other` goes into `one`: the median over the blocks, which a noisy moment does not move."""
    if len(one.blocks) == len(other.blocks):
        pairs = zip(one.blocks, other.blocks, strict=True)
        return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)
    return one.median / other.median


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
