"""What the two logs hold: decisions and events of telemetry.

It is not their files, to which entries are only ever appended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthians_memory.json_values import JsonObject, checked_object, checked_text
from synthians_memory.state.values import (
    EventType,
    MadeBy,
    checked_choice,
    checked_number,
    checked_optional_text,
    checked_texts,
)

__all__ = ["Decision", "TelemetryEvent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision. Checked when made.

    Attributes:
        decision_type: its category, such as "architecture" or "tooling".
        description: what was decided.
        rationale: why.
        made_by: who decided.
        related_components: the components it is about, in order.
        outcome: what came of it or is expected to; None leaves the field out.

    Raises:
        InvalidTypeError, InvalidValueError: a value that the schema does not know.
    """

    decision_type: str
    description: str
    rationale: str
    made_by: MadeBy | str
    related_components: tuple[str, ...] = ()
    outcome: str | None = None

    def __post_init__(self) -> None:
        for name in ("decision_type", "description", "rationale"):
            object.__setattr__(self, name, checked_text(getattr(self, name), name))
        object.__setattr__(self, "made_by", checked_choice(MadeBy, self.made_by, "made_by"))
        object.__setattr__(self, "related_components", checked_texts(self.related_components, "related_components"))
        object.__setattr__(self, "outcome", checked_optional_text(self.outcome, "outcome"))

    def entry(self, entry_id: str, now: str) -> JsonObject:
        """As it stands in the log, under an id of its own."""
        return _without_none(
            {
                "id": entry_id,
                "timestamp": now,
                "decision_type": self.decision_type,
                "description": self.description,
                "rationale": self.rationale,
                "made_by": str(self.made_by),
                "outcome": self.outcome,
                "related_components": list(self.related_components),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryEvent:
    """One event. Checked when made.

    Attributes:
        event_type: what happened.
        component: where.
        value: what was measured, a finite number; None leaves the field out, as for the two that follow.
        unit: of the value.
        metadata: whatever else is known, a JSON object.

    Raises:
        InvalidTypeError, InvalidValueError: a value that the schema does not know, or that JSON cannot carry.
    """

    event_type: EventType | str
    component: str
    value: float | None = None
    unit: str | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_type", checked_choice(EventType, self.event_type, "event_type"))
        object.__setattr__(self, "component", checked_text(self.component, "component"))
        if self.value is not None:
            object.__setattr__(self, "value", checked_number(self.value, "value"))
        object.__setattr__(self, "unit", checked_optional_text(self.unit, "unit"))
        if self.metadata is not None:
            object.__setattr__(self, "metadata", checked_object(self.metadata, "metadata"))

    def entry(self, entry_id: str, now: str) -> JsonObject:
        """As it stands in the log, under an id of its own."""
        return _without_none(
            {
                "event_id": entry_id,
                "timestamp": now,
                "event_type": str(self.event_type),
                "component": self.component,
                "value": self.value,
                "unit": self.unit,
                "metadata": self.metadata,
            }
        )


def _without_none(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}
