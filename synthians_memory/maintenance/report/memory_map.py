"""A two-dimensional map of embeddings: a sample of them, projected onto the two directions in which they differ most.

It is no clustering: colours are of what memories say of themselves, and places of their embeddings alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["OTHERS", "Group", "MapPoint", "MemoryMap", "projected", "spread_sample", "with_groups"]

T = TypeVar("T")
Matrix = npt.NDArray[np.float64]

OTHERS: Final = "others"
_MOST_GROUPS: Final = 7
# Directions that explain less than this share of the variance are noise of rounding.
_NOTHING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One memory on the map.

    Attributes:
        x, y: 0 to 1, y upwards.
        group: number of its group.
        title: what is shown of it.
    """

    x: float
    y: float
    group: int
    title: str


@dataclass(frozen=True, slots=True)
class Group:
    """Memories of one colour; `count` of them are on the map."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """All of the map.

    Attributes:
        points: those of the sample.
        groups: by number; those with no name of their own last.
        grouped_by: what the colours stand for: "conversation", "tag", "assembly" or "" for nothing.
        embedded: how many memories have an embedding.
        explained: share of the variance that two dimensions show, 0 to 1.
    """

    points: tuple[MapPoint, ...] = ()
    groups: tuple[Group, ...] = ()
    grouped_by: str = ""
    embedded: int = 0
    explained: float = 0.0


def spread_sample(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of `items`, evenly spread over them, in their order."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def projected(vectors: npt.NDArray[np.float32]) -> tuple[Matrix, float]:
    """Places of vectors in two dimensions, by principal component analysis; equal input gives equal output.

    Args:
        vectors: a row each.

    Returns:
        A row of x and y each, 0 to 1, one unit being the same length in both; and the share of the variance they show.
    """
    count = len(vectors)
    if not count:
        return np.zeros((0, 2)), 0.0
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    total = float((centred**2).sum())
    places = np.zeros((count, 2))
    if total > _NOTHING:
        axes = _principal_axes(centred)
        places[:, : len(axes)] = centred @ axes.T
    shown = float((places**2).sum())
    return _in_unit_square(places), shown / total if total > _NOTHING else 1.0


def _principal_axes(centred: Matrix) -> Matrix:
    """At most two unit vectors, a row each, in the order of the variance along them; the sign is that of the largest number in each."""
    rows, columns = centred.shape
    if columns <= rows:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        axes = vectors.T[::-1][:2]
    else:
        # The other product has the same spectrum, and is smaller.
        values, vectors = np.linalg.eigh(centred @ centred.T)
        kept = [number for number in (rows - 1, rows - 2) if number >= 0 and values[number] > _NOTHING]
        axes = (centred.T @ vectors[:, kept]).T
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    largest = np.abs(axes).argmax(axis=1)
    signs = np.sign(axes[np.arange(len(axes)), largest])
    return np.asarray(axes * signs[:, None])


def _in_unit_square(places: Matrix) -> Matrix:
    low, high = places.min(axis=0), places.max(axis=0)
    extent = float((high - low).max())
    if extent <= _NOTHING:
        return np.full_like(places, 0.5)
    return np.asarray(np.clip((places - (low + high) / 2) / extent + 0.5, 0.0, 1.0))


def with_groups(labels: Sequence[Sequence[str]]) -> tuple[list[int], tuple[Group, ...]]:
    """A group for each item: the most frequent of its labels that is among the few most frequent of all.

    Args:
        labels: of each item; none for one without.

    Returns:
        The number of the group of each item, and the groups; what has none of the frequent labels is in the last.
    """
    frequency = Counter(label for found in labels for label in set(found))
    ordered = sorted(frequency, key=lambda label: (-frequency[label], label))[:_MOST_GROUPS]
    ranks = {label: rank for rank, label in enumerate(ordered)}
    numbers = [min((ranks[label] for label in found if label in ranks), default=len(ordered)) for found in labels]
    counts = Counter(numbers)
    names = [*ordered, OTHERS]
    return numbers, tuple(Group(name, counts[number]) for number, name in enumerate(names))
