"""Rows of the memory index as they were when format version 1 was frozen, for the scripts that write the stores here.

It takes no part in what the stores hold: docs/format.md lets later writers add members to these rows, and none of them
belongs into stores that are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import orjson

from synthians_memory.engine import index
from synthians_memory.layout import Kind

__all__ = ["frozen_rows"]

_WRITTEN = index.row_json
_ADDED = ("expires_at",)


@contextmanager
def frozen_rows() -> Iterator[None]:
    """Inside, rows are written without the members that were added since."""
    with patch.object(index, "row_json", _frozen_row):
        yield


def _frozen_row(kind: Kind, entity_id: str, packed: bytes) -> bytes:
    members = orjson.loads(_WRITTEN(kind, entity_id, packed))
    return orjson.dumps({name: value for name, value in members.items() if name not in _ADDED})
