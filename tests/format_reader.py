"""A reader of stores of format version 1 that knows docs/format.md and nothing of the library.

It reads what is intact, and refuses what is not: a store that lost something is not what it is for.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["FormatError", "Key", "ReadStore", "Row", "Vector", "read_store"]

# Kind and id.
Key = tuple[str, str]
Row = dict[str, Any]
Numbers = npt.NDArray[np.float32]

FOLDERS = {"memory": "memories", "assembly": "assemblies"}
KINDS = {1: "memory", 2: "assembly"}
# The rows of the first line of the table of members.
FIELDS = {
    "memory": re.findall(
        r"\w+",
        "memory_id content created_at quickrecal_score quickrecal_updated tags metadata access_count last_access_time"
        " expires_at",
    ),
    "assembly": re.findall(
        r"\w+",
        "assembly_id name description members keywords tags topics metadata created_at last_access_time"
        " last_activation activation_level activation_count access_count emotion_profile is_active merged_from"
        " vector_index_updated_at",
    ),
}
VECTOR_FIELDS = {"memory": "embedding", "assembly": "composite_embedding"}
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789._-"
HASH_LINE = re.compile(rb'  "content_hash": "sha256:([0-9a-f]{64})"\n\}\n\Z')
BACKUP = re.compile(r"memory_index\.\d{8}_\d{6}_\d{6}\.json")


class FormatError(Exception):
    """The store is not as docs/format.md says."""


class Vector(NamedTuple):
    """One vector of the vector index: its number, the hash of the embedding, the row as it is indexed."""

    vector_id: int
    embedding_hash: str
    row: Numbers


@dataclass
class ReadStore:
    """What the files of a store say.

    Attributes:
        superblock: the members of store.json, without the hash.
        entities: the bytes of each entity's file, as they are after the replay.
        replayed: what the journal brought, None for a delete.
        index: the rows of the memory index, before the replay.
        vectors: the vector index, before the replay.
        torn: segments with a torn tail.
        quarantine: what is in quarantine, each with its note.
        backups: the rows in each copy of the memory index.
    """

    superblock: Row
    entities: dict[Key, bytes]
    replayed: dict[Key, bytes | None]
    index: dict[Key, Row]
    vectors: dict[Key, Vector]
    torn: list[str]
    quarantine: dict[str, Row]
    backups: dict[str, dict[Key, Row]]

    def export(self) -> bytes:
        """All entities in the canonical form of JSONL."""
        keys = sorted(self.entities, key=lambda key: (key[0] == "assembly", key[1]))
        return b"".join(canonical_line(key[0], self.entities[key]) for key in keys)

    def embedding(self, key: Key) -> Numbers | None:
        """The vector of an entity."""
        return numbers_of(json.loads(self.entities[key])[VECTOR_FIELDS[key[0]]])


def require(condition: object, complaint: str) -> None:
    """Raise FormatError unless `condition` holds."""
    if not condition:
        raise FormatError(complaint)


def read_store(root: Path) -> ReadStore:
    """Read the store in `root`; FormatError where it is not as documented."""
    superblock = sealed((root / "store.json").read_bytes(), "store.json")
    require(superblock["format_version"] == 1 and not superblock["mandatory_features"], "a store of another format")
    journal = read_journal(root, superblock)
    entities = {key: path.read_bytes() for key, path in entity_paths(root) if key not in journal.replayed}
    entities |= {key: data for key, data in journal.replayed.items() if data is not None}
    for key, data in entities.items():
        require_entity(*key, data)
    return ReadStore(
        superblock=superblock,
        entities=entities,
        replayed=journal.replayed,
        index=read_index(root, superblock, journal),
        vectors=read_vectors(root, superblock, journal),
        torn=journal.torn,
        quarantine=read_quarantine(root),
        backups=read_backups(root),
    )


# Documents and entity files


def sealed(data: bytes, path: str) -> Row:
    """The members of a sealed document, without its hash."""
    found = HASH_LINE.search(data)
    if found is None:
        raise FormatError(f"{path} has no hash line")
    digest = hashlib.sha256(data[: found.start()] + b"}\n").hexdigest()
    require(digest.encode() == found[1], f"{path} does not match its hash")
    require(data.startswith(b"{\n"), f"{path} does not begin with a line of its own")
    members: Row = json.loads(data)
    require(list(members)[-1] == "content_hash", f"{path} does not end with its hash")
    del members["content_hash"]
    return members


def file_name(entity_id: str) -> str:
    """The name of an entity's file."""
    data = entity_id.encode()
    parts = [chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in data]
    if data.startswith(b".") or entity_id.split(".", maxsplit=1)[0] in DEVICES:
        parts[0] = f"%{data[0]:02X}"
    return "".join(parts) + ".json"


