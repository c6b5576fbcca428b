"""What is to be said of a journal that was read back: what is damaged, and whose changes were in it.

It is not the reading (`storage.segment`), and it sets nothing aside.
"""

from __future__ import annotations

from collections.abc import Iterator

from synthians_memory.engine.records import guess_key
from synthians_memory.engine.state import StoreState
from synthians_memory.layout import JOURNAL
from synthians_memory.reports import Finding
from synthians_memory.storage.segment import JournalContents, JournalDamage

__all__ = [
    "damage_findings",
    "foreign_findings",
    "headless_findings",
    "loss_findings",
    "torn_findings",
    "unreadable_findings",
]


def damage_findings(contents: JournalContents) -> Iterator[Finding]:
    """One for each range of durable frames that are not intact."""
    for damage in contents.damage:
        yield _damage_finding(damage)


def _damage_finding(damage: JournalDamage) -> Finding:
    keys = [key for key in map(guess_key, damage.remains) if key is not None]
    names = ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in keys) or "entities that can no longer be named"
    message = f"changes numbered {damage.first} to {damage.last} are damaged: {names}"
    return Finding("journal_damaged", message, damage.path, *(keys[0] if len(keys) == 1 else ()))


def loss_findings(state: StoreState, contents: JournalContents) -> Iterator[Finding]:
    """One where no header is left, so that nothing tells how far the journal of this store had come.

    The memory index must have been loaded, or rebuilt: a store that never held anything has lost nothing.
    """
    held = any(state.index.rows.values()) or state.index.position.sequence
    if contents.newest is None and held:
        known = max(state.index.position.sequence, contents.last_sequence)
        message = f"no segment with an intact header is left: changes numbered above {known} may be lost"
        yield Finding("journal_damaged", message, JOURNAL)


def headless_findings(contents: JournalContents) -> Iterator[Finding]:
    """One for each segment whose header is lost, and whose frames count all the same."""
    for path in contents.headless:
        yield Finding("journal_damaged", f"{path} has lost its header; the changes in it were read without it", path)


def unreadable_findings(contents: JournalContents) -> Iterator[Finding]:
    """One for each segment of which nothing is intact: it got its name when its header was durable."""
    for path in contents.unreadable:
        yield Finding("journal_damaged", f"{path} has no intact header and no intact frame", path)


def foreign_findings(contents: JournalContents) -> Iterator[Finding]:
    """One for each segment of another store, or of another life of this one."""
    for path in contents.foreign:
        yield Finding("journal_foreign", f"{path} is a segment of another epoch", path)


def torn_findings(contents: JournalContents) -> Iterator[Finding]:
    """One for each torn tail."""
    for torn in contents.torn:
        message = f"{len(torn.data)} bytes behind offset {torn.offset} were never acknowledged"
        yield Finding("journal_torn", message, torn.path)
