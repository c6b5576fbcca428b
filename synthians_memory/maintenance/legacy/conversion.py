"""What the original code stored, field by field, as the fields of this store's memories and assemblies.

It reads no file, and compares with nothing that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import orjson

from synthians_memory.json_values import JsonObject
from synthians_memory.layout import Kind
from synthians_memory.maintenance.legacy.fitting import Fitting, VectorSpace, is_encodable, substitute_id
from synthians_memory.maintenance.legacy.reading import RepeatedKeys, json_text
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.times import format_time, from_micros

__all__ = [
    "NOTES_KEY",
    "Converted",
    "Standby",
    "convert_assembly",
    "convert_memory",
    "id_in",
    "kind_of",
    "member_id",
    "members_in",
]

# The key of an entity's metadata that holds what could not be kept where it was.
NOTES_KEY: Final = "legacy_import"

_FieldOf = Callable[[Fitting, Any, str], Any]
# Name there -> name here, and how the value gets into it. Of two with one name here the first that is given counts.
_MEMORY: Final[Mapping[str, tuple[str, _FieldOf]]] = {
    "content": ("content", Fitting.text),
    "timestamp": ("created_at", Fitting.time),
    "created_at": ("created_at", Fitting.time),
    "updated_at": ("updated_at", Fitting.time),
    "quickrecal_score": ("quickrecal_score", Fitting.score),
    "quickrecal": ("quickrecal_score", Fitting.score),
    "quickrecal_updated": ("quickrecal_updated", Fitting.time),
    "metadata": ("metadata", Fitting.object),
    "tags": ("tags", Fitting.texts),
    "access_count": ("access_count", Fitting.count),
    "last_access_time": ("last_access_time", Fitting.time),
    "expires_at": ("expires_at", Fitting.time),
    "hyperbolic_embedding": ("hyperbolic_embedding", Fitting.vector),
}
_ASSEMBLY: Final[Mapping[str, tuple[str, _FieldOf]]] = {
    "name": ("name", Fitting.text),
    "description": ("description", Fitting.text),
    "keywords": ("keywords", Fitting.texts),
    "tags": ("tags", Fitting.texts),
    "topics": ("topics", Fitting.texts),
    "metadata": ("metadata", Fitting.object),
    "creation_time": ("created_at", Fitting.time),
    "created_at": ("created_at", Fitting.time),
    "timestamp": ("created_at", Fitting.time),
    "updated_at": ("updated_at", Fitting.time),
    "last_access_time": ("last_access_time", Fitting.time),
    "last_activation": ("last_activation", Fitting.time),
    "activation_level": ("activation_level", Fitting.number),
    "activation_count": ("activation_count", Fitting.count),
    "access_count": ("access_count", Fitting.count),
    "emotion_profile": ("emotion_profile", Fitting.object),
    "is_active": ("is_active", Fitting.flag),
    "merged_from": ("merged_from", Fitting.ids),
    "vector_index_updated_at": ("vector_index_updated_at", Fitting.time),
    "hyperbolic_embedding": ("hyperbolic_embedding", Fitting.vector),
}
_VECTOR: Final[dict[Kind, str]] = {"memory": "embedding", "assembly": "composite_embedding"}
_ID_NAMES: Final[dict[Kind, tuple[str, ...]]] = {"memory": ("id", "memory_id"), "assembly": ("assembly_id", "id")}
_MEMBER_NAMES: Final = ("memories", "members")
_RESERVED: Final = {
    kind: {field.name for field in fields(model)} | {"kind", "id", "memory_id", "assembly_id", "vector_text"}
    for kind, model in (("memory", MemoryEntry), ("assembly", MemoryAssembly))
}
_SIGNS_OF_MEMORY: Final = frozenset(("content", "embedding", "quickrecal_score", "quickrecal"))
_SIGNS_OF_ASSEMBLY: Final = frozenset(("assembly_id", "memories", "members", "composite_embedding"))


@dataclass(frozen=True, slots=True)
class Standby:
    """What is known of an entity besides its file's content, for fields that are missing there.

    Attributes:
        name: the file's name without its ending; stands in for an id.
        mtime_micros: the file's time.
        indexed: what the index says of it.
    """

    name: str
    mtime_micros: int
    indexed: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """One entity, ready for the import.

    Attributes:
        kind, entity_id: whose.
        values: its fields, storable as JSON.
        given: of those, the names of the fields that its own file gave.
        notes: one sentence for each thing that is not in them as it was.
    """

    kind: Kind
    entity_id: str
    values: JsonObject
    given: frozenset[str]
    notes: tuple[str, ...]

    def line(self) -> bytes:
        """The line of JSONL."""
        return orjson.dumps({"kind": self.kind, **self.values})

    def agrees_with(self, other: Converted) -> bool:
        """Whether each field that this one gives is the same in `other`."""
        return all(other.values.get(name) == self.values[name] for name in self.given)


def kind_of(found: Mapping[str, Any], folder: str) -> Kind | None:
    """What an object of the original code is; None for something else.

    Args:
        found: the object.
        folder: "memory" or "assembly" where its folder says so, else "".
    """
    memory, assembly = _SIGNS_OF_MEMORY & found.keys(), _SIGNS_OF_ASSEMBLY & found.keys()
    if assembly and "content" not in found:
        return "assembly"
    if memory:
        return "memory"
    if folder and (folder == "assembly" or found.keys() & {"id", "memory_id"}):
        return "memory" if folder == "memory" else "assembly"
    return None


def id_in(found: Mapping[str, Any], kind: Kind) -> Any:
    """The id that an object gives itself; None where it has none."""
    return next((found[name] for name in _ID_NAMES[kind] if found.get(name) is not None), None)


def members_in(found: Mapping[str, Any]) -> list[Any]:
    """The members that an assembly lists, whole or by their ids."""
    return next((list(found[name]) for name in _MEMBER_NAMES if isinstance(found.get(name), list)), [])


def member_id(member: Any) -> Any:
    """The id of one member of an assembly: its own, or one derived from all that it holds."""
    if not isinstance(member, dict):
        return member
    own = id_in(member, "memory")
    return own if own is not None else substitute_id(json_text(member))


def convert_memory(found: Mapping[str, Any], standby: Standby, space: VectorSpace) -> Converted:
    """The memory in an object of the original code; equal objects give equal memories. Raises nothing for any content."""
    fit = Fitting()
    values = _begun(fit, found, "memory", standby)
    given = _fill(fit, found, values, _MEMORY, "memory", space)
    values.setdefault("content", "")
    if "quickrecal_score" not in values:
        values["quickrecal_score"] = fit.score(standby.indexed.get("quickrecal"), "quickrecal of the index")
    return _finished(fit, values, given, "memory", standby)


def convert_assembly(
    found: Mapping[str, Any], standby: Standby, space: VectorSpace, is_stored_as_memory: Callable[[Any], bool]
) -> Converted:
    """The assembly in an object of the original code, as `convert_memory`.

    Args:
        found: the object.
        standby: for what is missing.
        space: of its composite embedding.
        is_stored_as_memory: whether a whole member object is among the memories just as it stands here; any other
            is kept with the assembly.
    """
    fit = Fitting()
    values = _begun(fit, found, "assembly", standby)
    values["members"] = _members(fit, found, is_stored_as_memory)
    given = _fill(fit, found, values, _ASSEMBLY, "assembly", space)
    activated = found.get("last_activated")
    if activated is not None and values.get("last_activation") is None:
        values["last_activation"] = fit.time(activated, "last_activated")
    return _finished(fit, values, given | {"members"}, "assembly", standby)


def _begun(fit: Fitting, found: Mapping[str, Any], kind: Kind, standby: Standby) -> JsonObject:
    own = id_in(found, kind)
    if own is None:
        own = standby.name
        fit.notes.append(f"it gives no id; the name of its file stands in, {standby.name[:200]!r}")
    if isinstance(found, RepeatedKeys):
        fit.keep("(repeated keys)", found.earlier, "stand twice in the file")
    for name in _ID_NAMES[kind]:
        if found.get(name) is not None and found[name] != own:
            fit.keep(name, found[name], "is another id")
    return {"memory_id" if kind == "memory" else "assembly_id": fit.identifier(own, "id")}


def _members(fit: Fitting, found: Mapping[str, Any], is_stored_as_memory: Callable[[Any], bool]) -> list[str]:
    ids = []
    for number, member in enumerate(members_in(found)):
        where = f"memories[{number}]"
        ids.append(fit.identifier(member_id(member), f"{where}.id"))
        if isinstance(member, dict) and not is_stored_as_memory(member):
            fit.keep(where, member, "differs from the memory of that id; both are kept")
    counted = next((name for name in _MEMBER_NAMES if isinstance(found.get(name), list)), "")
    for name in _MEMBER_NAMES:
        if name != counted and found.get(name) is not None:
            fit.keep(name, found[name], "is no list of members")
    return ids


def _fill(
    fit: Fitting,
    found: Mapping[str, Any],
    values: JsonObject,
    table: Mapping[str, tuple[str, _FieldOf]],
    kind: Kind,
    space: VectorSpace,
) -> frozenset[str]:
    """Put every field of `found` into `values`; the names that it gave."""
    for name, (here, fitted) in table.items():
        if found.get(name) is None:
            continue
        if values.get(here) is not None:
            fit.keep(name, found[name], f"stands beside another {here}")
        else:
            values[here] = fitted(fit, found[name], name)
    vector = _VECTOR[kind]
    values[vector] = fit.vector(found.get(vector), vector, space)
    _fill_unknown(fit, found, values, kind, {*table, vector, *_ID_NAMES[kind], *(_MEMBER_NAMES * (kind == "assembly"))})
    return frozenset(name for name, value in values.items() if value is not None)


def _fill_unknown(fit: Fitting, found: Mapping[str, Any], values: JsonObject, kind: Kind, known: set[str]) -> None:
    """Fields that this store does not know stay under their names where they can."""
    for name, value in found.items():
        if name in known:
            continue
        if name in _RESERVED[kind] or not is_encodable(name):
            fit.keep(json_text(name)[1:-1], value, "has a name that such a field cannot have")
        else:
            values[name] = fit.storable(value, name)


def _finished(fit: Fitting, values: JsonObject, given: frozenset[str], kind: Kind, standby: Standby) -> Converted:
    if values.get("created_at") is None:
        values["created_at"] = fit.time(standby.indexed.get("timestamp"), "timestamp of the index") or _file_time(
            fit, standby
        )
    if fit.originals:
        metadata = values.setdefault("metadata", {}) or {}
        key = NOTES_KEY
        while key in metadata:
            key += "_"
        values["metadata"] = {**metadata, key: {"originals": fit.originals}}
    present = {name: value for name, value in values.items() if value is not None or name not in _RESERVED[kind]}
    entity_id = present["memory_id" if kind == "memory" else "assembly_id"]
    return Converted(kind, entity_id, present, given & present.keys(), tuple(fit.notes))


def _file_time(fit: Fitting, standby: Standby) -> str | None:
    fit.notes.append("it has no time of its own; the time of its file stands in")
    return format_time(from_micros(standby.mtime_micros))