def id_of(name: str) -> str | None:
    """The id whose file has that name; None for a name that is nobody's."""
    stem = name.removesuffix(".json")
    unescaped = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), stem.encode())
    try:
        entity_id = unescaped.decode()
    except UnicodeDecodeError:
        return None
    return entity_id if entity_id and file_name(entity_id) == name else None


def entity_paths(root: Path) -> Iterator[tuple[Key, Path]]:
    """The entity files."""
    for kind, folder in FOLDERS.items():
        for path in sorted((root / folder).glob("*")):
            entity_id = id_of(path.name)
            if not path.name.startswith(".scratch-") and entity_id is not None:
                require(path.is_file() and not path.is_symlink(), f"{path} is no regular file")
                yield (kind, entity_id), path


def require_entity(kind: str, entity_id: str, data: bytes) -> None:
    """An entity file has its members in their order, each on a line of its own."""
    members = sealed(data, f"the file of {kind} {entity_id!r}")
    require(members[f"{kind}_id"] == entity_id, f"the file of {entity_id!r} holds another id")
    names, first = list(members), FIELDS[kind]
    last = ["hyperbolic_embedding", VECTOR_FIELDS[kind], "updated_at"]
    require(names[: len(first)] == first and names[-3:] == last, f"{entity_id!r} has its members in another order")
    unknown = names[len(first) : -3]
    require(unknown == sorted(unknown), f"{entity_id!r} has unknown members out of order")
    require([name for name, _ in lines_of(data)] == [*names, "content_hash"], f"{entity_id!r} is not a line a member")


def lines_of(data: bytes) -> Iterator[tuple[str, str]]:
    """Name, and value as it is written, of each member of an entity file."""
    for line in data.decode().split("\n")[1:-2]:
        require(line.startswith('  "'), f"a member is not indented: {line[:40]!r}")
        name, end = json.JSONDecoder().raw_decode(line, 2)
        require(line[end : end + 2] == ": ", f"a member is written otherwise: {line[:40]!r}")
        yield name, line[end + 2 :].removesuffix(",")


def canonical_line(kind: str, data: bytes) -> bytes:
    """The line of JSONL for an entity file: texts and numbers stay as they are written."""
    lines = data.decode().split("\n")[1:-3]
    members = []
    for line, (_, value) in zip(lines, lines_of(data), strict=False):
        name = line[2 : len(line.removesuffix(",")) - len(value) - 2]
        members.append(f"{name}:{value}")
    return ('{"kind":"' + kind + '",' + ",".join(members) + "}\n").encode()


def numbers_of(decimals: list[float] | None) -> Numbers | None:
    """A vector, each decimal rounded to float64, then to float32."""
    return None if decimals is None else np.array(decimals, dtype=np.float64).astype("<f4")


def hash_of(numbers: Numbers) -> str:
    """The embedding hash of a vector."""
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:32]


def embedding_hash(decimals: list[float] | None) -> str | None:
    """The embedding hash of a vector as it is written; None without one."""
    numbers = numbers_of(decimals)
    return None if numbers is None else hash_of(numbers)


# Frames


class Frame(NamedTuple):
    """What stands at a place where a frame should be.

    Attributes:
        offset, end: where.
        sequence, synced_through: of an intact frame header; both 0 where it is none.
        payload: None where it is not intact.
    """

    offset: int
    end: int
    sequence: int
    synced_through: int
    payload: bytes | None


def salt_of(*parts: str) -> int:
    """The CRC of the parts with a zero byte between two."""
    return zlib.crc32(b"\0".join(part.encode() for part in parts))


def frames(data: bytes, offset: int, salt: int) -> Iterator[Frame]:
    """Every frame from `offset` on, and every range that should be one; after that, zeros."""
    while data[offset:].strip(b"\0"):
        frame = frame_at(data, offset, salt)
        if frame.payload is None:
            beyond = range(offset + 8, len(data) - 39, 8)
            end = next((at for at in beyond if frame_at(data, at, salt).sequence), len(data))
            frame = frame._replace(end=end)
        yield frame
        offset = frame.end


