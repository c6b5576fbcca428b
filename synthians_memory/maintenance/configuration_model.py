"""The form of a configuration file, as pydantic-settings checks it and lays several over each other.

It reads no file. It is imported where there is a file to be read, since pydantic-settings is an extra, and slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

__all__ = ["WrongKeyError", "merged"]


class WrongKeyError(Exception):
    """A key that there is not, or a value that it cannot have.

    Attributes:
        key: where, with dots.
        reason: what is wrong; never the value.
        unknown: whether there is no such key.
    """

    def __init__(self, key: str, reason: str, *, unknown: bool) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason
        self.unknown = unknown


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Capture(_Section):
    # What a rule may be, `significance` knows.
    rules: list[Any] = Field(default_factory=list)
    tags: dict[str, list[str]] = Field(default_factory=dict)


class _GitHub(_Section):
    enabled: bool = False
    project: str | None = Field(default=None, alias="repository")
    labels: list[str] = Field(default_factory=list)
    assignees: list[str] = Field(default_factory=list)


class _Alerts(_Section):
    github: _GitHub = Field(default_factory=_GitHub)


class _Sections(BaseSettings):
    """Everything that a file may say; which keys `storage` and `health` have, and what they may be, `configuration_keys` knows."""

    model_config = SettingsConfigDict(extra="forbid", strict=True)

    storage: dict[str, Any] = Field(default_factory=dict)
    health: dict[str, Any] = Field(default_factory=dict)
    capture: _Capture = Field(default_factory=_Capture)
    alerts: _Alerts = Field(default_factory=_Alerts)

    # pydantic-settings asks the class for its sources; each call has a class of its own.
    documents: ClassVar[Sequence[Mapping[str, Any]]] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The documents and nothing else; of these sources the first goes before the others."""
        return tuple(InitSettingsSource(settings_cls, dict(document)) for document in reversed(cls.documents))


_UNKNOWN: Final = "extra_forbidden"


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the documents say together, later ones before earlier ones, key by key; keys that nobody gives are not in it.

    Raises:
        WrongKeyError: the first key that is wrong.
    """
    chosen = type("Sections", (_Sections,), {"documents": tuple(documents), "__module__": __name__})
    try:
        found: _Sections = chosen()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise WrongKeyError(key, first["msg"], unknown=first["type"] == _UNKNOWN) from None
    return found.model_dump(by_alias=True, exclude_unset=True)
