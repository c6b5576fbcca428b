"""The settings of a store, validated as one value.

It does not read files or the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = ["CheckLevel", "Durability", "Metric", "StoreConfig", "VectorStorage", "WriteMode"]

Metric = Literal["cosine", "ip", "l2"]
Durability = Literal["commit", "interval"]
WriteMode = Literal["through", "behind"]
CheckLevel = Literal["off", "quick", "full"]
VectorStorage = Literal["float32", "8-bit"]

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Settings of one opened store; every value is checked on construction.

    Attributes:
        storage_path: the store's directory; a path object is accepted, and kept as a string.
        embedding_dimension: length of every vector; None: fixed by the first one.
        metric: how vectors are compared; fixed when the store is made.
        exact_below: vectors of one kind below which every search compares all of them.
        target_recall: share of the exact ten nearest that an approximate search finds, as measured on a sample of
            the store's own vectors; 1: every search is exact.
        vector_storage: how the vector index keeps vectors in memory. "8-bit": a quarter of the bytes, to find
            candidates with; scores come from the exact rows, which are read from disk. Files are the same.
        durability: "commit": acknowledged means it survives a power cut. "interval": acknowledged means
            it is in the journal, forced to disk after flush_threshold changes or flush_interval seconds.
        flush_threshold: changes after which "interval" forces the journal to disk.
        flush_interval: seconds after which it does so.
        write_mode: "through": the entity files are written before the acknowledgement. "behind": they follow
            it, while the writer has nothing else to do, and `flush` waits for them; readers see no difference.
        behind_seconds: how long a change may wait for its file before files go before further saves.
        behind_bytes: bound of what waits for its file; a save that goes beyond it waits until files are written.
        index_backup_count: rotating copies of memory_index.json that are kept.
        backup_interval: seconds between two such copies.
        backup_retention_days: how many days have a snapshot that stays, of those taken hourly or daily.
        archive_journal: keep the journal segments that a checkpoint drops, so that a restore can give the store as it
            stood at any moment since the oldest snapshot.
        auto_repair: whether open mends what its check finds.
        startup_check: what open checks: "quick" compares names, sizes and times, "full" every byte.
        cache_bytes: bound of the cache of loaded entities, in bytes of their files.
        overlay_bytes: bound of what is acknowledged and cannot be written to files.
        queue_bytes: bound of what waits for the writer; more callers wait their turn.
        max_batch_bytes: bound of one batch.
        segment_bytes: size that journal segments grow to.
        checkpoint_bytes: journal bytes after which a checkpoint is made.
        checkpoint_interval: seconds after which changes are checkpointed.
        conversation_key: the key of a memory's metadata that says to which conversation it belongs.
        allow_network_filesystem: open a store there in spite of weaker locks and syncs.
    """

    storage_path: str = "./storage"
    embedding_dimension: int | None = None
    metric: Metric = "cosine"
    exact_below: int = 20_000
    target_recall: float = 0.99
    vector_storage: VectorStorage = "float32"
    durability: Durability = "commit"
    flush_threshold: int = 20
    flush_interval: float = 1.0
    write_mode: WriteMode = "through"
    behind_seconds: float = 5.0
    behind_bytes: int = 64 * _MIB
    index_backup_count: int = 3
    backup_interval: float = 3600.0
    backup_retention_days: int = 7
    archive_journal: bool = False
    auto_repair: bool = True
    startup_check: CheckLevel = "quick"
    cache_bytes: int = 64 * _MIB
    overlay_bytes: int = 64 * _MIB
    queue_bytes: int = 64 * _MIB
    max_batch_bytes: int = 256 * _MIB
    segment_bytes: int = 8 * _MIB
    checkpoint_bytes: int = 32 * _MIB
    checkpoint_interval: float = 30.0
    conversation_key: str = "conversation_id"
    allow_network_filesystem: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage_path", _path_text(self.storage_path))
        _check_choice("metric", self.metric, Metric)
        _check_choice("vector_storage", self.vector_storage, VectorStorage)
        _check_choice("durability", self.durability, Durability)
        _check_choice("write_mode", self.write_mode, WriteMode)
        _check_choice("startup_check", self.startup_check, CheckLevel)
        for name, least in _LEAST.items():
            _check_number(name, getattr(self, name), least)
        if not isinstance(self.conversation_key, str):
            raise InvalidTypeError(f"conversation_key must be a string, not {self.conversation_key!r}")
        for name in ("auto_repair", "archive_journal", "allow_network_filesystem"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidTypeError(f"{name} must be true or false, not {getattr(self, name)!r}")
        _check_number("target_recall", self.target_recall, 0.5, 1)
        if self.embedding_dimension is not None:
            _check_number("embedding_dimension", self.embedding_dimension, 1, _MAX_DIMENSION)

    def with_overrides(self, **changes: Any) -> Self:
        """A copy with `changes`; raises for an unknown name as for a wrong value."""
        unknown = changes.keys() - {f.name for f in fields(self)}
        if unknown:
            known = ", ".join(f.name for f in fields(self))
            raise InvalidTypeError(f"unknown setting {', '.join(sorted(unknown))}", hint=f"Settings are: {known}.")
        return replace(self, **changes)


_MAX_DIMENSION = 65_536
# Beyond any use, and still what the operating system takes.
_MOST_UNITS = 2**62
_MOST_SECONDS = 1_000_000_000
# The least value of each number; integers where the default is one.
_LEAST: dict[str, int | float] = {
    "exact_below": 256,
    "flush_threshold": 1,
    "flush_interval": 0.001,
    "behind_seconds": 0.0,
    "behind_bytes": 0,
    "index_backup_count": 0,
    "backup_interval": 0.0,
    "backup_retention_days": 1,
    "cache_bytes": 0,
    "overlay_bytes": 0,
    "queue_bytes": 1,
    "max_batch_bytes": _KIB,
    "segment_bytes": 16 * _KIB,
    "checkpoint_bytes": 1,
    "checkpoint_interval": 0.01,
}


def _check_choice(name: str, value: object, choices: Any) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise InvalidValueError(f"{name} is {value!r}", hint=f"It is one of {', '.join(map(repr, allowed))}.")


def _path_text(value: object) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise InvalidTypeError(f"storage_path must be a path as a string, not {type(path).__name__}")
    if not path or "\0" in path:
        raise InvalidValueError("storage_path is empty or has a zero character")
    return path


def _check_number(name: str, value: object, least: int | float, most: int | None = None) -> None:
    wanted = "an integer" if isinstance(least, int) else "a number"
    allowed = int if isinstance(least, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise InvalidTypeError(f"{name} must be {wanted}, not {value!r}")
    if most is None:
        most = _MOST_UNITS if isinstance(least, int) else _MOST_SECONDS
    # Written so that NaN fails as well.
    if not least <= value <= most:
        raise InvalidValueError(f"{name} must lie in {least}..{most}")
