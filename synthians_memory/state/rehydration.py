"""Rehydration: everything the files of a state say, in one value, whatever is wrong with them.

It changes nothing, takes no lock and raises nothing: files are replaced in one step, so each is read as of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from synthians_memory.errors import DiskError, InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue
from synthians_memory.layout import STATE_FILES
from synthians_memory.state.documents import encode_document, parse_document
from synthians_memory.state.schemas import UNCHECKED, can_check, violations

__all__ = ["Context", "Reading", "rehydrated"]

_MEMBERS: Final = tuple(name.removesuffix(".json") for name in STATE_FILES)


@dataclass(frozen=True, slots=True)
class Context:
    """What a workflow begins with.

    Attributes:
        system_state, architecture_map: objects; None where nothing could be read.
        decision_log, telemetry: arrays, the oldest entry first; None where nothing could be read.
        warnings: what is missing, unreadable or does not fit its schema, in sentences. What does not fit is still
            there, as it was found.
    """

    system_state: JsonValue = None
    decision_log: JsonValue = None
    architecture_map: JsonValue = None
    telemetry: JsonValue = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As one JSON object."""
        members: JsonObject = {name: getattr(self, name) for name in _MEMBERS}
        return {**members, "warnings": list(self.warnings)}

    def to_json(self) -> bytes:
        """The same as bytes, always a JSON document in UTF-8."""
        return encode_document(self.to_dict())


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of reading one file.

    Attributes:
        name: of the file.
        value: what it says; None where it cannot be read, or says null.
        problem: why it cannot be read; "" where it can.
    """

    name: str
    value: JsonValue
    problem: str = ""

    @classmethod
    def of(cls, name: str, read: Callable[[str], bytes | None]) -> Reading:
        """Read the file `name` by `read`, which gives None where it is missing. Raises nothing of what it raises."""
        try:
            data = read(name)
            if data is None:
                return cls(name, None, f"{name} is missing")
            return cls(name, parse_document(data, name))
        except (DiskError, InvalidValueError) as error:
            return cls(name, None, f"{name} cannot be read: {error.message.removeprefix(f'{name}: ')}")

    def warnings(self) -> Iterator[str]:
        """What there is to say of it."""
        if self.problem:
            yield self.problem
        else:
            yield from violations(self.name, self.value)


def rehydrated(read: Callable[[str], bytes | None]) -> Context:
    """The context in the files that `read` reads by their names, None for one that is missing."""
    readings = [Reading.of(name, read) for name in STATE_FILES]
    warnings = [warning for reading in readings for warning in reading.warnings()]
    if not can_check() and not all(reading.problem for reading in readings):
        warnings.append(UNCHECKED)
    values = {member: reading.value for member, reading in zip(_MEMBERS, readings, strict=True)}
    return Context(**values, warnings=tuple(warnings))
