"""The architecture map: a change to it, and what a component is of which little is known yet.

It is not the file, and draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from synthians_memory.errors import EntityNotFoundError, InvalidValueError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import ARCHITECTURE_MAP
from synthians_memory.state.values import (
    checked_health,
    checked_optional_text,
    checked_texts,
    list_member,
    object_member,
)

__all__ = ["MapChange"]

_OF_A_COMPONENT: Final = ("component_type", "path", "status", "dependencies", "health")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChange:
    """A change of the architecture map; what is not named stays as it is. Checked when made.

    Attributes:
        system_name: what the system is called.
        component: name of the component that is changed, or added; what follows is about it.
        component_type: what kind of thing it is.
        path: where its source is.
        status: how it is.
        dependencies: names of all components that it needs; takes the place of those that there are.
        health: 0 to 100.
        removed: names of components that go, with what they need; what needs them is left as it is.

    Raises:
        InvalidTypeError, InvalidValueError: a value that the schema does not know; something about a component
            without its name.
    """

    system_name: str | None = None
    component: str | None = None
    component_type: str | None = None
    path: str | None = None
    status: str | None = None
    dependencies: Sequence[str] | None = None
    health: int | None = None
    removed: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("system_name", "component", "component_type", "path", "status"):
            object.__setattr__(self, name, checked_optional_text(getattr(self, name), name))
        if self.dependencies is not None:
            object.__setattr__(self, "dependencies", checked_texts(self.dependencies, "dependencies"))
        if self.health is not None:
            object.__setattr__(self, "health", checked_health(self.health, "health"))
        object.__setattr__(self, "removed", checked_texts(self.removed, "removed"))
        self._require_sense()

    def _require_sense(self) -> None:
        given = [name for name in _OF_A_COMPONENT if getattr(self, name) is not None]
        if given and self.component is None:
            raise InvalidValueError(f"{given[0]} is given, and no component", hint="Name the component as well.")
        if self.component is not None and self.component in self.removed:
            raise InvalidValueError(f"the component {self.component!r} is both changed and removed")

    def applied_to(self, found: JsonObject, now: str) -> JsonObject:
        """The map after the change; members that are missing get their defaults, unknown ones stay.

        Args:
            found: what the file says; {} for none.
            now: the time of the change, RFC 3339.

        Raises:
            EntityNotFoundError: a component that is to be removed is not there.
            DamagedFileError: what is to be changed is no object, or no array.
        """
        defaults = {"system_name": "", "components": [], "dependency_graph": {}, "last_updated": ""}
        changed = {**found, **{name: value for name, value in defaults.items() if name not in found}}
        if self.system_name is not None:
            changed["system_name"] = self.system_name
        if self.component is not None or self.removed:
            changed["components"] = list(list_member(changed, "components", ARCHITECTURE_MAP))
            changed["dependency_graph"] = dict(object_member(changed, "dependency_graph", ARCHITECTURE_MAP))
        for name in self.removed:
            _remove(changed, name)
        if self.component is not None:
            self._put(changed, self.component)
        changed["last_updated"] = now
        return changed

    def _put(self, changed: JsonObject, name: str) -> None:
        components = changed["components"]
        places = _places(components, name)
        place = places[0] if places else len(components)
        found = components[place] if places else {}
        defaults = {"name": name, "type": "", "path": "", "status": "", "dependencies": [], "health": 100}
        component = {**found, **{member: value for member, value in defaults.items() if member not in found}}
        component.update((member, value) for member, value in self._replaced().items() if value is not None)
        components[place : place + 1] = [component]
        if self.dependencies is not None or not places:
            changed["dependency_graph"][name] = component["dependencies"]

    def _replaced(self) -> dict[str, Any]:
        return {
            "type": self.component_type,
            "path": self.path,
            "status": self.status,
            "dependencies": None if self.dependencies is None else list(self.dependencies),
            "health": self.health,
        }


def _places(components: list[Any], name: str) -> list[int]:
    """Where in the map the component is: once, or never; more often only where somebody else wrote it so."""
    return [i for i, found in enumerate(components) if isinstance(found, dict) and found.get("name") == name]


def _remove(changed: JsonObject, name: str) -> None:
    places = _places(changed["components"], name)
    if not places:
        raise EntityNotFoundError(
            f"there is no component {name!r} in {ARCHITECTURE_MAP}",
            path=ARCHITECTURE_MAP,
            hint="`state rehydrate` shows the components that there are.",
        )
    changed["components"] = [part for i, part in enumerate(changed["components"]) if i not in places]
    changed["dependency_graph"].pop(name, None)
