"""What operations answer with: hits, findings, and reports of repair and import.

They are values, not actions: making one changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from synthians_memory.layout import Kind
from synthians_memory.models import MemoryEntry

__all__ = [
    "FINDING_CODES",
    "Finding",
    "ImportReport",
    "LeftPlace",
    "LineProblem",
    "PurgeAction",
    "PurgeReceipt",
    "PurgedPlace",
    "RecallHit",
    "RecallMode",
    "RecallParts",
    "ReembedReport",
    "RepairReport",
    "SearchHit",
    "Severity",
]

RecallMode = Literal["hybrid", "vector", "text"]
Severity = Literal["damage", "inconsistency", "note"]
PurgeAction = Literal["removed", "rewritten", "blanked"]

# code -> (severity, what it means, what repair does)
FINDING_CODES: Final[dict[str, tuple[Severity, str, str]]] = {
    "file_not_indexed": ("inconsistency", "an intact entity file is not in the memory index", "adopt it"),
    "file_missing": ("damage", "the memory index names a file that is gone", "restore it, or record the removal"),
    "file_replaced": ("inconsistency", "an intact file of another version than acknowledged", "adopt it"),
    "file_edited": ("inconsistency", "a file without a hash line that validates", "adopt it"),
    "file_damaged": ("damage", "a file that does not match its own hash", "restore it, or quarantine and salvage it"),
    "file_undecodable": ("damage", "a file that is no valid entity", "restore it, or quarantine and salvage it"),
    "not_a_file": ("damage", "a folder, symlink or special file stands where a file belongs", "move it aside"),
    "foreign_name": ("note", "a name in an entity folder that no id has", "leave it"),
    "apply_pending": ("inconsistency", "an acknowledged entity could not yet be written to its file", "write it"),
    "index_damaged": ("inconsistency", "the memory index on disk is damaged or missing", "rebuild it"),
    "vectors_damaged": ("inconsistency", "the vector index on disk is damaged or missing", "rebuild it"),
    "text_damaged": ("inconsistency", "the text index on disk is damaged", "rebuild it"),
    "superblock_damaged": ("inconsistency", "the superblock is damaged or missing", "rebuild it"),
    "vector_missing": ("inconsistency", "an embedding has no vector", "index it"),
    "vector_stale": ("inconsistency", "a vector belongs to another embedding", "index the present one"),
    "vector_orphan": ("inconsistency", "a vector belongs to no entity", "remove it"),
    "vector_wrong": ("damage", "a vector differs from the embedding it stands for", "rebuild the vector index"),
    "embedding_stale": ("note", "a memory's text was edited after its embedding was made", "nothing"),
    "journal_damaged": ("damage", "durable frames of the journal are not intact", "keep a copy, apply the rest"),
    "journal_torn": ("note", "an unacknowledged tail of the journal was cut and kept aside", "nothing"),
    "journal_foreign": ("note", "a journal segment of another life of the store was set aside", "nothing"),
    "conflict": ("inconsistency", "a version written outside was set aside for the acknowledged one", "nothing"),
    "staged_damaged": ("damage", "staged versions of a new model are not intact", "run reembed again"),
    "way_back_damaged": ("inconsistency", "embeddings kept of the model before are not intact", "reembed instead"),
    "member_missing": ("note", "an assembly names a memory that does not exist", "nothing"),
    "scratch": ("note", "a scratch file was left behind", "remove it"),
    "state_damaged": ("damage", "a file of the state cannot be read", "leave it; the next write sets it aside"),
    "state_invalid": ("note", "a file of the state does not fit its schema", "leave it"),
    "state_unchecked": ("note", "no library was there to check the state's schemas", "nothing"),
    "ledger_damaged": ("damage", "a line of the ledger's log is not what was written", "leave it"),
    "ledger_chain_broken": ("damage", "an entry of the log does not follow the one before it", "leave it"),
    "ledger_torn": ("inconsistency", "the last line of the log is torn", "leave it; the next entry sets it aside"),
    "ledger_set_aside": ("note", "a torn line of the log, never acknowledged, was set aside", "nothing"),
    "ledger_duplicate": ("inconsistency", "two entries of the log name one run", "leave it"),
    "ledger_table_damaged": ("damage", "the ledger's facts or artifacts cannot be read", "leave it"),
    "ledger_cut_unrecorded": ("inconsistency", "no entry tells of a log that a restore cut off", "leave it"),
    "capsule_missing": ("damage", "the capsule of a recorded run is gone", "leave it"),
    "capsule_changed": ("damage", "the capsule of a run is not what was written", "leave it"),
    "capsule_orphan": ("inconsistency", "a capsule belongs to no entry of the log", "leave it"),
    "fact_stale": ("note", "a promoted fact has expired", "nothing"),
    "fact_unsupported": ("inconsistency", "a promoted fact names a run that is not in the log", "leave it"),
    "fact_not_remembered": (
        "inconsistency",
        "a promoted fact is not among the memories",
        "leave it; `ledger doctor --mend` saves it",
    ),
    "tier_damaged": ("damage", "a database of the tiers is not what was written", "leave it; `health` restores it"),
    "tier_row_damaged": ("damage", "a row of a tier does not match its hash", "leave it; `health` restores it"),
    "tier_words_damaged": (
        "inconsistency",
        "the index of words of a tier does not fit its rows",
        "leave it; `tiers vacuum` makes it anew",
    ),
    "tier_log_damaged": (
        "damage",
        "committed changes in the write-ahead log of a tier are lost",
        "leave it; `health` takes what is left, and moves it to quarantine",
    ),
    "tier_memory_missing": ("inconsistency", "a row of a tier has no memory", "leave it; opening the tiers makes it"),
    "tier_memory_stale": (
        "inconsistency",
        "a memory does not say what its row in a tier says",
        "leave it; opening the tiers replaces it",
    ),
    "tier_memory_orphan": ("note", "a memory of a collection has no row", "nothing; delete it if nobody wants it"),
    "database_damaged": ("damage", "a database of a part fails SQLite's own check", "leave it; `health` restores it"),
    "space_low": ("inconsistency", "little space is left on the disk of the store", "nothing; free some"),
    "inodes_low": ("inconsistency", "few inodes are left on the disk of the store", "nothing; remove files"),
    "backup_overdue": ("inconsistency", "the newest whole snapshot is older than it should be", "nothing; take one"),
    "backup_damaged": ("inconsistency", "a snapshot is not what was written", "nothing; take one with --full"),
    "repair_refused": ("damage", "a repair at open would have dropped too much and did nothing", "repair by hand"),
}


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One result of a search.

    Attributes:
        memory_id: id of the memory, or of the assembly where assemblies were searched.
        score: higher is better: cosine -1..1, inner product as is, L2 as 1/(1+d**2).
        kind: what was found.
    """

    memory_id: str
    score: float
    kind: Kind = "memory"


