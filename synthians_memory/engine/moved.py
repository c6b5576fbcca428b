"""What a move leaves at the old place of a store: a superblock that every reader refuses, and where the store is now.

It moves nothing (`maintenance.move` does), and a store that was moved with `mv` knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from synthians_memory.engine.documents import read_document
from synthians_memory.errors import DamagedViewError, DiskError, StoreMovedError
from synthians_memory.layout import MOVED
from synthians_memory.storage.backend import Backend

__all__ = ["MOVED_FEATURE", "is_given_up", "moved_error", "require_not_moved"]

# The mandatory feature of a store that was given up; no reader knows it, so none opens the store.
MOVED_FEATURE: Final = "moved"


def is_given_up(facts: Mapping[str, Any]) -> bool:
    """Whether a superblock's facts are those of a store that was moved away."""
    return MOVED_FEATURE in facts.get("mandatory_features", ())


def require_not_moved(backend: Backend) -> None:
    """Refuse a store whose move was finished, also where its superblock says so no more. Raises StoreMovedError."""
    if _note(backend).get("state") == "done":
        raise moved_error(backend)


def moved_error(backend: Backend) -> StoreMovedError:
    """The error for a store that was given up; it names the new place where that can be read."""
    note = _note(backend)
    place = note.get("to")
    if not isinstance(place, str):
        return StoreMovedError(f"the store at {backend.location} was moved to another place", path=MOVED)
    if note.get("state") != "done":
        what = f"the store at {backend.location} is being moved to {place}"
        return StoreMovedError(what, path=MOVED, hint=f"Run `move {place}` again: it goes on.")
    return StoreMovedError(f"the store at {backend.location} was moved to {place}", path=MOVED, hint=f"Open {place}.")


def _note(backend: Backend) -> Mapping[str, Any]:
    # Nothing depends on the note but the words: the superblock says that the store was given up.
    with suppress(DamagedViewError, DiskError):
        return read_document(backend, MOVED) or {}
    return {}
