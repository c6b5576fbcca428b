"""The rows of the tiers as values: what happened, what is worked on, what was learned.

They are not in a database: `tables` says how they become rows there.

Each is frozen, takes keywords only, and holds copies of what it is given. Times are whole seconds since 1970 in UTC. An id
that is left out is drawn when the record is stored, and a `timestamp`, `created_at` or `updated_at` that is left out is
the time of storing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from synthians_memory.errors import InvalidTypeError, InvalidValueError, UsageError
from synthians_memory.json_values import JsonObject, JsonValue, copy
from synthians_memory.tiers.values import (
    COUNT,
    FINAL_STATUSES,
    FLAG,
    FRACTION,
    ID,
    INTEGER,
    JSON,
    LEVEL,
    LIST,
    NUMBER,
    OBJECT,
    STATUS,
    STRINGS,
    TEXT,
    TIME,
    TUPLE,
    ColumnType,
)

__all__ = [
    "FINAL_STATUSES",
    "AgentState",
    "ConfigChange",
    "Decision",
    "Event",
    "Goal",
    "Incident",
    "IntelligenceLevel",
    "Knowledge",
    "MetricHour",
    "Pattern",
    "Procedure",
    "Record",
    "Task",
    "ToolCall",
]

IntelligenceLevel = Literal["reactive", "operational", "tactical", "strategic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all records have in common.

    Attributes:
        COLUMNS: name -> type of each field, in the order of the columns.
    """

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {}
    _key: ClassVar[str] = "id"

    def __post_init__(self) -> None:
        """Raises InvalidTypeError, InvalidValueError, InvalidIdError: a field cannot be stored."""
        kind = type(self).__name__.lower()
        for name, column in self.COLUMNS.items():
            object.__setattr__(self, name, column.checked(getattr(self, name), f"{kind}.{name}"))

    @property
    def key(self) -> str:
        """The id, which a record has that was stored; of the state of an agent, the agent's name. UsageError without."""
        key: str | None = getattr(self, self._key)
        if key is None:
            raise UsageError(f"this {type(self).__name__} has no id yet", hint="Take the one that storing it returns.")
        return key

    def to_dict(self) -> JsonObject:
        """As JSON; a copy."""
        return {name: _plain(getattr(self, name)) for name in self.COLUMNS}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `to_dict` gives.

        Raises:
            InvalidValueError: a field is unknown, or a needed one missing; and as the constructor.
        """
        if not isinstance(fields, Mapping):
            raise InvalidTypeError(f"a {cls.__name__} must be an object, not {type(fields).__name__}")
        unknown = [str(name) for name in fields if name not in cls.COLUMNS]
        if unknown:
            known = ", ".join(cls.COLUMNS)
            raise InvalidValueError(f"a {cls.__name__} has no field {unknown[0][:60]!r}", hint=f"It has {known}.")
        try:
            return cls(**fields)
        except InvalidTypeError:
            raise
        except TypeError as error:
            raise InvalidValueError(f"a {cls.__name__} is not complete: {error}") from error


def _plain(value: Any) -> JsonValue:
    return list(value) if isinstance(value, tuple) else copy(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Record):
    """Something that happened; `critical` ones are written through to working memory."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "timestamp": TIME.or_none,
        "category": TEXT,
        "source": TEXT,
        "data": OBJECT,
        "critical": FLAG,
    }

    id: str | None = None
    timestamp: int | None = None
    category: str
    source: str
    data: JsonObject = field(default_factory=dict)
    critical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal(Record):
    """What an agent wants to reach; a lower priority is more urgent. Any status but FINAL_STATUSES is free text."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "description": TEXT,
        "status": STATUS,
        "priority": INTEGER,
        "created_at": TIME.or_none,
        "completed_at": TIME.or_none,
        "result": JSON.or_none,
        "metadata": OBJECT,
    }

    id: str | None = None
    description: str
    status: str = "pending"
    priority: int = 2
    created_at: int | None = None
    completed_at: int | None = None
    result: JsonValue = None
    metadata: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """One step towards a goal."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "goal_id": ID,
        "description": TEXT,
        "agent": TEXT.or_none,
        "status": STATUS,
        "input": JSON.or_none,
        "output": JSON.or_none,
        "started_at": TIME.or_none,
        "completed_at": TIME.or_none,
        "duration_ms": COUNT.or_none,
        "error": TEXT.or_none,
    }

    id: str | None = None
    goal_id: str
    description: str
    agent: str | None = None
    status: str = "pending"
    input: JsonValue = None
    output: JsonValue = None
    started_at: int | None = None
    completed_at: int | None = None
    duration_ms: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(Record):
    """One use of a tool for a task."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "task_id": ID,
        "tool_name": TEXT,
        "agent": TEXT.or_none,
        "input": JSON.or_none,
        "output": JSON.or_none,
        "success": FLAG,
        "duration_ms": COUNT.or_none,
        "reason": TEXT.or_none,
        "timestamp": TIME.or_none,
    }

    id: str | None = None
    task_id: str
    tool_name: str
    agent: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    success: bool
    duration_ms: int | None = None
    reason: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """What was chosen, out of what, and why."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "context": TEXT,
        "options": LIST,
        "chosen": TEXT,
        "reasoning": TEXT,
        "intelligence_level": LEVEL,
        "model_used": TEXT.or_none,
        "outcome": TEXT.or_none,
        "timestamp": TIME.or_none,
    }

    id: str | None = None
    context: str
    options: list[JsonValue] = field(default_factory=list)
    chosen: str
    reasoning: str = ""
    intelligence_level: IntelligenceLevel = "operational"
    model_used: str | None = None
    outcome: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(Record):
    """What to do when something comes again, and how often that went well."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "trigger": TEXT,
        "action": TEXT,
        "success_rate": FRACTION,
        "uses": COUNT,
        "last_used": TIME.or_none,
        "created_from": TEXT.or_none,
    }

    id: str | None = None
    trigger: str
    action: str
    success_rate: float = 0.0
    uses: int = 0
    last_used: int | None = None
    created_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState(Record):
    """The last state that an agent gave of itself."""

    _key: ClassVar[str] = "agent_name"
    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {"agent_name": ID, "state": OBJECT, "updated_at": TIME.or_none}

    agent_name: str
    state: JsonObject = field(default_factory=dict)
    updated_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHour(Record):
    """What one metric was within one hour, which begins at `hour`; more than one may tell of the same hour."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "name": TEXT,
        "hour": TIME,
        "count": COUNT,
        "mean": NUMBER,
        "minimum": NUMBER,
        "maximum": NUMBER,
    }

    id: str | None = None
    name: str
    hour: int
    count: int
    mean: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure(Record):
    """How something is done, and how often that went well."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "name": TEXT,
        "description": TEXT,
        "steps": LIST,
        "success_count": COUNT,
        "fail_count": COUNT,
        "avg_duration_ms": NUMBER.or_none,
        "tags": TUPLE,
        "created_at": TIME.or_none,
        "last_used": TIME.or_none,
    }

    id: str | None = None
    name: str
    description: str = ""
    steps: list[JsonValue] = field(default_factory=list)
    success_count: int = 0
    fail_count: int = 0
    avg_duration_ms: float | None = None
    tags: tuple[str, ...] = ()
    created_at: int | None = None
    last_used: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Record):
    """What went wrong, why, and how it was put right."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "description": TEXT,
        "symptoms": STRINGS,
        "root_cause": TEXT.or_none,
        "resolution": TEXT.or_none,
        "resolved_by": TEXT.or_none,
        "prevention": TEXT.or_none,
        "timestamp": TIME.or_none,
    }

    id: str | None = None
    description: str
    symptoms: list[str] = field(default_factory=list)
    root_cause: str | None = None
    resolution: str | None = None
    resolved_by: str | None = None
    prevention: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange(Record):
    """A file of settings as somebody left it."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "file_path": TEXT,
        "content": TEXT,
        "changed_by": TEXT.or_none,
        "reason": TEXT.or_none,
        "timestamp": TIME.or_none,
    }

    id: str | None = None
    file_path: str
    content: str
    changed_by: str | None = None
    reason: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge(Record):
    """Something to look up."""

    COLUMNS: ClassVar[Mapping[str, ColumnType]] = {
        "id": ID.or_none,
        "title": TEXT,
        "content": TEXT,
        "source": TEXT.or_none,
        "tags": TUPLE,
        "created_at": TIME.or_none,
    }

    id: str | None = None
    title: str
    content: str
    source: str | None = None
    tags: tuple[str, ...] = ()
    created_at: int | None = None