def frame_at(data: bytes, offset: int, salt: int) -> Frame:
    """The frame at `offset`, without a sequence where its header is not intact, without a payload where that is not."""
    head = data[offset : offset + 40]
    if (
        len(head) < 40
        or not head.startswith(b"SMF1")
        or zlib.crc32(head[:36], salt) != int.from_bytes(head[36:], "little")
    ):
        return Frame(offset, len(data), 0, 0, None)
    length, sequence, _, synced, crc = struct.unpack_from("<IQqQI", head, 4)
    payload = data[offset + 40 : offset + 40 + length]
    end = offset + (40 + length + 7) // 8 * 8
    intact = len(payload) == length and zlib.crc32(payload, salt) == crc
    require(not intact or not data[offset + 40 + length : end].strip(b"\0"), "a frame is not padded with zeros")
    return Frame(offset, end, sequence, synced, payload if intact else None)


def records(payload: bytes, sequence: int, salt: int) -> Iterator[bytes]:
    """The bodies of the records in a payload; each proves itself as well."""
    own = zlib.crc32(struct.pack("<Q", sequence), salt)
    while payload:
        magic, length, crc = struct.unpack_from("<4sII", payload)
        body, payload = payload[12 : 12 + length], payload[12 + length :]
        require(magic == b"SMR1" and zlib.crc32(body, own) == crc, f"a record of frame {sequence} is not intact")
        yield body


# The journal


@dataclass
class Journal:
    """What the journal says: the changes to replay, the torn tails, and how far it reaches."""

    replayed: dict[Key, bytes | None]
    torn: list[str]
    checkpointed: int = 0
    last: int = 0


class Segment(NamedTuple):
    """One segment of this epoch."""

    name: str
    header: Row
    frames: list[Frame]
    salt: int


def read_journal(root: Path, superblock: Row) -> Journal:
    """Decide which frames count, and read them."""
    segments = list(read_segments(root, superblock))
    require(segments, "no segment has an intact header")
    journal = Journal({}, [], max(segment.header["checkpointed_through"] for segment in segments))
    claims = [journal.checkpointed, *(segment.header["first_sequence"] - 1 for segment in segments)]
    claimed = max([*claims, *(frame.synced_through for segment in segments for frame in segment.frames)])
    for place, segment in enumerate(segments):
        limit = min((later.header["first_sequence"] for later in segments[place + 1 :]), default=2**64)
        before = segment.header["last_sequence"]
        require(before <= max(journal.last, journal.checkpointed), f"frames before {segment.name} are missing")
        journal.last = max(journal.last, before)
        take_frames(journal, segment, limit, claimed)
        if journal.torn:
            break
    journal.last = max(journal.last, journal.checkpointed)
    return journal


def read_segments(root: Path, superblock: Row) -> Iterator[Segment]:
    """The segments of this store and epoch, in the order of their numbers."""
    named = [(path, re.fullmatch(r"([0-9]{10,18})\.wal", path.name)) for path in (root / "journal").iterdir()]
    for number, path in sorted((int(found[1]), path) for path, found in named if found):
        data = path.read_bytes()
        magic, length, crc = struct.unpack_from("<4sII", data)
        text = data[12 : 12 + length]
        require(magic == b"SMJ1" and zlib.crc32(text) == crc, f"the header of {path.name} is not intact")
        require(not data[12 + length : 4096].strip(b"\0"), f"the header block of {path.name} does not end with zeros")
        header = json.loads(text)
        identity = (header["store_id"], header["epoch"])
        if identity != (superblock["store_id"], superblock["epoch"]):
            continue
        require(header["number"] == number, f"{path.name} is another segment")
        require(header["facts"].keys() <= superblock.keys(), f"{path.name} has other facts")
        salt = salt_of(*identity, str(number))
        yield Segment(path.name, header, list(frames(data, 4096, salt)), salt)


def take_frames(journal: Journal, segment: Segment, limit: int, claimed: int) -> None:
    """Replay the frames of a segment that count, up to a torn tail."""
    begun = False
    for frame in segment.frames:
        number = frame.sequence or journal.last + 1
        if number >= limit:
            continue
        if frame.payload is None:
            require(number > claimed, f"frame {number} in {segment.name} is damaged")
            journal.torn.append(segment.name)
            return
        require(number > journal.last and (not begun or number == journal.last + 1), f"no frame before {number}")
        begun, journal.last = True, number
        for body in records(frame.payload, number, segment.salt):
            key, data = change_of(body)
            if number > journal.checkpointed:
                journal.replayed[key] = data


