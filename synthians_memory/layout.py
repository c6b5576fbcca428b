"""Every name in a store, and the one reversible map between ids and file names.

It does no I/O and knows no content.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, Literal

from synthians_memory.errors import InvalidIdError, InvalidTypeError

__all__ = [
    "ARCHITECTURE_MAP",
    "ARCHIVE",
    "ASSEMBLIES",
    "AUTOMEMORY_LOG",
    "BACKUPS",
    "CENTROIDS",
    "CONFIGURATION",
    "DECISION_LOG",
    "ENTITY_FOLDERS",
    "FAILURES_LOG",
    "FAISS_FILE",
    "FAISS_NEXT",
    "FALLBACK",
    "FORMAT_VERSION",
    "HEALTH_LOG",
    "HEALTH_PLAN",
    "HEALTH_SHARE",
    "INDEX",
    "INDEX_BACKUPS",
    "INDEX_LOG",
    "INITIAL_FOLDERS",
    "ISSUES",
    "JOURNAL",
    "JOURNAL_RESERVE",
    "LEDGER",
    "LEDGER_ARTIFACTS",
    "LEDGER_FACTS",
    "LEDGER_LOG",
    "LEDGER_RUNS",
    "LOCK_FILE",
    "LOGS",
    "LONGTERM_DB",
    "MANIFESTS",
    "MAPPING",
    "MEMORIES",
    "MOVED",
    "NOT_IMPORTED",
    "PART_FOLDERS",
    "PURGE_PLAN",
    "QUARANTINE",
    "REEMBEDDING",
    "REPAIR_PLAN",
    "RESTORE",
    "RESTORE_MARK",
    "RESTORE_PLAN",
    "RUN_CONTEXT",
    "RUN_INPUTS",
    "RUN_META",
    "RUN_OUTPUTS",
    "SHARDS",
    "SNAPSHOTS",
    "STATE",
    "STATE_FILES",
    "STORED_ENTITIES",
    "STORED_FILES",
    "SUPERBLOCK",
    "SYSTEM_STATE",
    "TELEMETRY",
    "TEXT",
    "TEXT_FILE",
    "TEXT_JOURNAL",
    "TEXT_SEAL",
    "TIERS",
    "VECTORS",
    "VECTORS_LOG",
    "WORKING_DB",
    "Kind",
    "PartRole",
    "addressed_path",
    "archive_folder",
    "archived_path",
    "cut_log_name",
    "database_side_files",
    "entity_path",
    "file_name",
    "id_of_file_name",
    "index_backup_moment",
    "index_backup_path",
    "is_cut_log",
    "is_database",
    "is_scratch",
    "is_set_aside",
    "issue_path",
    "key_of_path",
    "manifest_name",
    "manifest_path",
    "moment_of_stamp",
    "part_of_name",
    "part_path",
    "path_in",
    "purge_receipt_path",
    "purge_receipt_stamp",
    "quarantine_path",
    "scratch_path",
    "segment_number",
    "segment_path",
    "set_aside_path",
    "stamp_of",
    "validate_id",
]

FORMAT_VERSION: Final = 1

Kind = Literal["memory", "assembly"]
PartRole = Literal["staged", "previous"]

SUPERBLOCK: Final = "store.json"
LOCK_FILE: Final = "store.lock"
# What the store's settings are; written by people. Also the name of a user's own file.
CONFIGURATION: Final = "config.yaml"
MEMORIES: Final = "memories"
ASSEMBLIES: Final = "assemblies"
JOURNAL: Final = "journal"
INDEX: Final = "memory_index.json"
INDEX_LOG: Final = "memory_index.log"
VECTORS: Final = "vector_index"
FAISS_FILE: Final = "vector_index/memory_vectors.faiss"
FAISS_NEXT: Final = "vector_index/memory_vectors.faiss.next"
MAPPING: Final = "vector_index/mapping.json"
VECTORS_LOG: Final = "vector_index/vectors.log"
CENTROIDS: Final = "vector_index/centroids.bin"
TEXT: Final = "text_index"
TEXT_FILE: Final = "text_index/text.sqlite"
# SQLite's own, beside its file.
TEXT_JOURNAL: Final = "text_index/text.sqlite-journal"
TEXT_SEAL: Final = "text_index/seal.json"
BACKUPS: Final = "backups"
INDEX_BACKUPS: Final = "backups/index"
QUARANTINE: Final = "quarantine"
# Made by the first change of the model.
REEMBEDDING: Final = "reembedding"
JOURNAL_RESERVE: Final = "journal/reserve"
REPAIR_PLAN: Final = "quarantine/repair_plan.json"
LOGS: Final = "logs"
# Entries that could not be stored.
FALLBACK: Final = "logs/fallback.jsonl"
AUTOMEMORY_LOG: Final = "logs/automemory.log"
HEALTH_LOG: Final = "logs/health.log"
FAILURES_LOG: Final = "logs/failures.log"
# What a health pass is bringing back.
HEALTH_PLAN: Final = "logs/health_plan.json"
# How far the last sampled check has read.
HEALTH_SHARE: Final = "logs/health_share.json"
ISSUES: Final = "issues"
STATE: Final = "state"
# In state/, or in a directory of their own.
SYSTEM_STATE: Final = "system_state.json"
DECISION_LOG: Final = "decision_log.json"
ARCHITECTURE_MAP: Final = "architecture_map.json"
TELEMETRY: Final = "telemetry.json"
STATE_FILES: Final = (SYSTEM_STATE, DECISION_LOG, ARCHITECTURE_MAP, TELEMETRY)
LEDGER: Final = "ledger"
# In ledger/, or in a directory of their own.
LEDGER_LOG: Final = "log.jsonl"
LEDGER_FACTS: Final = "state.json"
LEDGER_ARTIFACTS: Final = "artifacts.json"
LEDGER_RUNS: Final = "runs"
# In the folder of one run.
RUN_CONTEXT: Final = "context.json"
RUN_META: Final = "meta.json"
RUN_INPUTS: Final = "inputs"
RUN_OUTPUTS: Final = "outputs"
# Made when the tiers are opened for the first time.
TIERS: Final = "tiers"
WORKING_DB: Final = "tiers/working.db"
LONGTERM_DB: Final = "tiers/longterm.db"
# What may be in a directory before a store is made there: parts that need no store.
PART_FOLDERS: Final = (LEDGER, "state")
# What an import from elsewhere could not store, each in a folder of its own.
NOT_IMPORTED: Final = "quarantine/not_imported"
# The plan of a move, and afterwards what tells where the store is now.
MOVED: Final = "moved.json"
SNAPSHOTS: Final = "backups/snapshots"
PURGE_PLAN: Final = "logs/purge_plan.json"
# Journal segments that were dropped.
ARCHIVE: Final = "backups/journal"
# A store that is being restored: what it is made of, until all of it takes its place.
RESTORE: Final = "backups/restore"
RESTORE_MARK: Final = "backups/restore/unfinished"
RESTORE_PLAN: Final = "backups/restore/plan.json"

# Folders of a directory of snapshots.
MANIFESTS: Final = "snapshots"
SHARDS: Final = "shards"
STORED_ENTITIES: Final = "entities"
STORED_FILES: Final = "files"

ENTITY_FOLDERS: Final[dict[Kind, str]] = {"memory": MEMORIES, "assembly": ASSEMBLIES}
# In the order in which they are made: a parent before its child.
INITIAL_FOLDERS: Final = (MEMORIES, ASSEMBLIES, JOURNAL, VECTORS, BACKUPS, INDEX_BACKUPS, QUARANTINE)

MAX_ID_BYTES: Final = 200
MAX_NAME_BYTES: Final = 255
_SUFFIX: Final = ".json"
_SCRATCH_PREFIX: Final = ".scratch-"
_PLAIN: Final = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
_PLAIN_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_ESCAPED: Final = re.compile(r"(?:[a-z0-9._-]|%[0-9A-F]{2})+")
# Names that Windows gives to devices, whatever follows the first dot.
_RESERVED: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
# The file name of an id that stands for itself.
_PLAIN_NAME: Final = re.compile(
    rf"(?!(?:{'|'.join(sorted(_RESERVED))})\.)[a-z0-9_-][a-z0-9._-]{{0,{MAX_ID_BYTES - 1}}}\.json"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STAMP: Final = "%Y%m%d_%H%M%S_%f"
_SET_ASIDE: Final = re.compile(r"(.+)\.damaged-[0-9]{8}_[0-9]{6}_[0-9]{6}")
_CUT_LOG: Final = re.compile(r"log\.cut-[0-9]{8}_[0-9]{6}_[0-9]{6}\.jsonl")
_INDEX_BACKUP: Final = re.compile(r"memory_index\.([0-9]{8}_[0-9]{6}_[0-9]{6})\.json")
_PURGE_RECEIPT: Final = re.compile(r"purge-([0-9]{8}_[0-9]{6}_[0-9]{6})\.json")
_SEGMENT: Final = re.compile(r"([0-9]{10,18})\.wal")
_PART: Final = re.compile(r"([0-9a-f-]{1,64})\.(staged|previous)\.([0-9]{6})")
_MANIFEST: Final = re.compile(r"([0-9]{8}_[0-9]{6}_[0-9]{6})\.json")
_KIND_OF_FOLDER: Final[dict[str, Kind]] = {folder: kind for kind, folder in ENTITY_FOLDERS.items()}


def validate_id(value: object, what: str = "id") -> str:
    """Return `value` if it can name an entity.

    Args:
        value: 1 to 200 bytes of UTF-8 without control characters or lone surrogates, whose file
            name is at most 255 bytes.
        what: how the message calls it.

    Raises:
        InvalidTypeError: not a string.
        InvalidIdError: empty, too long, or of characters that are refused.
    """
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} must be a string, not {type(value).__name__}")
    # Not a subclass: it would not equal what is read back.
    text = str.__str__(value)
    file_name(text, what)
    return text


def file_name(entity_id: str, what: str = "id") -> str:
    """The name of the entity's file, without its folder; a bijection with `id_of_file_name`.

    Lower-case letters, digits, ".", "_" and "-" stand for themselves, every other byte of the
    UTF-8 form is %XX. A leading dot and the first letter of a Windows device name are escaped.

    Raises:
        InvalidIdError: as `validate_id`.
    """
    if len(entity_id) <= MAX_ID_BYTES and _PLAIN.fullmatch(entity_id) and not _is_device(entity_id):
        return entity_id + _SUFFIX
    return _escaped_name(entity_id, what)


def _is_device(entity_id: str) -> bool:
    return entity_id.split(".", 1)[0] in _RESERVED


def _escape_byte(byte: int) -> str:
    return f"%{byte:02X}"


def _escaped_name(entity_id: str, what: str) -> str:
    if not entity_id:
        raise InvalidIdError(f"{what} is empty")
    if _CONTROL.search(entity_id):
        raise InvalidIdError(f"{what} {entity_id[:40]!r} has control characters")
    try:
        encoded = entity_id.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidIdError(f"{what} {entity_id[:40]!r} has lone surrogates") from error
    if len(encoded) > MAX_ID_BYTES:
        raise InvalidIdError(f"{what} {entity_id[:40]!r}... is {len(encoded)} bytes long, over {MAX_ID_BYTES}")
    parts = [chr(b) if b in _PLAIN_BYTES else _escape_byte(b) for b in encoded]
    if entity_id.startswith(".") or _is_device(entity_id):
        parts[0] = _escape_byte(encoded[0])
    name = "".join(parts) + _SUFFIX
    if len(name) > MAX_NAME_BYTES:
        raise InvalidIdError(
            f"{what} {entity_id[:40]!r}... needs a file name of {len(name)} bytes, over {MAX_NAME_BYTES}",
            hint="Use a shorter id, or one of lower-case letters, digits, '.', '_' and '-'.",
        )
    return name


def id_of_file_name(name: str) -> str | None:
    """The id whose file is `name`, or None where no id gives that name."""
    if _PLAIN_NAME.fullmatch(name):
        return name[: -len(_SUFFIX)]
    stem = name.removesuffix(_SUFFIX)
    if stem == name or not _ESCAPED.fullmatch(stem):
        return None
    try:
        entity_id = re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), stem.encode()).decode("utf-8")
        return entity_id if file_name(entity_id) == name else None
    except (UnicodeDecodeError, InvalidIdError):
        return None


def entity_path(kind: Kind, entity_id: str) -> str:
    """Path of the entity's file, relative to the store."""
    return f"{ENTITY_FOLDERS[kind]}/{file_name(entity_id)}"


