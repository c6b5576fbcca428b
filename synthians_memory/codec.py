"""The bytes of an entity: its sealed file, its line of JSONL, and the seal that both views and files carry.

It is not storage: bytes come in and go out, nothing is read or written.

A sealed document is a JSON object with one top-level field per line whose last line is
`"content_hash": "sha256:..."`, the SHA-256 of the document's bytes without that line. docs/format.md
is the normative description.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
import orjson

from synthians_memory.errors import DamagedFileError, InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.hashing import embedding_hash, hasher_of
from synthians_memory.json_values import JsonObject, checked_copy, checked_object, parse_strict
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector
from synthians_memory.times import format_time, from_micros, to_micros

if TYPE_CHECKING:
    from _hashlib import HASH

__all__ = [
    "MODELS",
    "Draft",
    "Inspection",
    "Line",
    "Version",
    "content_hash_text",
    "damaged_file",
    "decode_sealed",
    "encode",
    "inspect",
    "line_of",
    "parse_line",
    "seal",
    "seal_pieces",
    "sealed_version",
    "unseal",
    "version_of",
]

MODELS: Final[dict[Kind, type[Entity]]] = {"memory": MemoryEntry, "assembly": MemoryAssembly}

# The order of the lines in a file. The two that the store stamps stand last; unknown fields stand
# before the vectors, in the order of their names.
_LEADING: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": (
        "memory_id",
        "content",
        "created_at",
        "quickrecal_score",
        "quickrecal_updated",
        "tags",
        "metadata",
        "access_count",
        "last_access_time",
        "expires_at",
    ),
    "assembly": (
        "assembly_id",
        "name",
        "description",
        "members",
        "keywords",
        "tags",
        "topics",
        "metadata",
        "created_at",
        "last_access_time",
        "last_activation",
        "activation_level",
        "activation_count",
        "access_count",
        "emotion_profile",
        "is_active",
        "merged_from",
        "vector_index_updated_at",
    ),
}
_VECTORS: Final[dict[Kind, tuple[str, ...]]] = {
    "memory": ("hyperbolic_embedding", "embedding"),
    "assembly": ("hyperbolic_embedding", "composite_embedding"),
}
_TIMES: Final = frozenset(
    [
        "created_at",
        "updated_at",
        "quickrecal_updated",
        "last_access_time",
        "expires_at",
        "last_activation",
        "vector_index_updated_at",
    ]
)
_FLOATS: Final[dict[Kind, str]] = {"memory": "quickrecal_score", "assembly": "activation_level"}
_TUPLES: Final = frozenset(["tags", "members", "keywords", "topics", "merged_from"])

_HASH_LINE: Final = b'  "content_hash": "sha256:'
_HASH_END: Final = b'"\n}\n'
_HASH_TAIL: Final = len(_HASH_LINE) + 64 + len(_HASH_END)
# A hash line whose name is another one of the same length: a person takes the whole line away.
_UNNAMED_SEAL: Final = re.compile(rb'\n  "[^"\n]{12}": "sha256:[0-9a-f]{64}"\n}\n\Z')
# The one positive float32 whose shortest decimal, read as a double and rounded, gives its neighbour.
_DOUBLY_ROUNDED: Final = 0x15AE43FD  # found by trying all of them
_DOUBLY_ROUNDED_TEXT: Final = orjson.dumps(
    np.array([_DOUBLY_ROUNDED], "<u4").view("<f4"), option=orjson.OPT_SERIALIZE_NUMPY
)[1:-1]


@dataclass(frozen=True, slots=True)
class Draft:
    """An entity encoded at the call, all but the two lines that the writer stamps.

    Attributes:
        kind, entity_id: whose.
        entity: the validated value.
        head: the file's bytes up to the stamped lines.
        hasher: SHA-256 fed with `head`; copied, never updated.
        embedding_hash: see `hashing.embedding_hash`; None without a vector.
    """

    kind: Kind
    entity_id: str
    entity: Entity
    head: bytes
    hasher: HASH
    embedding_hash: bytes | None

    def stamp(self, updated_micros: int) -> Version:
        """The complete version, updated at `updated_micros` microseconds since 1970."""
        updated_at = from_micros(updated_micros)
        tail = b'  "updated_at": "%s",\n' % format_time(updated_at).encode()
        hasher = self.hasher.copy()
        hasher.update(tail + b"}\n")
        data = b"".join((self.head, tail, _HASH_LINE, hasher.hexdigest().encode(), _HASH_END))
        return Version(
            self.kind, self.entity_id, self.entity, self.embedding_hash, updated_micros, hasher.digest(), data
        )

    @property
    def size(self) -> int:
        """Bytes of the stamped file, within a handful."""
        return len(self.head) + _HASH_TAIL + 48


@dataclass(frozen=True, slots=True)
class Version:
    """One complete version of an entity: what its file holds.

    Attributes:
        kind, entity_id: whose.
        entity: the value; of a fresh version without the stamped fields.
        embedding_hash: see `hashing.embedding_hash`; None without a vector.
        updated_micros: its update time, microseconds since 1970.
        hash: the 32 bytes of its content hash.
        data: the file's bytes.
    """

    kind: Kind
    entity_id: str
    entity: Entity
    embedding_hash: bytes | None
    updated_micros: int
    hash: bytes
    data: bytes

    def stored_entity(self) -> Entity:
        """The entity with update time and content hash set; shares nothing mutable with the caller's."""
        return self.entity.detached(
            updated_at=from_micros(self.updated_micros), content_hash=content_hash_text(self.hash)
        )


