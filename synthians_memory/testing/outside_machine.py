"""Random histories of one store whose files are also changed behind its back, with checks and repairs in between.

It is not the machine of writes and crashes, which is `state_machine`; it adds what another hand does to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from synthians_memory.codec import Version, encode, sealed_version
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.records import Key
from synthians_memory.errors import DamagedFileError, EntityNotFoundError
from synthians_memory.layout import (
    FAISS_FILE,
    INDEX,
    INDEX_LOG,
    JOURNAL,
    MAPPING,
    SUPERBLOCK,
    VECTORS_LOG,
    entity_path,
)
from synthians_memory.reports import Finding, RepairReport
from synthians_memory.testing.machine_model import DIMENSION, Sight, Wish, entity_of, keys, seeds, wishes
from synthians_memory.testing.outside_changes import OutsideChange, OutsideHand, edited_bytes, minimal_bytes
from synthians_memory.testing.state_machine import StoreMachine
from synthians_memory.testing.store_history import State, fail, require

__all__ = ["OutsideMachine"]

_VIEWS = (INDEX, INDEX_LOG, MAPPING, FAISS_FILE, VECTORS_LOG, SUPERBLOCK)
# An older copy of the memory index, of help where the present one cannot be trusted, may name what was deleted since.
_CODES_OF_LOSSES = frozenset(
    ["index_damaged", "vectors_damaged", "superblock_damaged", "journal_damaged", "file_missing"]
)
_VECTOR_CODES = frozenset(["vector_missing", "vector_stale", "vector_orphan"])

Damage = Literal["flip", "cut", "empty", "garbage", "append", "another's"]
damages: st.SearchStrategy[Damage] = st.sampled_from(["flip", "flip", "cut", "empty", "garbage", "append", "another's"])


@dataclass(frozen=True)
class Passage:
    """What may have become of files changed outside since the machine looked last.

    Attributes:
        adopts: repair may have taken over what is intact or was edited.
        forgets: repair may have recorded that what is gone is gone.
        sets_aside: repair may have moved away what is damaged, and recorded that it is gone.
        replays: recovery may have written over them.
        relists: the memory index may have been made anew from the files as they are.
        mends: all that repair may do it must have done.
    """

    adopts: bool = False
    forgets: bool = False
    sets_aside: bool = False
    replays: bool = False
    relists: bool = False
    mends: bool = False


RUNNING = Passage()


class OutsideMachine(StoreMachine):
    """As `StoreMachine`, and files are changed by somebody else.

    Attributes:
        outside: what stands in the place of entity files instead of what the store put there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outside: dict[Key, OutsideChange] = {}
        self._passage = RUNNING
        self._repairing = False
        self._damaged_views = False
        # What follows the committed part of a log stays there until the log is written to again.
        self._views_were_damaged = False
        self._past: list[Version] = []
        # Written since the last checkpoint: the journal holds it, whatever becomes of the file.
        self._journaled: set[Key] = set()

    @property
    def hand(self) -> OutsideHand:
        """Another one's hand on the disk."""
        return OutsideHand(self.disk)

    # What openings and repairs make of it

    def open(self, oldest: int) -> None:
        """As `StoreLife.open`."""
        automatic = self.config().auto_repair
        self._passage = Passage(
            adopts=automatic or self._repairing,
            forgets=automatic or self._repairing,
            sets_aside=self._repairing,
            replays=True,
            relists=self._damaged_views or self._is_without_index(),
        )
        super().open(oldest)

    def _is_without_index(self) -> bool:
        """Whether the memory index is not on disk yet, so that openings make it from the files as they are."""
        return self.hand.read(INDEX) is None

    def resolved(self, state: State, sights: Mapping[Key, Sight]) -> State:
        """What became of every file that was changed outside; AssertionError where anything was lost silently."""
        after = dict(state)
        set_aside = self.hand.set_aside()
        for key, change in list(self.outside.items()):
            version = self._version_behind(key, sights[key], state.get(key))
            after.pop(key, None)
            if version is not None:
                after[key] = version
            in_place = self.hand.is_in_place(change)
            # An edited file is sealed when it is adopted, and so is another file then.
            adopted = version is not None and change.is_taken_over_as(version) and (change.is_sealed or not in_place)
            recorded = version is None and change.what == "removed"
            if adopted or recorded or not in_place:
                self._require_kept(change, set_aside, adopted=adopted)
                del self.outside[key]
        self._passage, self._repairing, self._damaged_views = RUNNING, False, False
        self._journaled = set()
        self._past += after.values()
        return after

    def _version_behind(self, key: Key, sight: Sight, before: Version | None) -> Version | None:
        """The version that the store has indexed."""
        if sight.indexed is None or (before is not None and before.hash == sight.indexed):
            return before if sight.indexed is not None else None
        decided, version = self.store.state.overlay.get(key)
        if not decided:
            version = sealed_version(key[0], self.hand.read(entity_path(*key)) or b"")
        return version

    def _require_kept(self, change: OutsideChange, set_aside: set[bytes], *, adopted: bool) -> None:
        """What is not there any more was adopted, or is in quarantine, unless it was nobody's work."""
        if adopted or change.data is None or change.data in set_aside:
            return
        acknowledged = {version.hash for version in self._past}
        known = change.found is not None and change.found.hash in acknowledged
        # Bytes that are no version may be written over by a version that is acknowledged.
        rewritten = change.what == "file" and not change.parses
        require(known or rewritten, f"what somebody wrote for {change.key} is gone: {change.data[:60]!r}")

    def complaint(self, key: Key, version: Version | None, sight: Sight) -> str:
        """As `StoreLife.complaint`; a file that was changed outside is served as acknowledged, or not at all."""
        change = self.outside.get(key)
        served = super().complaint(key, version, sight)
        if change is None or (not served and not self._is_to_be_mended(change)):
            return served
        indexed = version.hash if version is not None else None
        if sight.refused and sight.indexed == indexed and indexed is not None and not self._is_to_be_mended(change):
            return ""
        if self._is_taken_over(change, version, sight) or self._is_given_up(change, key, sight):
            return ""
        return f"was changed outside ({change.code(known=version is not None)}): {served or 'and is not mended'}"

    def _is_to_be_mended(self, change: OutsideChange) -> bool:
        return self._passage.mends and self.hand.is_in_place(change)

    def _is_taken_over(self, change: OutsideChange, version: Version | None, sight: Sight) -> bool:
        """Whether the store holds the version that somebody wrote, and may."""
        sealed = change.is_sealed
        if (
            sight.entity is None
            or sight.indexed is None
            or not (self._passage.adopts or (self._passage.relists and sealed))
        ):
            return False
        taken = self._version_behind(change.key, sight, None)
        if taken is None or not change.is_taken_over_as(taken) or taken.hash != sight.indexed:
            return False
        # Where the memory index was lost, nobody knows any more when it was updated.
        grown = version is None or self._passage.relists or taken.updated_micros > version.updated_micros
        return sealed or grown

    def _is_given_up(self, change: OutsideChange, key: Key, sight: Sight) -> bool:
        """Whether the store holds nothing any more, and may."""
        if sight != (None, None, False):
            return False
        if self._passage.mends and key in self._journaled:
            return False
        if change.what != "file":
            return self._passage.forgets or self._passage.relists
        return (self._passage.sets_aside and not change.adoptable) or self._passage.relists

    def is_certain(self, key: Key) -> bool:
        """As `StoreMachine.is_certain`."""
        return key not in self.outside

    def note_opening(self, findings: Sequence[Finding]) -> None:
        """As `StoreLife.note_opening`; what was changed outside is told."""
        expected = _CODES_OF_LOSSES if self._damaged_views else frozenset()
        concerned = {(key[0], key[1]) for key in self.outside}
        rest = [f for f in findings if f.code not in expected and (f.kind, f.entity_id) not in concerned]
        super().note_opening([f for f in rest if not (self._damaged_views and f.code in _VECTOR_CODES)])

    def require_findings(self, findings: Sequence[Finding]) -> None:
        """As `StoreMachine.require_findings`; each file that was changed outside is found, as what it is."""
        stuck = set(self.store.state.overlay.stuck)
        for key, change in self.outside.items():
            codes = {f.code for f in findings if (f.kind, f.entity_id) == key and f.code not in _VECTOR_CODES}
            wanted = {change.code(known=key in self.state)} - ({"file_missing"} if key not in self.state else set())
            decided = self.store.state.overlay.get(key)[0]
            # Of what waits for its file the content is looked at: it may name members that do not exist.
            rest_of_codes = codes - ({"apply_pending", "member_missing"} if decided else {"apply_pending"})
            require(rest_of_codes == (set() if decided else wanted), f"{key}: found {codes}, not {wanted}")
        rest = [f for f in findings if (f.kind, f.entity_id) not in self.outside or (f.kind, f.entity_id) in stuck]
        super().require_findings([f for f in rest if (f.kind, f.entity_id) not in self.outside])

    @invariant()
    def nothing_is_lost_silently(self) -> None:
        """What the store has written over is in quarantine."""
        if self._driven is None or not self.outside:
            return
        gone = [change for change in self.outside.values() if not self.hand.is_in_place(change)]
        set_aside = self.hand.set_aside() if gone else set()
        for change in gone:
            self._require_kept(change, set_aside, adopted=False)
            del self.outside[change.key]
        for key in [k for k, c in self.outside.items() if c.what == "removed" and k not in self.state]:
            # What was to be deleted is gone.
            del self.outside[key]

    # What the store does

    def committed(self, batches: Sequence[Batch]) -> None:
        """Remember what the journal holds."""
        for batch in batches:
            if batch.error is None:
                self._journaled |= {operation.key for operation in batch.operations}
                self._past += [outcome for outcome in batch.outcomes if isinstance(outcome, Version)]

    def checkpointed(self) -> None:
        """The journal holds nothing any more that is not in files."""
        self._journaled = set()

    def require_closed_files(self) -> None:
        """As `StoreMachine.require_closed_files`, where nobody else has changed any."""
        if not self.outside and not self._views_were_damaged:
            super().require_closed_files()

    @rule()
    def read_beside(self) -> None:
        """As `StoreMachine.read_beside`."""
        self._passage = Passage(relists=self._is_without_index())
        super().read_beside()
        self._passage = RUNNING

    def _file(self, key: Key, data: bytes) -> OutsideChange:
        change = OutsideChange.file(key, data)
        vector = change.found.entity.vector if change.found is not None and change.found.entity is not None else None
        unusable = vector is not None and (len(vector) != DIMENSION or (self.metric == "cosine" and not vector.any()))
        return change.unusable() if unusable else change

    def _put(self, change: OutsideChange) -> None:
        self.hand.apply(change)
        self.outside[change.key] = change

    @rule(wish=wishes, how=st.sampled_from(["edited", "minimal"]))
    def edit(self, wish: Wish, how: str) -> None:
        """A person edits a file, or writes one, without a hash line."""
        entity = entity_of(wish)
        data = minimal_bytes(entity) if how == "minimal" else edited_bytes(entity, self.clock.micros())
        self._put(self._file(wish.key, data))

    @rule(wish=wishes, micros=st.integers(-10, 10))
    def replace(self, wish: Wish, micros: int) -> None:
        """Another program puts a sealed version in the place of a file, or where there is none."""
        self._put_version(encode(entity_of(wish)).stamp(self.clock.micros() + micros))

    @precondition(lambda self: self._past)
    @rule(back=st.integers(1, 20))
    def check_out(self, back: int) -> None:
        """Somebody brings back a version of the past, perhaps the present one."""
        self._put_version(self._past[-min(back, len(self._past))])

    def _put_version(self, version: Version) -> None:
        key = (version.kind, version.entity_id)
        present = self.state.get(key)
        self._put(self._file(key, version.data))
        if present is not None and present.hash == version.hash and not self.store.state.overlay.get(key)[0]:
            # The acknowledged version: nothing happened.
            del self.outside[key]

    @rule(key=keys, damage=damages, where=seeds)
    def damage(self, key: Key, damage: Damage, where: int) -> None:
        """A disk, or an editor, destroys a file."""
        data = self.hand.read(entity_path(*key))
        assume(data)
        self._put(self._file(key, damaged(data or b"", damage, where)))

    @rule(key=keys)
    def remove(self, key: Key) -> None:
        """A file is deleted."""
        assume(self.hand.read(entity_path(*key)) is not None)
        self._put(OutsideChange.removed(key))
        if key not in self.state:
            del self.outside[key]

    @rule(key=keys)
    def put_folder(self, key: Key) -> None:
        """A folder stands where a file belongs."""
        self._put(OutsideChange.folder(key))

    @precondition(lambda self: not self.faulty)
    @rule(path=st.sampled_from(_VIEWS), damage=damages, where=seeds)
    def lose_view(self, path: str, damage: Damage, where: int) -> None:
        """A file of the store itself is damaged, or gone, while it is closed."""
        driven = self.driven
        self.attempt(driven.close)
        if self.driven is not driven:
            return
        data = self.hand.read(path)
        if data and damage == "empty":
            self.hand.remove(path)
        elif data:
            self.hand.write(path, damaged(data, damage, where))
        self._damaged_views = self._views_were_damaged = True
        self.set(auto_repair=True)
        self.open(self.history.visible)

    @precondition(lambda self: not self.faulty)
    @rule()
    def lose_journal(self) -> None:
        """The journal is gone after a clean stop, when nothing is in it."""
        driven = self.driven
        self.attempt(driven.close)
        if self.driven is not driven or self.history.journal_failed:
            return
        for name in self.hand.names(JOURNAL):
            self.hand.remove(f"{JOURNAL}/{name}")
        self._damaged_views = True
        self.set(auto_repair=True)
        self.open(self.history.visible)

    @rule(auto_repair=st.booleans(), startup_check=st.sampled_from(["quick", "full"]))
    def configure(self, **settings: object) -> None:
        """How the store is opened from now on."""
        self.set(**settings)

    @precondition(lambda self: not self.has_failed)
    @rule()
    def repair(self) -> None:
        """After a repair nothing is wrong any more, and nothing is lost."""
        self.mend_disk()
        self._repairing = True
        report = self.attempt(self.store.repair)
        if report is None:
            return
        self._passage = Passage(adopts=True, forgets=True, sets_aside=True, mends=True)
        self._require_mended(report)
        self._repairing = False

    def _require_mended(self, report: RepairReport) -> None:
        require(report.clean, f"the repair left {report.remaining}")
        self._require_salvaged(report)
        worse = [finding for finding in self.store.check("full") if finding.severity != "note"]
        require(not worse, f"the check after the repair found {worse}")
        if report.actions:
            self.resolve(self.history.visible)
        else:
            # What waited for its file was written before the check, over what had to go for it.
            self._passage = RUNNING
            self.nothing_is_lost_silently()
        require(not self.outside, f"not mended: {sorted(self.outside)}")

    def _require_salvaged(self, report: RepairReport) -> None:
        """Damaged files that were set aside are in quarantine to the last byte."""
        set_aside = self.hand.set_aside()
        for key, change in self.outside.items():
            if change.what == "file" and not change.adoptable and not self.hand.is_in_place(change):
                require(change.data in set_aside, f"the damaged file of {key} is gone; {report.actions}")

    @precondition(lambda self: not self.has_failed)
    @rule(key=keys)
    def adopt(self, key: Key) -> None:
        """A person says that a file is right as it stands."""
        self.mend_disk()
        change = self.outside.get(key)
        if self.store.state.overlay.get(key)[0]:
            return
        if change is None:
            self._adopt_unchanged(key)
        elif change.what == "file" and change.parses:
            self._adopt_changed(change)
        elif change.what == "removed" or (change.what == "file" and not change.parses):
            self._refuse_to_adopt(key)

    def _adopt_unchanged(self, key: Key) -> None:
        if key not in self.state:
            self._refuse_to_adopt(key)
            return
        version = self.attempt(lambda: self.store.adopt(key))
        require(version is None or version.hash == self.state[key].hash, f"adopting {key} as it is changed it")

    def _refuse_to_adopt(self, key: Key) -> None:
        try:
            self.store.adopt(key)
        except (EntityNotFoundError, DamagedFileError):
            return
        fail(f"{key} was adopted, though it is nothing")

    def _adopt_changed(self, change: OutsideChange) -> None:
        self._repairing = True
        version = self.attempt(lambda: self.store.adopt(change.key))
        if version is None:
            return
        require(change.is_taken_over_as(version), f"{change.key} was adopted as something else")
        self._passage = Passage(adopts=True)
        self.resolve(self.history.visible)


def damaged(data: bytes, damage: Damage, where: int) -> bytes:
    """What is left of `data`; `where` says where it was hit."""
    at = where % len(data)
    if damage == "flip":
        return data[:at] + bytes([data[at] ^ (1 << where % 8)]) + data[at + 1 :]
    results: dict[Damage, bytes] = {
        "cut": data[:at],
        "empty": b"",
        "garbage": bytes((where + i) % 256 for i in range(64)),
        "append": data + data[at:],
        "another's": encode(entity_of(Wish(("memory", "another"), "x", 1, None, None, "any"))).stamp(1).data,
    }
    return results[damage]