def change_of(body: bytes) -> tuple[Key, bytes | None]:
    """What a record of the journal changes."""
    form, operation, kind, zero, id_length, length = struct.unpack_from("<BBBBII", body)
    require((form, zero, len(body)) == (1, 0, 52 + id_length + length), "a record has another form")
    key = (KINDS[kind], body[52 : 52 + id_length].decode())
    data = body[52 + id_length :]
    require(operation in (1, 2) and (operation == 1) == bool(data), "a record has an unknown operation")
    return key, data if operation == 1 else None


# The memory index


def read_index(root: Path, superblock: Row, journal: Journal) -> dict[Key, Row]:
    """The rows of snapshot and log; none before the first checkpoint."""
    if not (journal.checkpointed or (root / "memory_index.json").exists()):
        return {}
    document = sealed((root / "memory_index.json").read_bytes(), "memory_index.json")
    metadata = document["metadata"]
    require((metadata["version"], metadata["epoch"]) == ("1", superblock["epoch"]), "the memory index is foreign")
    require(metadata["store"].keys() == superblock.keys(), "the memory index has other facts")
    for kind, folder in FOLDERS.items():
        require(metadata[f"{kind}_count"] == len(document[folder]), f"the memory index counts other {folder}")
    rows = index_rows(document)
    reached = apply_index_log(root, metadata, rows)
    require(journal.checkpointed <= reached <= journal.last, "the memory index does not fit the journal")
    return rows


def apply_index_log(root: Path, metadata: Row, rows: dict[Key, Row]) -> int:
    """Apply the groups of memory_index.log that the snapshot does not have; the sequence they reach."""
    reached: int = metadata["sequence"]
    log = root / "memory_index.log"
    if not log.exists():
        return reached
    lines = log.read_bytes().decode().split("\n")
    header = json.loads(lines[0])
    require((header["log"], header["version"]) == ("memory_index", 1), "memory_index.log has another header")
    if header["epoch"] != metadata["epoch"] or header["snapshot"] > reached:
        return reached
    group: list[str] = []
    for line in lines[1:-1]:
        if not line.startswith('{"commit":'):
            group.append(line)
            continue
        commit = json.loads(line)
        text = "\n".join([*group, str(commit["commit"]), commit["epoch"]])
        if f"{zlib.crc32(text.encode()):08x}" != commit["crc"] or commit["epoch"] != metadata["epoch"]:
            break
        if commit["commit"] > reached:
            apply_lines(rows, group)
            reached = commit["commit"]
        group = []
    return reached


def index_rows(document: Row) -> dict[Key, Row]:
    """The rows in memory_index.json, or in a copy of it."""
    for folder in FOLDERS.values():
        require(list(document[folder]) == sorted(document[folder]), f"the {folder} of the index are out of order")
    require(list(document) == [*FOLDERS.values(), "metadata"], "the memory index has other members")
    return {(kind, i): row for kind, folder in FOLDERS.items() for i, row in document[folder].items()}


def apply_lines(rows: dict[Key, Row], group: list[str]) -> None:
    """Apply one group of memory_index.log."""
    for change in map(json.loads, group):
        if "put" in change:
            rows[change["put"], change["id"]] = change["row"]
        else:
            rows.pop((change["remove"], change["id"]), None)


def read_backups(root: Path) -> dict[str, dict[Key, Row]]:
    """The copies of the memory index, by name."""
    paths = [path for path in (root / "backups" / "index").glob("*") if BACKUP.fullmatch(path.name)]
    return {path.name: index_rows(sealed(path.read_bytes(), path.name)) for path in sorted(paths)}


# The vector index


def read_vectors(root: Path, superblock: Row, journal: Journal) -> dict[Key, Vector]:
    """The vectors of snapshot and log; none where there never was a vector, or a checkpoint."""
    mapping = root / "vector_index" / "mapping.json"
    if superblock["embedding_dimension"] is None:
        require(not mapping.exists(), "there is a vector index, but no dimension")
        return {}
    if not (journal.checkpointed or mapping.exists()):
        return {}
    document = sealed(mapping.read_bytes(), "mapping.json")
    metadata = document["metadata"]
    require(metadata["version"] == 1 and metadata["epoch"] == superblock["epoch"], "the vector index is foreign")
    for name, fact in (("store_id", "store_id"), ("dimension", "embedding_dimension"), ("metric", "metric")):
        require(metadata[name] == superblock[fact], f"the vector index has another {name}")
    slots = [((kind, i), slot) for kind, folder in FOLDERS.items() for i, slot in document[folder].items()]
    rows = faiss_rows(root, metadata)
    require(len(rows) == len(slots), "mapping.json and the FAISS file have different lengths")
    vectors = {key: Vector(slot[0], slot[1], row) for (key, slot), row in zip(slots, rows, strict=True)}
    reached = apply_vectors_log(root, metadata, vectors)
    require(journal.checkpointed <= reached <= journal.last, "the vector index does not fit the journal")
    numbers = [vector.vector_id for vector in vectors.values()]
    require(len(set(numbers)) == len(numbers), "a vector id is given twice")
    return vectors