def content_hash_text(digest: bytes) -> str:
    """The written form of a content hash."""
    return "sha256:" + digest.hex()


def encode(entity: Entity) -> Draft:
    """The entity as bytes, lacking only the stamped lines; the draft shares nothing mutable with it.

    Deterministic; thread-safe.

    Raises:
        InvalidTypeError, InvalidValueError: by what was put into one of its objects after construction.
    """
    entity = entity.rechecked()
    lines = [b'  "%s": %s,\n' % (name.encode(), text) for name, text in _encoded_fields(entity)]
    head = b"".join((b"{\n", *lines))
    return Draft(entity.kind, entity.entity_id, entity, head, hasher_of(head), embedding_hash(entity.vector))


def _encoded_fields(entity: Entity) -> Iterable[tuple[str, bytes]]:
    state = entity.__dict__
    for name in _LEADING[entity.kind]:
        yield name, _json(state[name])
    for name in sorted(state["extra"]):
        # A name may hold any character, so it is encoded like any other string.
        yield orjson.dumps(name)[1:-1].decode(), orjson.dumps(state["extra"][name])
    for name in _VECTORS[entity.kind]:
        yield name, _vector_json(getattr(entity, name))


def _json(value: object) -> bytes:
    return orjson.dumps(format_time(value) if isinstance(value, datetime) else value)


def _vector_json(vector: Vector | None) -> bytes:
    if vector is None:
        return b"null"
    text = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
    if text.rfind(_DOUBLY_ROUNDED_TEXT) < 0:
        return text
    exceptional = (vector.view("<u4") & 0x7FFFFFFF) == _DOUBLY_ROUNDED
    numbers = text[1:-1].split(b",")
    for i in np.flatnonzero(exceptional):
        numbers[i] = repr(float(vector[i])).encode()
    return b"[" + b",".join(numbers) + b"]"


def seal(lines: Iterable[bytes]) -> bytes:
    """A sealed document of the given lines, each `"name": value` without its comma."""
    return b"".join(seal_pieces(line + b",\n" for line in lines))


def seal_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A sealed document as a stream; `pieces` together are whole fields, each ended by a comma and a newline."""
    hasher = hashlib.sha256(b"{\n")
    yield b"{\n"
    for piece in pieces:
        hasher.update(piece)
        yield piece
    hasher.update(b"}\n")
    yield _HASH_LINE + hasher.hexdigest().encode() + _HASH_END


def unseal(data: bytes) -> tuple[bytes | None, bytes]:
    """The hash a document proves (b"" where its hash line is wrong, None where it has none) and the one it has."""
    tail = data[-_HASH_TAIL:]
    if len(tail) == _HASH_TAIL and tail.startswith(_HASH_LINE) and tail.endswith(_HASH_END):
        claimed = tail[len(_HASH_LINE) : -len(_HASH_END)]
        body = memoryview(data)[:-_HASH_TAIL]
        hasher = hashlib.sha256(body)
        hasher.update(b"}\n")
        if claimed == hasher.hexdigest().encode():
            return hasher.digest(), hasher.digest()
        return b"", hasher.digest()
    return None, hashlib.sha256(data).digest()


def version_of(data: bytes) -> bytes | None:
    """The content hash of a sealed file; None where the seal is broken or missing."""
    claimed, computed = unseal(data)
    return computed if claimed == computed else None


def sealed_version(kind: Kind, data: bytes) -> Version:
    """The version whose file is `data`, known to be intact and valid."""
    entity = decode_sealed(kind, data)
    stamped = entity.__dict__["updated_at"]
    micros = to_micros(stamped if stamped is not None else entity.__dict__["created_at"])
    return Version(kind, entity.entity_id, entity, embedding_hash(entity.vector), micros, unseal(data)[1], data)


def decode_sealed(kind: Kind, data: bytes) -> Entity:
    """The entity in a file that `inspect` calls sealed, and equal to the one it gives; its fields are not checked again.

    The vector of a file in the canonical form is decoded when it is first read. Thread-safe.
    """
    vector_field = _VECTORS[kind][1]
    vector_text, rest = _cut_vector(data, vector_field)
    state: JsonObject = orjson.loads(rest)
    if not _is_canonical(kind, state, vector_text):
        found = parse_strict(data, "file")
        return _validated(kind, found).detached(content_hash=found.get("content_hash"))
    return _assemble(kind, state, vector_field, vector_text)


def _cut_vector(data: bytes, vector_field: str) -> tuple[bytes | None, bytes]:
    """The vector's text where it is one line of numbers, and the document without that line."""
    marker = b'\n  "%s": [' % vector_field.encode()
    start = data.rfind(marker)
    if start < 0:
        return None, data
    end = data.index(b"\n", start + 1)
    text = data[start + len(marker) - 1 : end - 1]
    # Another program's line may hold more than the vector, or only the beginning of it, or stand elsewhere.
    if text.find(b"]") != len(text) - 1 or not data.startswith(b',\n  "updated_at":', end - 1):
        return None, data
    return text, data[:start] + data[end:]


