"""Mending an open store while nobody watches: repair first, then file by file from backups, then what cannot be had.

It replaces no whole store (`rollback`), and decides nothing about when it is called (`health`).

Nothing is moved aside or forgotten for which no other copy was looked for. Files that come back are journaled in groups
before they are written, so that a crash in between loses none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from synthians_memory.codec import Version, encode, unseal
from synthians_memory.engine.check import Progress, check
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.records import Key
from synthians_memory.engine.repair import Planner, Repairer
from synthians_memory.engine.salvage import salvage
from synthians_memory.engine.store import Store
from synthians_memory.errors import BatchTooLargeError, OverloadedError
from synthians_memory.layout import entity_path
from synthians_memory.maintenance.copies import Copies, Copy
from synthians_memory.maintenance.health_report import Putback
from synthians_memory.reports import Finding
from synthians_memory.times import format_time, from_micros

__all__ = ["Mended", "Mender"]

_OF_FILES: Final = frozenset(("file_missing", "file_damaged", "file_undecodable", "not_a_file"))
_AT_ONCE: Final = 256
# The archived journal is read once for so many.
_FOUND_AT_ONCE: Final = 4096


@dataclass(slots=True)
class Mended:
    """What was done; grows.

    Attributes:
        findings: what the check before found.
        remaining: what the check afterwards found.
        actions: a sentence each.
        restored: files that came back.
        lost: what is not to be had any more, a sentence each.
        given_up: how many entities were set aside, or recorded as gone, since no copy of them is to be had.
    """

    findings: list[Finding] = field(default_factory=list)
    remaining: list[Finding] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    restored: list[Putback] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    given_up: int = 0


class Mender:
    """Mends one open store; used by the thread that may write to it.

    Args:
        store: open for writing, with a journal that has not failed.
        copies: where else versions are to be had.
        give_up: whether what no copy of is to be had may be set aside and recorded as gone.
        progress: as in `check`.
    """

    def __init__(self, store: Store, copies: Copies, *, give_up: bool, progress: Progress | None = None) -> None:
        self._store = store
        self._state = store.state
        self._copies = copies
        self._give_up = give_up
        self._progress = progress
        self._repairer = Repairer(store.state, store.committer, store.checkpointer)
        self._mended = Mended()
        self._index_was_lost = any(note.code == "index_damaged" for note in store.state.notes)

    def run(self) -> Mended:
        """Check every byte, mend, and check again.

        Raises:
            DiskError: a step failed; another run goes on.
        """
        mended = self._mended
        self._store.flush()
        mended.actions += self._repairer.resume()
        mended.findings = mended.remaining = check(self._state, "full", self._progress)
        if not any(_calls_for_repair(finding) for finding in mended.findings):
            return mended
        torn = self._beyond_repair(mended.findings)
        beyond = set(torn)
        self._repair([finding for finding in mended.findings if finding not in beyond])
        if torn:
            self._bring_back(torn)
        mended.remaining = check(self._state, "full", self._progress)
        return mended

    def _beyond_repair(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those of entity files that the store itself has no other copy of."""
        planner = Planner(self._state)
        return [f for f in findings if f.code in _OF_FILES and f.kind and not _at_hand(planner, f)]

    def _repair(self, findings: Sequence[Finding]) -> None:
        if any(_calls_for_repair(finding) for finding in findings):
            report = self._repairer.repair(findings, automatic=False)
            self._mended.actions += report.actions

    def _bring_back(self, torn: Sequence[Finding]) -> None:
        rest, pending = list[Finding](), iter(torn)
        while part := list(islice(pending, _FOUND_AT_ONCE)):
            found = self._copies_for(part)
            rest += [finding for finding in part if _key_of(finding) not in found]
            self.put_back(found.items())
        if rest and self._give_up:
            self._accept_losses()
            self._mended.lost += [loss for finding in rest if (loss := self._loss_of(finding))]
            self._mended.given_up += len(rest)
            self._repair(rest)

    def _copies_for(self, findings: Iterable[Finding]) -> dict[Key, Copy]:
        keys = [key for finding in findings if (key := _key_of(finding)) is not None]
        wanted = {key: self._state.index.hash(key) for key in keys}
        found = self._copies.find(wanted, self._state.superblock.embedding_dimension)
        # What the memory index does not know was never acknowledged, unless the index had to be made from the files.
        return {key: copy for key, copy in found.items() if wanted[key] is not None or self._index_was_lost}

    def put_back(self, copies: Iterable[tuple[Key, Copy]]) -> None:
        """Make these versions the acknowledged ones, and write their files; what stands there is kept in quarantine.

        Raises:
            DiskError: as `Mender.run`.
        """
        pending = iter(copies)
        any_came = False
        while group := list(islice(pending, _AT_ONCE)):
            any_came = True
            self._accept_losses()
            for key, copy in group:
                self._mended.restored.append(self._putback(key, copy))
                self._keep_present(key)
            self._store_versions([(key, copy.version) for key, copy in group])
        if any_came:
            self._store.committer.applier.retry_stuck()
            self._store.checkpoint()

    def _accept_losses(self) -> None:
        """A folder that lost all its files is made again: what is put into it, or given up, has been looked for."""
        if self._state.vanished:
            self._repairer.accept_losses()
            self._state.read_only_reason = ""

    def _putback(self, key: Key, copy: Copy) -> Putback:
        row = self._state.index.row(key)
        loss = ""
        if not copy.exact and row is not None:
            loss = (
                f"{key[0]} {key[1]!r} of {_time(row.updated_micros)} is not to be had; "
                f"that of {_time(copy.version.updated_micros)} is in its place"
            )
            self._mended.lost.append(loss)
        return Putback(entity_path(*key), copy.origin, copy.exact, loss)

    def _loss_of(self, finding: Finding) -> str:
        """What is lost with it, in a sentence; "" for what was never acknowledged."""
        key = _key_of(finding)
        row = self._state.index.row(key) if key is not None else None
        if row is None:
            return ""
        return f"{finding.kind} {finding.entity_id!r} of {_time(row.updated_micros)} is in no backup"

    def _keep_present(self, key: Key) -> None:
        """A copy of what stands in the place of the file, and what can be salvaged of it; the file itself stays until it is replaced."""
        path = entity_path(*key)
        data = read_file(self._state.backend, path)
        if data is None:
            return
        target = self._state.quarantine.keep(path, data, "it was damaged, and another copy took its place")
        saved = salvage(data)
        if saved:
            self._state.quarantine.keep_beside(target, "salvaged.json", saved)

    def _store_versions(self, versions: Sequence[tuple[Key, Version]]) -> None:
        committer = self._store.committer
        batches = {key: Batch([Operation(*key, encode(version.entity), exact=version)]) for key, version in versions}
        present = (read_file(self._state.backend, entity_path(*key)) for key in batches)
        # Copies of these are in quarantine already.
        committer.applier.adopting = frozenset(unseal(data)[1] for data in present if data is not None)
        try:
            committer.commit(list(batches.values()))
        finally:
            committer.applier.adopting = frozenset()
        for key, version in versions:
            error = batches[key].error
            if isinstance(error, BatchTooLargeError | OverloadedError):
                committer.applier.apply_file(key, version, frozenset())
            elif error is not None:
                raise error


def _calls_for_repair(finding: Finding) -> bool:
    return finding.severity != "note" or finding.code == "scratch"


def _at_hand(planner: Planner, finding: Finding) -> bool:
    key = _key_of(finding)
    return key is not None and planner.acknowledged(key) is not None


def _key_of(finding: Finding) -> Key | None:
    return None if finding.kind is None or finding.entity_id is None else (finding.kind, finding.entity_id)


def _time(micros: int) -> str:
    return format_time(from_micros(micros))