def key_of_path(path: str) -> tuple[Kind, str] | None:
    """Kind and id of the entity whose file is `path`; None where no entity has such a file."""
    folder, _, name = path.partition("/")
    entity_id = id_of_file_name(name)
    return None if folder not in _KIND_OF_FOLDER or entity_id is None else (_KIND_OF_FOLDER[folder], entity_id)


def segment_path(number: int) -> str:
    """Path of journal segment `number`."""
    return f"{JOURNAL}/{number:010d}.wal"


def segment_number(name: str) -> int | None:
    """Number of the segment whose file in journal/ is `name`; None where it is none."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match and segment_path(int(match[1])) == f"{JOURNAL}/{name}" else None


def part_path(token: str, role: PartRole, number: int) -> str:
    """Path of one file of a change of the model: `token` names the change, the first `number` is 1."""
    return f"{REEMBEDDING}/{token}.{role}.{number:06d}"


def part_of_name(name: str) -> tuple[str, PartRole, int] | None:
    """Token, role and number of the file in reembedding/ called `name`; None where it is no such name."""
    match = _PART.fullmatch(name)
    return (match[1], "staged" if match[2] == "staged" else "previous", int(match[3])) if match else None


def archive_folder(epoch: str) -> str:
    """Folder of the archived segments of one epoch."""
    return f"{ARCHIVE}/{file_name(epoch, 'epoch').removesuffix(_SUFFIX)}"


def archived_path(epoch: str, number: int) -> str:
    """Path of the archived copy of segment `number`."""
    return f"{archive_folder(epoch)}/{segment_path(number).rpartition('/')[2]}"


def manifest_path(name: str) -> str:
    """Path of the manifest of the snapshot `name`, in a directory of snapshots."""
    return f"{MANIFESTS}/{name}{_SUFFIX}"


def manifest_name(file: str) -> str | None:
    """Name of the snapshot whose manifest is the file `file`; None where it is none."""
    match = _MANIFEST.fullmatch(file)
    return match[1] if match and moment_of_stamp(match[1]) else None


def addressed_path(folder: str, digest: str) -> str:
    """Path of what is stored by its hash, in a directory of snapshots."""
    suffix = "" if folder == STORED_FILES else _SUFFIX
    return f"{folder}/{digest[:2]}/{digest}{suffix}"


def stamp_of(moment: datetime) -> str:
    """YYYYMMDD_HHMMSS_ffffff, as names in the store carry a point in time (UTC)."""
    return moment.strftime(_STAMP)


def index_backup_path(moment: datetime) -> str:
    """Path of the copy of the memory index taken at `moment`."""
    return f"{INDEX_BACKUPS}/memory_index.{stamp_of(moment)}.json"


def issue_path(moment: datetime, fingerprint: str) -> str:
    """Path of the document of a failure with that fingerprint, first met at `moment`."""
    return f"{ISSUES}/{stamp_of(moment)}_{fingerprint}.md"


def index_backup_moment(name: str) -> datetime | None:
    """When the copy called `name` was taken; None where that is no such name."""
    match = _INDEX_BACKUP.fullmatch(name)
    return moment_of_stamp(match[1]) if match else None


def moment_of_stamp(stamp: str) -> datetime | None:
    """The point in time that `stamp_of` gives this stamp; None where there is none."""
    try:
        # strptime would import a module at its first call, which fails where descriptors have run out.
        return datetime.fromisoformat(stamp.replace("_", "T", 1).replace("_", ".")).replace(tzinfo=UTC)
    except ValueError:
        return None


def scratch_path(folder: str, token: str) -> str:
    """Path of a scratch file in `folder` ("" is the store itself)."""
    return f"{folder}/{_SCRATCH_PREFIX}{token}" if folder else f"{_SCRATCH_PREFIX}{token}"


def quarantine_path(stamp: str, name: str) -> str:
    """Path of what was set aside at `stamp` and was called `name`; each stamp has a folder of its own."""
    return f"{QUARANTINE}/{stamp}/{name}"


def set_aside_path(path: str, moment: datetime) -> str:
    """Path, beside `path`, under which what is damaged there is kept since `moment`."""
    return f"{path}.damaged-{stamp_of(moment)}"


def is_set_aside(name: str, original: str) -> bool:
    """Whether `name` is that of a damaged file that was called `original`."""
    match = _SET_ASIDE.fullmatch(name)
    return match is not None and match[1] == original


def cut_log_name(moment: datetime) -> str:
    """Name, in the ledger's folder, of the newer log that a restore at `moment` cut off."""
    return f"log.cut-{stamp_of(moment)}.jsonl"


