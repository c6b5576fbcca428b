"""The views of a store agree with its entity files, as `format_reader` read both."""

from __future__ import annotations

import json
from typing import Any

import format_reader
import numpy as np
from format_reader import Key, ReadStore

__all__ = ["require_agreement"]


def require_agreement(read: ReadStore) -> None:
    """Both views say what the entity files say, but for what the journal still has to bring."""
    settled = read.entities.keys() - read.replayed.keys()
    assert read.index.keys() - read.replayed.keys() == settled
    for key in settled:
        row = read.index[key]
        # What the file does not say, and what a row need not say.
        free = {name: row[name] for name in ("mtime_ns", "expires_at") if name in row}
        assert row == row_of(key, read.entities[key]) | free
        assert free.get("expires_at") in (None, json.loads(read.entities[key]).get("expires_at"))
    embedded = {key for key in settled if read.embedding(key) is not None}
    assert read.vectors.keys() - read.replayed.keys() == embedded
    for key in embedded:
        require_vector(read, key)


def row_of(key: Key, data: bytes) -> dict[str, Any]:
    """The row of an entity in the memory index, all but mtime_ns."""
    members = json.loads(data)
    own = (
        ("quickrecal_score", members["quickrecal_score"])
        if key[0] == "memory"
        else ("member_count", len(members["members"]))
    )
    return {
        "filepath": f"{format_reader.FOLDERS[key[0]]}/{format_reader.file_name(key[1])}",
        "created_at": members["created_at"],
        "updated_at": members["updated_at"],
        own[0]: own[1],
        "content_hash": members["content_hash"],
        "embedding_hash": format_reader.embedding_hash(members[format_reader.VECTOR_FIELDS[key[0]]]),
        "size": len(data),
    }


def require_vector(read: ReadStore, key: Key) -> None:
    vector, numbers = read.vectors[key], read.embedding(key)
    assert numbers is not None
    wanted = numbers.astype(np.float64)
    if read.superblock["metric"] == "cosine":
        wanted /= np.sqrt((wanted**2).sum())
    assert vector.embedding_hash == format_reader.hash_of(numbers)
    np.testing.assert_allclose(vector.row, wanted, rtol=1e-6, atol=0)
