"""The superblock: what a store is, durable before anything that depends on it.

It is not a setting: it states facts of the data, and only the engine changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self, TypeVar, cast

import orjson

from synthians_memory.config import Metric, StoreConfig
from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.moved import is_given_up, moved_error
from synthians_memory.errors import (
    DamagedViewError,
    EmbedderMismatchError,
    OutdatedFormatError,
    UnsupportedFormatError,
)
from synthians_memory.layout import FORMAT_VERSION, SUPERBLOCK
from synthians_memory.storage.backend import Backend

__all__ = [
    "MIGRATING_FEATURE",
    "REEMBEDDING_FEATURE",
    "RESTORING",
    "PreviousModel",
    "StagedModel",
    "Superblock",
    "load_superblock",
    "require_compatible",
    "store_superblock",
]

# The mandatory feature of a store whose migration is under way: it is neither of the one version nor of the other.
MIGRATING_FEATURE: Final = "migrating"
# Of a store some of whose entity files still hold the embeddings of the model before: the staged ones count.
REEMBEDDING_FEATURE: Final = "reembedding"
# Stands in a store whose files are just being replaced by those of a snapshot; nobody opens it like that.
RESTORING: Final = "restoring"
_KNOWN_FEATURES: Final[frozenset[str]] = frozenset((REEMBEDDING_FEATURE,))
# Written only where they are set.
_OPTIONAL: Final = frozenset(("staged", "previous"))
_REQUIRED: Final = frozenset(("format_version", "store_id", "epoch", "embedding_dimension", "metric"))


@dataclass(frozen=True, slots=True)
class StagedModel:
    """The staged versions that stand before the entity files until these are converted.

    Attributes:
        token: names the change of the model, and its files.
        parts: how many files they are in.
        frames: how many frames those hold, headers not counted.
        next_vector_id: the first vector id that the model's vectors were given.
        sequence: the last change before them; a memory index that reaches further holds them already.
    """

    token: str
    parts: int
    frames: int
    next_vector_id: int
    sequence: int


@dataclass(frozen=True, slots=True)
class PreviousModel:
    """The embeddings of the model before, which are kept as a way back.

    Attributes:
        token, parts, frames: as in `StagedModel`.
        embedder, embedding_dimension: as they were in the superblock.
    """

    token: str
    parts: int
    frames: int
    embedder: str | None
    embedding_dimension: int | None


_Described = TypeVar("_Described", StagedModel, PreviousModel)


@dataclass(frozen=True, slots=True)
class Superblock:
    """The facts of a store.

    Attributes:
        store_id: random, for ever.
        epoch: random, drawn anew when the journal's past no longer counts.
        embedding_dimension: length of every vector; None until the first one.
        metric: how vectors are compared.
        embedder: name of the embedder whose vectors these are; None where callers bring their own.
        format_version: of the files.
        mandatory_features: names that a reader has to know.
        staged: what stands before the entity files while they are converted to another model; None at other times.
        previous: the way back to the model before; None where there is none.
    """

    store_id: str
    epoch: str
    embedding_dimension: int | None
    metric: Metric
    embedder: str | None = None
    format_version: int = FORMAT_VERSION
    mandatory_features: tuple[str, ...] = field(default=())
    staged: StagedModel | None = None
    previous: PreviousModel | None = None

    def facts(self) -> dict[str, Any]:
        """All fields as JSON, for the places from which the superblock can be rebuilt."""
        facts = {**asdict(self), "mandatory_features": list(self.mandatory_features)}
        return {name: fact for name, fact in facts.items() if fact is not None or name not in _OPTIONAL}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """The superblock that `facts` describe.

        Raises:
            DamagedViewError: one is missing: they are the facts of something else.
            UnsupportedFormatError: of a newer format, or with a mandatory feature this version lacks.
            OutdatedFormatError: of an older format, or left by a migration that was interrupted.
        """
        missing = sorted(_REQUIRED - facts.keys())
        if missing:
            raise DamagedViewError(f"{SUPERBLOCK} lacks the field {missing[0]!r}", path=SUPERBLOCK)
        version = facts["format_version"]
        unknown = set(facts.get("mandatory_features", ())) - _KNOWN_FEATURES
        if _is_outdated(version, unknown):
            what = f"is of format version {version}, and this version of the library uses {FORMAT_VERSION}"
            what = "is between two format versions: its migration was interrupted" if unknown else what
            raise OutdatedFormatError(f"the store {what}", path=SUPERBLOCK)
        if version != FORMAT_VERSION or unknown:
            if RESTORING in unknown:
                raise UnsupportedFormatError(
                    "a restore of this store was cut off half-way",
                    path=SUPERBLOCK,
                    hint="Run `restore` again: it goes on where it was. What it replaced is in quarantine.",
                )
            what = f"format version {version}" if version != FORMAT_VERSION else f"feature {', '.join(sorted(unknown))}"
            raise UnsupportedFormatError(f"the store needs {what}, which this version does not know", path=SUPERBLOCK)
        return cls(
            store_id=str(facts["store_id"]),
            epoch=str(facts["epoch"]),
            embedding_dimension=facts["embedding_dimension"],
            metric=cast(Metric, facts["metric"]),
            embedder=facts.get("embedder"),
            mandatory_features=tuple(facts.get("mandatory_features", ())),
            staged=_described(StagedModel, facts.get("staged")),
            previous=_described(PreviousModel, facts.get("previous")),
        )


def _is_outdated(version: object, unknown: set[str]) -> bool:
    if unknown:
        return unknown == {MIGRATING_FEATURE}
    return type(version) is int and 0 <= version < FORMAT_VERSION


def _described(model: type[_Described], found: Any) -> _Described | None:
    if found is None:
        return None
    try:
        return model(**{name: found[name] for name in model.__dataclass_fields__})
    except (KeyError, TypeError) as error:
        raise DamagedViewError(f"{SUPERBLOCK} does not describe its models: {error}", path=SUPERBLOCK) from error


def load_superblock(backend: Backend) -> Superblock | None:
    """The superblock on disk; None where there is no store.json.

    Raises:
        DamagedViewError: it fails its own seal, or lacks a field.
        UnsupportedFormatError: it is newer than this library, or older (OutdatedFormatError).
        StoreMovedError: the store was moved away.
        DiskError: it cannot be read.
    """
    found = read_document(backend, SUPERBLOCK)
    if found is None:
        return None
    if is_given_up(found):
        raise moved_error(backend)
    return Superblock.from_facts(found)


def store_superblock(backend: Backend, superblock: Superblock, path: str = SUPERBLOCK) -> None:
    """Make `superblock` durable, at `path`; raises DiskError."""
    lines = (b'  "%s": %s' % (name.encode(), orjson.dumps(value)) for name, value in superblock.facts().items())
    write_document(backend, path, lines)


def require_compatible(superblock: Superblock, config: StoreConfig, metric_given: bool, embedder: str | None) -> None:
    """Refuse to open a store with settings that contradict what it holds.

    Raises:
        EmbedderMismatchError: another dimension, metric or embedder.
    """
    dimension = superblock.embedding_dimension
    if config.embedding_dimension is not None and dimension is not None and config.embedding_dimension != dimension:
        raise EmbedderMismatchError(
            f"the store holds vectors of {dimension} numbers, not {config.embedding_dimension}",
            path=SUPERBLOCK,
            hint=f"Open it with embedding_dimension={dimension}, or leave that out.",
        )
    if metric_given and config.metric != superblock.metric:
        raise EmbedderMismatchError(
            f"the store compares vectors by {superblock.metric}, not {config.metric}",
            path=SUPERBLOCK,
            hint=f'Open it with metric="{superblock.metric}", or leave that out.',
        )
    if embedder is not None and superblock.embedder is not None and embedder != superblock.embedder:
        raise EmbedderMismatchError(
            f"the store was made with the embedder {superblock.embedder!r}, not {embedder!r}",
            path=SUPERBLOCK,
            hint=f"Open it with the embedder {superblock.embedder!r}, change its model with `reembed`, or put the memories into a new store.",
        )
