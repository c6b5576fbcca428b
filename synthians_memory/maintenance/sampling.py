"""Which entity files a sampled check reads: a share of them in each pass, from where the last one stopped.

It reads none of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import cast

import orjson

from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.index import Rows
from synthians_memory.engine.records import Key
from synthians_memory.errors import DamagedViewError, NotRegularFileError
from synthians_memory.layout import ENTITY_FOLDERS, HEALTH_SHARE, Kind
from synthians_memory.maintenance.logs_folder import locked_logs
from synthians_memory.storage.backend import Backend

__all__ = ["next_share", "note_share", "share_after"]


def share_after(keys: Sequence[Key], last: Key | None, passes: int) -> list[Key]:
    """As many of `keys` as one of `passes` has to read so that together they read all.

    Args:
        keys: in order.
        last: the one that was read last; None: begin at the first.
        passes: at least 1.
    """
    if not keys:
        return []
    size = -(-len(keys) // max(1, passes))
    start = 0 if last is None else bisect_right(keys, last)
    return [keys[(start + place) % len(keys)] for place in range(min(size, len(keys)))]


def next_share(backend: Backend, rows: Rows, passes: int) -> list[Key]:
    """The entities whose files the next pass reads; a note that cannot be read means to begin anew. Raises DiskError."""
    keys: list[Key] = sorted((kind, entity_id) for kind, found in rows.items() for entity_id in tuple(found))
    return share_after(keys, _last(backend), passes)


def note_share(open_backend: Callable[[], Backend], read: Sequence[Key]) -> None:
    """Remember that these were read. Raises StoreLockedError, DiskError."""
    if read:
        with locked_logs(open_backend) as backend:
            write_document(backend, HEALTH_SHARE, [b'  "last": %s' % orjson.dumps(read[-1])])


def _last(backend: Backend) -> Key | None:
    try:
        found = read_document(backend, HEALTH_SHARE)
    except (DamagedViewError, NotRegularFileError):
        return None
    last = found.get("last") if found is not None else None
    if not isinstance(last, list) or len(last) != 2 or last[0] not in ENTITY_FOLDERS or not isinstance(last[1], str):
        return None
    return cast(Kind, last[0]), last[1]