@dataclass(frozen=True, slots=True)
class RecallParts:
    """What the score of a recalled memory is made of, each part before it is weighed.

    Attributes:
        text: BM25 of its own words; 0 without a common one.
        neighbours: BM25 of its neighbours, summed.
        vector: its nearness as `SearchHit.score`; None where it was not compared.
        recency: 1 for a memory of now, a half after the half-life.
        importance: its quickrecal_score.
    """

    text: float = 0.0
    neighbours: float = 0.0
    vector: float | None = None
    recency: float = 0.0
    importance: float = 0.0


@dataclass(frozen=True, slots=True)
class RecallHit:
    """One memory that was recalled.

    Attributes:
        entry: the memory.
        score: higher is better.
        parts: what that is made of.
        mode: how it was found: "text" also for a hybrid recall that had no vector to go by.
    """

    entry: MemoryEntry
    score: float
    parts: RecallParts
    mode: RecallMode


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect.

    Attributes:
        code: a key of FINDING_CODES.
        message: what was found, in a sentence.
        path: the file, relative to the store; or "".
        kind, entity_id: the entity concerned, where it is one.
    """

    code: str
    message: str
    path: str = ""
    kind: Kind | None = None
    entity_id: str | None = None

    @property
    def severity(self) -> Severity:
        """How bad it is: damage may lose data, an inconsistency needs a repair, a note needs nothing."""
        return FINDING_CODES[self.code][0]

    @property
    def action(self) -> str:
        """What repair would do."""
        return FINDING_CODES[self.code][2]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "severity": self.severity, "action": self.action}


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found and did.

    Attributes:
        findings: what the check found before.
        actions: one line for each thing that was done, or would be with dry_run.
        remaining: what is still wrong afterwards; with dry_run the findings themselves.
        quarantined: paths below quarantine/ of what was moved there.
        dry_run: whether nothing was changed.
    """

    findings: tuple[Finding, ...] = ()
    actions: tuple[str, ...] = ()
    remaining: tuple[Finding, ...] = ()
    quarantined: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing worse than a note remains."""
        return all(finding.severity == "note" for finding in self.remaining)

    def preceded_by(self, actions: tuple[str, ...]) -> RepairReport:
        """This report with `actions` that were taken before."""
        return replace(self, actions=(*actions, *self.actions)) if actions else self

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "findings": [f.to_dict() for f in self.findings],
            "actions": list(self.actions),
            "remaining": [f.to_dict() for f in self.remaining],
            "quarantined": list(self.quarantined),
            "dry_run": self.dry_run,
            "clean": self.clean,
        }


@dataclass(frozen=True, slots=True)
class PurgedPlace:
    """A place where traces of purged entities stood, or may have stood.

    Attributes:
        path: relative to the store.
        what: what it was.
        action: "removed", "rewritten" without it, or "blanked": zeros stand in its place.
        bytes: how many bytes were removed or blanked; of a file written anew, how long it was before.
    """

    path: str
    what: str
    action: PurgeAction
    bytes: int


@dataclass(frozen=True, slots=True)
class LeftPlace:
    """A place that still has, or may have, a trace, and that a purge does not touch.

    Attributes:
        path: relative to the store.
        why: what it is, and what can be done.
    """

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class PurgeReceipt:
    """What a purge did; it holds no text of what was purged, only ids, paths and hashes.

    Attributes:
        kind, ids: what was purged.
        not_stored: those of the ids that the store did not hold when the purge began.
        started_at, finished_at: RFC 3339 in UTC.
        content_hashes: SHA-256 of the versions that were found, as hexadecimal digits.
        removed: every place, in order of paths.
        left: places outside the reach of the purge.
        path: of this receipt in the store.
    """

    kind: Kind
    ids: tuple[str, ...]
    not_stored: tuple[str, ...]
    started_at: str
    finished_at: str
    content_hashes: tuple[str, ...]
    removed: tuple[PurgedPlace, ...]
    left: tuple[LeftPlace, ...]
    path: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line of an import that was not stored.

    Attributes:
        line: its number, from 1.
        code: "invalid" or "conflict".
        reason: why.
    """

    line: int
    code: Literal["invalid", "conflict"]
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        imported: entities stored.
        skipped: entities that were there with equal content.
        overwritten: of the imported, those that replaced another version.
        problems: lines that were not stored, at most the first thousand.
        problem_count: how many those were in all.
    """

    imported: int = 0
    skipped: int = 0
    overwritten: int = 0
    problems: tuple[LineProblem, ...] = field(default=())
    problem_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """What a change of the model did, so far or in all.

    Attributes:
        phase: "staging" before the step that changes the model, "converting" after it, "done" at the end.
        embedder: name of the model that is changed to; None where callers bring their vectors.
        embedding_dimension: length of its vectors.
        total: entities in the store.
        staged: how many of them are seen to.
        embedded: for how many the embedder was asked.
        switched: whether the model was changed.
        converted: entity files that hold the new embedding.
        without: ids of entities that had an embedding and have none with the new model.
        previous_bytes: what the way back holds on disk.
    """

    phase: Literal["staging", "converting", "done"] = "staging"
    embedder: str | None = None
    embedding_dimension: int | None = None
    total: int = 0
    staged: int = 0
    embedded: int = 0
    switched: bool = False
    converted: int = 0
    without: tuple[str, ...] = ()
    previous_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