def is_cut_log(name: str) -> bool:
    """Whether `name` is one that `cut_log_name` gives."""
    return _CUT_LOG.fullmatch(name) is not None


def database_side_files(path: str) -> tuple[str, str]:
    """The files that SQLite keeps beside its database at `path`: the write-ahead log, and the memory shared with readers."""
    return f"{path}-wal", f"{path}-shm"


def is_database(path: str) -> bool:
    """Whether SQLite alone reads and writes the file at `path`: no other descriptor of it is ever to be opened.

    Closing one would drop the locks that SQLite holds on it in the same process.
    """
    return path.startswith(f"{TIERS}/")


def path_in(folder: str, name: str) -> str:
    """Path of `name` in `folder` ("" is the store itself)."""
    return f"{folder}/{name}" if folder else name


def purge_receipt_path(stamp: str) -> str:
    """Path of the receipt of the purge that began at `stamp`."""
    return f"{LOGS}/purge-{stamp}.json"


def purge_receipt_stamp(name: str) -> str | None:
    """The stamp of the receipt whose file in logs/ is called `name`; None where it is none."""
    match = _PURGE_RECEIPT.fullmatch(name)
    return match[1] if match else None


def is_scratch(name: str) -> bool:
    """Whether a file called `name` is scratch: unfinished work that no reader ever looks at."""
    return name.startswith(_SCRATCH_PREFIX)
