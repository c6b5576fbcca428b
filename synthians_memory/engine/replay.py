"""Replay: the journal's tail is brought into files and views again; idempotent.

It does not decide which frames count (`storage.segment` does), and it makes nothing durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synthians_memory.codec import Version, sealed_version
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.records import NO_HASH, Key, decode_record
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.view import Change, describe
from synthians_memory.layout import entity_path
from synthians_memory.storage.segment import JournalEntry

__all__ = ["Tail", "gather", "replay", "show"]


@dataclass(slots=True)
class Tail:
    """What the retained frames say of one entity.

    Attributes:
        version: its last version; None where it was deleted last.
        known: hashes that its file may have: of every frame, and of the version before each.
    """

    version: Version | None
    known: frozenset[bytes]


def gather(entries: Iterable[JournalEntry]) -> dict[Key, Tail]:
    """The last word of the frames on each entity, in the order in which they spoke it."""
    tails: dict[Key, Tail] = {}
    for entry in entries:
        for record in map(decode_record, entry.records):
            earlier = tails.pop(record.key, None)
            known = (earlier.known if earlier else frozenset()) | ({record.predecessor} - {NO_HASH})
            version = None if record.data is None else sealed_version(record.kind, record.data)
            if version is not None:
                known |= {version.hash}
            tails[record.key] = Tail(version, known)
    return tails


def show(state: StoreState, tails: dict[Key, Tail]) -> None:
    """Bring the tail into the views in memory, and before the files of a store open read-only."""
    changes = [Change(key, None) if tail.version is None else describe(tail.version) for key, tail in tails.items()]
    state.index.apply(changes)
    state.vectors.apply(changes)


def replay(state: StoreState, committer: Committer, tails: dict[Key, Tail]) -> None:
    """Write the tail to the entity files and bring it into the views.

    A file that is neither a retained version nor what preceded them is set aside first. What cannot be
    written stays in the overlay, as after a save.

    Raises:
        DiskError: only where something could not be set aside or read; nothing was lost by it.
    """
    for key, tail in tails.items():
        indexed = state.index.hash(key)
        known = tail.known if indexed is None else tail.known | {indexed}
        committer.applier.apply_file(key, tail.version, known)
    show(state, tails)
    for key, tail in tails.items():
        stat = state.backend.stat(entity_path(*key))
        if tail.version is not None and stat is not None and key not in state.overlay.stuck:
            state.index.note_stat(key, tail.version.hash, stat)
