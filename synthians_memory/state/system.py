"""The system state: a change to it, and what it is when nothing is known yet.

It is not the file: where that is and how it is replaced is up to the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from synthians_memory.errors import InvalidTypeError
from synthians_memory.json_values import JsonObject, checked_text
from synthians_memory.layout import SYSTEM_STATE
from synthians_memory.state.values import (
    Phase,
    checked_choice,
    checked_health,
    checked_optional_text,
    checked_texts,
    list_member,
    object_member,
)

__all__ = ["MANIFEST_VERSION", "StateChange"]

MANIFEST_VERSION: Final = "1.0.0"


def _defaults() -> JsonObject:
    return {
        "manifest_version": MANIFEST_VERSION,
        "system_name": "",
        "org": "",
        "phase": Phase.PLANNING.value,
        "components_status": {},
        "last_action": "",
        "last_action_at": "",
        "health_score": 100,
        "errors": [],
        "warnings": [],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A change of the system state; what is not named stays as it is. Checked when made.

    Attributes:
        system_name: what the system is called.
        org: the organisation that owns it.
        phase: where in its life it is.
        components: the status of components by their names; others keep theirs.
        action: what was done last.
        health_score: 0 to 100.
        errors: added behind those that there are.
        clear_errors: whether those that there are go first.
        warnings: added behind those that there are.
        clear_warnings: whether those that there are go first.

    Raises:
        InvalidTypeError, InvalidValueError: a value that the schema does not know.
    """

    system_name: str | None = None
    org: str | None = None
    phase: Phase | str | None = None
    components: Mapping[str, str] = field(default_factory=dict)
    action: str | None = None
    health_score: int | None = None
    errors: tuple[str, ...] = ()
    clear_errors: bool = False
    warnings: tuple[str, ...] = ()
    clear_warnings: bool = False

    def __post_init__(self) -> None:
        for name in ("system_name", "org", "action"):
            object.__setattr__(self, name, checked_optional_text(getattr(self, name), name))
        if self.phase is not None:
            object.__setattr__(self, "phase", checked_choice(Phase, self.phase, "phase"))
        if self.health_score is not None:
            object.__setattr__(self, "health_score", checked_health(self.health_score, "health_score"))
        object.__setattr__(self, "components", _checked_statuses(self.components))
        for name in ("errors", "warnings"):
            object.__setattr__(self, name, checked_texts(getattr(self, name), name))

    def applied_to(self, found: JsonObject, now: str) -> JsonObject:
        """The state after the change; members that are missing get their defaults, unknown ones stay.

        Args:
            found: what the file says; {} for none.
            now: the time of the change, RFC 3339.

        Raises:
            DamagedFileError: what is to be added to is no object, or no array.
        """
        state = {**found, **{name: value for name, value in _defaults().items() if name not in found}}
        state.update((name, value) for name, value in self._replaced().items() if value is not None)
        if self.components:
            state["components_status"] = {
                **object_member(state, "components_status", SYSTEM_STATE),
                **self.components,
            }
        for member, clear, added in self._lists():
            if clear or added:
                state[member] = [*([] if clear else list_member(state, member, SYSTEM_STATE)), *added]
        state["last_action_at"] = now
        return state

    def _replaced(self) -> dict[str, Any]:
        return {
            "system_name": self.system_name,
            "org": self.org,
            "phase": None if self.phase is None else str(self.phase),
            "last_action": self.action,
            "health_score": self.health_score,
        }

    def _lists(self) -> tuple[tuple[str, bool, tuple[str, ...]], ...]:
        return (
            ("errors", self.clear_errors, self.errors),
            ("warnings", self.clear_warnings, self.warnings),
        )


def _checked_statuses(statuses: object) -> dict[str, str]:
    if not isinstance(statuses, Mapping):
        raise InvalidTypeError(f"components must be an object, not {type(statuses).__name__}")
    return {
        checked_text(name, "the name of a component"): checked_text(status, f"the status of {name}")
        for name, status in statuses.items()
    }