def _is_canonical(kind: Kind, state: JsonObject, vector_text: bytes | None) -> bool:
    """Whether a sealed document has the fields, and the forms of numbers and times, that `encode` writes."""
    leading = _LEADING[kind]
    hyperbolic, vector = _VECTORS[kind]
    ending = (hyperbolic, *((vector,) if vector_text is None else ()), "updated_at", "content_hash")
    names = tuple(state)
    return (
        names[: len(leading)] == leading
        and names[-len(ending) :] == ending
        and all(map(operator.lt, extra := names[len(leading) : -len(ending)], extra[1:]))
        and (vector_text is not None or state[vector] is None)
        and type(state[_FLOATS[kind]]) is float
        and all(state[name] is None or state[name][-1] == "Z" for name in names if name in _TIMES)
    )


def _assemble(kind: Kind, found: JsonObject, vector_field: str, vector_text: bytes | None) -> Entity:
    entity = object.__new__(MODELS[kind])
    state = entity.__dict__
    for name in _KNOWN[kind]:
        value = found.pop(name, None)
        if value is not None:
            if name in _TIMES:
                value = datetime.fromisoformat(value)
            elif name in _TUPLES:
                value = tuple(value)
        state[name] = value
    hyperbolic = state["hyperbolic_embedding"]
    if hyperbolic is not None:
        state["hyperbolic_embedding"] = np.frombuffer(np.array(hyperbolic, dtype="<f4").tobytes(), dtype="<f4")
    if vector_text is not None:
        del state[vector_field]
        state["vector_text"] = vector_text
    state["extra"] = found
    return entity


