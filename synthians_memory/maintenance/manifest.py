"""The manifest of a snapshot: what the store was, and by which hashes its files are found again.

It does no I/O, and trusts nothing that it decodes.

Entities are listed in shards, by the first hexadecimal digits of the CRC-32 of their path. A shard is stored by its
own hash, so that snapshots share those in which nothing changed.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

import orjson

from synthians_memory.codec import seal, unseal
from synthians_memory.errors import DamagedBackupError, InvalidValueError, SynthiansMemoryError
from synthians_memory.json_values import JsonObject, parse_strict
from synthians_memory.layout import (
    INDEX,
    INDEX_LOG,
    INITIAL_FOLDERS,
    LOCK_FILE,
    SUPERBLOCK,
    TEXT,
    is_scratch,
    key_of_path,
    manifest_path,
)
from synthians_memory.storage.paths import split

__all__ = [
    "RINGS",
    "Manifest",
    "Ring",
    "StoredFile",
    "decode_manifest",
    "decode_shard",
    "encode_manifest",
    "encode_shard",
    "require_part_path",
    "require_ring",
    "shard_digits",
    "shard_of",
]

Ring = Literal["hourly", "daily", "manual"]
RINGS: Final[tuple[Ring, ...]] = get_args(Ring)

MANIFEST_FORMAT: Final = 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHARD_NAME: Final = re.compile(r"[0-9a-f]{1,8}")
_MOST: Final = 2**53
_MOST_DIGITS: Final = 5
# A shard has some 4 to 64 entries, so that a change rewrites few lines and a manifest names few shards.
_ENTRIES: Final = 64
# What no part has a file in, or under the name of.
_CORE: Final = frozenset(
    [*(path.split("/")[0] for path in INITIAL_FOLDERS), SUPERBLOCK, LOCK_FILE, INDEX, INDEX_LOG, TEXT]
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is no entity's.

    Attributes:
        path: relative to the store.
        sha256: of all its bytes, as hexadecimal digits.
        size: bytes.
        mtime_ns: of the file that was copied; 0 where it was not copied byte by byte.
    """

    path: str
    sha256: str
    size: int
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot.

    Attributes:
        name: YYYYMMDD_HHMMSS_ffffff, the moment in UTC at which it was begun.
        ring: why it was taken, which decides how long it is kept.
        taken_micros: the moment whose state it holds: every change that was written until then, and no later one.
        facts: the superblock's fields.
        sequence: the last change it holds.
        memories, assemblies: how many it holds.
        digits: by how many digits entities are put into shards.
        shards: digits -> SHA-256 of the shard; shards without entries are left out.
        files: what else it holds.
        parts: names of the parts that were asked for files.
        marks: what parts have noted of themselves before their files were copied, by the names of the parts.
        missing: paths of entities that could not be had as they were acknowledged, damaged files for example.
    """

    name: str
    ring: Ring
    taken_micros: int
    facts: Mapping[str, Any]
    sequence: int
    memories: int
    assemblies: int
    digits: int
    shards: Mapping[str, str]
    files: tuple[StoredFile, ...] = ()
    parts: tuple[str, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def store_id(self) -> str:
        """Whose snapshot it is."""
        return str(self.facts["store_id"])

    @property
    def epoch(self) -> str:
        """The epoch of `sequence`."""
        return str(self.facts["epoch"])


def shard_digits(entities: int) -> int:
    """How many digits part so many entities into shards of a good size."""
    digits = 1
    while digits < _MOST_DIGITS and entities > _ENTRIES * 16**digits:
        digits += 1
    return digits


def shard_of(path: str, digits: int) -> str:
    """The shard of the entity whose file is `path`."""
    return f"{zlib.crc32(path.encode()):08x}"[:digits]


def require_ring(ring: str) -> None:
    """Refuse a ring that is none; raises InvalidValueError."""
    if ring not in RINGS:
        raise InvalidValueError(f"ring is {ring!r}", hint=f"It is one of {', '.join(map(repr, RINGS))}.")


# Shards


def encode_shard(name: str, entries: Iterable[tuple[str, str]]) -> tuple[str, bytes]:
    """SHA-256 and bytes of a shard; equal entries give equal bytes.

    Args:
        name: its digits.
        entries: path and content hash of each entity, in any order.
    """
    lines = ",\n".join([f'["{path}","{digest}"]' for path, digest in sorted(entries)])
    data = f'{{\n  "shard": "{name}",\n  "entities": [\n{lines}\n  ]\n}}\n'.encode()
    return hashlib.sha256(data).hexdigest(), data


def decode_shard(name: str, digest: str, data: bytes) -> dict[str, str]:
    """Path -> content hash of the entities in a shard.

    Raises:
        DamagedBackupError: it does not match its hash, or is no such shard.
    """
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(f"the shard {digest} does not match its hash")
    try:
        found = orjson.loads(data)
        entries = dict(found["entities"])
        if found["shard"] != name or list(found["entities"]) != [list(entry) for entry in sorted(entries.items())]:
            raise ValueError("it is another one, or its entries are out of order")
        for path, entity_digest in entries.items():
            _require_entry(name, path, entity_digest)
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(f"the shard {digest} is none: {error}") from error
    return cast("dict[str, str]", entries)


def _require_entry(name: str, path: object, digest: object) -> None:
    if not isinstance(path, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("an entry is no path with a hash")
    if key_of_path(path) is None or shard_of(path, len(name)) != name:
        raise ValueError(f"{path[:80]!r} has no place in it")


# Manifests


def encode_manifest(manifest: Manifest) -> bytes:
    """The sealed document of `manifest`."""
    fields: JsonObject = {
        "format": MANIFEST_FORMAT,
        "snapshot": manifest.name,
        "ring": manifest.ring,
        "taken": manifest.taken_micros,
        "store": dict(manifest.facts),
        "sequence": manifest.sequence,
        "memories": manifest.memories,
        "assemblies": manifest.assemblies,
        "parts": list(manifest.parts),
        "marks": dict(sorted(manifest.marks.items())),
        "files": [[file.path, file.sha256, file.size, file.mtime_ns] for file in manifest.files],
        "missing": list(manifest.missing),
        "digits": manifest.digits,
        "shards": dict(sorted(manifest.shards.items())),
    }
    return seal(b'  "%s": %s' % (name.encode(), orjson.dumps(value)) for name, value in fields.items())


def decode_manifest(name: str, data: bytes) -> Manifest:
    """The manifest of the snapshot `name`.

    Raises:
        DamagedBackupError: its seal is broken, or it says what no manifest says.
    """
    path = manifest_path(name)
    claimed, computed = unseal(data)
    if claimed != computed:
        raise _damaged(f"{path} does not match its content_hash")
    try:
        found = parse_strict(data, path)
        if not isinstance(found, dict) or found.get("format") != MANIFEST_FORMAT:
            raise ValueError("it is of another format")
        return _checked(name, found)
    except (SynthiansMemoryError, ValueError, TypeError, KeyError) as error:
        text = error.message if isinstance(error, SynthiansMemoryError) else str(error)
        raise _damaged(f"{path} is no manifest: {text}") from error


def _checked(name: str, found: JsonObject) -> Manifest:
    if found["snapshot"] != name or found["ring"] not in RINGS:
        raise ValueError("it is that of another snapshot, or of an unknown ring")
    digits = _count(found["digits"])
    if not 1 <= digits <= _MOST_DIGITS:
        raise ValueError("its shards have no such digits")
    shards = found["shards"]
    if not isinstance(shards, dict):
        raise TypeError("its shards are no object")
    for shard, digest in shards.items():
        if not _SHARD_NAME.fullmatch(shard) or len(shard) != digits or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{shard[:80]!r} is no shard")
    return Manifest(
        name=name,
        ring=found["ring"],
        taken_micros=_count(found["taken"]),
        facts=_facts(found["store"]),
        sequence=_count(found["sequence"]),
        memories=_count(found["memories"]),
        assemblies=_count(found["assemblies"]),
        digits=digits,
        shards=shards,
        files=_files(found["files"]),
        parts=tuple(require_part_path(f"{part}/x")[:-2] for part in found["parts"]),
        marks={_text(part): _text(mark) for part, mark in found["marks"].items()},
        missing=tuple(_text(path) for path in found["missing"]),
    )


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{str(value)[:40]} is no number that belongs there")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is none")
    return value


def _facts(value: object) -> JsonObject:
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("store_id", "epoch")):
        raise ValueError("the facts of its store are none")
    return value


def _files(listed: list[Any]) -> tuple[StoredFile, ...]:
    files = []
    for path, digest, size, mtime_ns in listed:
        if not _DIGEST.fullmatch(digest) or type(mtime_ns) is not int:
            raise ValueError(f"the file {str(path)[:80]!r} has no hash")
        files.append(StoredFile(require_part_path(path), digest, _count(size), mtime_ns))
    paths = [file.path for file in files]
    if paths != sorted(set(paths)):
        raise ValueError("its files stand twice, or out of order")
    known = set(paths)
    for folder in (path[:at] for path in paths for at, character in enumerate(path) if character == "/"):
        if folder in known:
            raise ValueError(f"{folder!r} is a file and a folder")
    return tuple(files)


def require_part_path(path: object) -> str:
    """`path`, if it leads to a file of a part: into no folder of the core, and nowhere out of the store.

    Raises:
        InvalidValueError: it does not.
    """
    if not isinstance(path, str) or not path.isprintable() or len(path.encode()) > 1024:
        raise InvalidValueError(f"{str(path)[:80]!r} is no path of a part's file")
    rest = path
    while rest:
        rest, name = split(rest)
        if is_scratch(name) or len(name.encode()) > 255:
            raise InvalidValueError(f"{path!r} has a name that no file of a part has")
    if "/" not in path:
        raise InvalidValueError(f"{path!r} lies in no folder of a part")
    if path.split("/")[0].lower() in _CORE:
        raise InvalidValueError(f"{path!r} belongs to the store's core")
    return path


def _damaged(message: str) -> DamagedBackupError:
    return DamagedBackupError(message)