def faiss_rows(root: Path, metadata: Row) -> Numbers:
    """The rows in the FAISS file that belongs to mapping.json."""
    paths = (root / "vector_index" / f"memory_vectors.faiss{suffix}" for suffix in ("", ".next"))
    files = [path.read_bytes() for path in paths if path.exists()]
    data = next((d for d in files if hashlib.sha256(d).hexdigest() == metadata["faiss_sha256"]), b"")
    require(len(data) == metadata["faiss_bytes"], "no FAISS file belongs to mapping.json")
    magic, dimension, rows, _, _, trained, metric, numbers = struct.unpack_from("<4siqqq?iQ", data)
    kind = (b"IxF2", 1) if metadata["metric"] == "l2" else (b"IxFI", 0)
    require((magic, metric) == kind and trained, "the FAISS file holds another kind of index")
    require(dimension == metadata["dimension"] and numbers == rows * dimension, "the FAISS file has other sizes")
    require(len(data) == 45 + 4 * numbers, "the FAISS file has another length")
    return np.frombuffer(data, "<f4", numbers, 45).reshape(rows, dimension)


def apply_vectors_log(root: Path, metadata: Row, vectors: dict[Key, Vector]) -> int:
    """Apply the groups of vectors.log that the snapshot does not have; the sequence they reach."""
    reached: int = metadata["sequence"]
    log = root / "vector_index" / "vectors.log"
    if not log.exists():
        return reached
    data, salt = log.read_bytes(), salt_of("vectors.log", metadata["store_id"])
    head = frame_at(data, 0, salt)
    require(head.payload is not None, "vectors.log has no header")
    header = json.loads(next(records(head.payload or b"", head.sequence, salt)))
    require((header["log"], header["version"]) == ("vectors", 1), "vectors.log has another header")
    if header["epoch"] != metadata["epoch"] or header["snapshot"] > reached:
        return reached
    salt = salt_of("vectors.log", metadata["store_id"] + header["epoch"])
    for frame in frames(data, head.end, salt):
        if frame.payload is None:
            break
        if frame.sequence > reached:
            reached = frame.sequence
            for body in records(frame.payload, frame.sequence, salt):
                take_vector(vectors, body, metadata["dimension"])
    return reached


def take_vector(vectors: dict[Key, Vector], body: bytes, dimension: int) -> None:
    """Apply one record of vectors.log."""
    kind, id_length, vector_id, embedding_hash = struct.unpack_from("<BHQ16s", body)
    row = np.frombuffer(body[27 + id_length :], "<f4")
    key = (KINDS[kind], body[27 : 27 + id_length].decode())
    vectors.pop(key, None)
    require(len(row) in (0, dimension), "a vector has another length")
    if len(row):
        vectors[key] = Vector(vector_id, embedding_hash.hex(), row)
    else:
        require(not vector_id and not any(embedding_hash), "a removal names a vector")


# Quarantine


def read_quarantine(root: Path) -> dict[str, Row]:
    """Path in quarantine -> the note that says where it came from, and why."""
    found: dict[str, Row] = {}
    for folder in sorted((root / "quarantine").glob("*_*_*")):
        require(re.fullmatch(r"\d{8}_\d{6}_\d{6}", folder.name), f"{folder.name} is no moment")
        names = {path.name for path in folder.iterdir()}
        note_name = "of_reason.json" if "of_reason.json" in names else "reason.json"
        note = json.loads((folder / note_name).read_bytes())
        require(list(note) == ["path", "folder", "reason", "time"], f"{folder.name} has another note")
        name = note["path"].rpartition("/")[2]
        require(name == "reason.json" or note_name == "reason.json", f"{folder.name} has its note under another name")
        require(names - {name, note_name} <= {"salvaged.json"}, f"{folder.name} holds something else")
        if name in names:
            # The note is written first.
            found[f"{folder.name}/{name}"] = note
    return found
