"""Where the superblock comes from at an opening: store.json, or its copies where that is lost.

It opens nothing, and makes no store.
"""

from __future__ import annotations

from synthians_memory.engine.emptiness import require_empty
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.moved import require_not_moved
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.superblock import Superblock, load_superblock, store_superblock
from synthians_memory.errors import DamagedViewError, NotRegularFileError
from synthians_memory.layout import SUPERBLOCK
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import read_journal

__all__ = ["find_superblock"]


def find_superblock(backend: Backend, notes: list[Finding], quarantine: Quarantine | None) -> Superblock | None:
    """The superblock, rebuilt where it is lost; None for an empty directory.

    Args:
        backend: the store.
        notes: grows by what was done.
        quarantine: takes a damaged one; without it nothing is written.
    """
    problem = f"{SUPERBLOCK} is missing"
    try:
        found = load_superblock(backend)
        if found is not None:
            return found
    except (DamagedViewError, NotRegularFileError) as error:
        problem = error.message
    require_not_moved(backend)
    rebuilt = _superblock_from_copies(backend)
    if rebuilt is not None:
        notes.append(Finding("superblock_damaged", f"{problem}; it was rebuilt from its copies", SUPERBLOCK))
        if quarantine is not None:
            if backend.stat(SUPERBLOCK) is not None:
                quarantine.move(SUPERBLOCK, problem)
            store_superblock(backend, rebuilt)
        return rebuilt
    require_empty(backend, problem)
    return None


def _superblock_from_copies(backend: Backend) -> Superblock | None:
    newest = read_journal(backend, None).newest
    if newest is not None:
        return Superblock.from_facts({**newest.facts, "epoch": newest.epoch})
    return _superblock_from_index(backend)


def _superblock_from_index(backend: Backend) -> Superblock | None:
    facts = MemoryIndex.read_facts(backend)
    return Superblock.from_facts(facts) if facts else None