_KNOWN: Final[dict[Kind, tuple[str, ...]]] = {
    kind: (*_LEADING[kind], *_VECTORS[kind], "updated_at", "content_hash") for kind in _LEADING
}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file that may be anything holds.

    Attributes:
        state: "sealed" (its hash line is right), "edited" (it has none, and validates) or "damaged".
        hash: the computed content hash.
        entity: the validated entity; None where it is damaged beyond that.
        reason: why it is damaged.
        data: the file's bytes.
    """

    state: Literal["sealed", "edited", "damaged"]
    hash: bytes
    entity: Entity | None
    reason: str
    data: bytes

    @property
    def adoptable(self) -> bool:
        """Whether the bytes parse and validate, whatever the hash line says."""
        return self.entity is not None


def inspect(kind: Kind, entity_id: str, data: bytes) -> Inspection:
    """Judge a file found under the name of `entity_id`. Raises nothing; thread-safe."""
    claimed, computed = unseal(data)
    try:
        found = parse_strict(data, "file")
        if not isinstance(found, dict):
            raise InvalidTypeError("file: not a JSON object")
        has_hash = "content_hash" in found
        entity = _validated(kind, found)
        if entity.entity_id != entity_id:
            reason = f"it holds {entity.entity_id!r}, which belongs into another file"
            return Inspection("damaged", computed, None, reason, data)
    except SynthiansMemoryError as error:
        return Inspection("damaged", computed, None, error.message, data)
    if not has_hash and _UNNAMED_SEAL.search(data):
        return Inspection("damaged", computed, entity, "the name of its content_hash is damaged", data)
    if not has_hash:
        return Inspection("edited", computed, entity, "", data)
    if claimed != computed:
        return Inspection("damaged", computed, entity, "its content does not match its content_hash", data)
    # Their defaults depend on when the file is read; in a file of its own that would change what it holds.
    missing = [name for name in ("created_at", "updated_at") if found.get(name) is None]
    if missing:
        return Inspection("damaged", computed, entity, f"it is sealed without {' and '.join(missing)}", data)
    if not _is_own_form(kind, data):
        # Somebody else's writer: what it says is taken over, in the canonical form.
        return Inspection("edited", computed, entity, "", data)
    return Inspection("sealed", computed, entity, "", data)


def _is_own_form(kind: Kind, data: bytes) -> bool:
    # Not by encoding again: how a number is written (1e16, 1e+16) differs between versions of orjson.
    vector_text, rest = _cut_vector(data, _VECTORS[kind][1])
    return _is_canonical(kind, orjson.loads(rest), vector_text)


def _validated(kind: Kind, found: JsonObject) -> Entity:
    """The entity made of the fields of a file or line; raises the library's errors."""
    model = MODELS[kind]
    known = {name: value for name, value in found.items() if name in _KNOWN[kind] and name != "content_hash"}
    for name in model.id_field, *(("content",) if kind == "memory" else ()):
        if name not in known:
            raise InvalidValueError(f"the field {name!r} is missing")
    extra = {name: value for name, value in found.items() if name not in _KNOWN[kind]}
    entity: Entity = cast(Any, model)(**known, extra=extra)
    return entity


@dataclass(frozen=True, slots=True)
class Line:
    """One object of JSONL.

    Attributes:
        entity: the validated entity.
        given: names of the fields that the line itself gave; the others hold their defaults.
    """

    entity: Entity
    given: frozenset[str]


def line_of(entity: Entity) -> bytes:
    """The canonical JSONL line of a stored entity, without its line break."""
    parts = [b'{"kind":"%s"' % entity.kind.encode()]
    parts += [b'"%s":%s' % (name.encode(), text) for name, text in _encoded_fields(entity)]
    parts.append(b'"updated_at":%s}' % _json(entity.__dict__["updated_at"]))
    return b",".join(parts)


def parse_line(data: bytes) -> Line:
    """The entity in one line of JSONL.

    "kind" decides; without it an object with "members" and no "content" is an assembly. "id" is
    accepted for the id; "assembly_id" on a memory goes to its metadata; "content_hash" is ignored. A
    line without an id gets one derived from all it holds, so that equal lines are one entity.

    Raises:
        InvalidValueError, InvalidTypeError: by what is wrong.
    """
    found = parse_strict(data, "line")
    if not isinstance(found, dict):
        raise InvalidTypeError("line: not a JSON object")
    kind = _kind_of(found)
    id_field = MODELS[kind].id_field
    found.pop("content_hash", None)
    if "id" in found:
        if id_field in found:
            raise InvalidValueError(f"line: both 'id' and {id_field!r} are given")
        found[id_field] = found.pop("id")
    if id_field not in found:
        found[id_field] = _derived_id(kind, found)
    if kind == "memory" and "assembly_id" in found:
        metadata = checked_object(found.get("metadata", {}), "metadata")
        assembly_id = found.pop("assembly_id")
        if metadata.setdefault("assembly_id", assembly_id) != assembly_id:
            raise InvalidValueError("line: 'assembly_id' and the one in its metadata differ")
        found["metadata"] = metadata
    return Line(_validated(kind, found), frozenset(found))


def _kind_of(found: JsonObject) -> Kind:
    kind = found.pop("kind", None)
    if kind is None:
        return "assembly" if "members" in found and "content" not in found else "memory"
    if not isinstance(kind, str) or kind not in MODELS:
        raise InvalidValueError(f"line: the kind {str(kind)[:40]!r} is unknown", hint='Write "memory" or "assembly".')
    return kind


def _derived_id(kind: Kind, found: JsonObject) -> str:
    # Checked, since what Python reads may be nested too deeply for it to write; the line is no level of its fields.
    checked = checked_copy(found, "line", -1)
    canonical = json.dumps([kind, checked], sort_keys=True, separators=(",", ":"))
    return f"{kind[0]}-{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"


def damaged_file(path: str, reason: str) -> DamagedFileError:
    """The error for an entity file that is not served."""
    return DamagedFileError(f"{path} is damaged: {reason}", path=path)
