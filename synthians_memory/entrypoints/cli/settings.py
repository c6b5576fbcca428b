"""Settings of the store from the environment: SYNTHIANS_MEMORY_ and the name of a setting in capitals.

It is not the settings themselves: `StoreConfig` says which there are and what they may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final

from synthians_memory.config import StoreConfig
from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = ["PREFIX", "STORE_VARIABLE", "settings_from"]

PREFIX: Final = "SYNTHIANS_MEMORY_"
STORE_VARIABLE: Final = PREFIX + "STORE"

_DEFAULTS: Final = {field.name: field.default for field in fields(StoreConfig) if field.name != "storage_path"}
_TRUTH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def settings_from(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that `environment` gives, checked; an empty variable gives none.

    Variables with the prefix that are no setting are left alone, since others may set them (Kubernetes does);
    one that nearly is a setting was meant to be one.

    Raises:
        InvalidValueError: the variable that is wrong, and what it may be.
    """
    found: dict[str, Any] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable == STORE_VARIABLE or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _DEFAULTS:
            found[name] = _checked(variable, name, text)
        else:
            _refuse_misspelt(variable, name)
    return found


def _checked(variable: str, name: str, text: str) -> Any:
    value = _parsed(name, text)
    try:
        StoreConfig().with_overrides(**{name: value})
    except (InvalidValueError, InvalidTypeError) as error:
        hint = error.hint or f"Correct the environment variable {variable}, or unset it."
        raise InvalidValueError(
            f"the environment variable {variable} is {text!r}: {error.message}", hint=hint
        ) from error
    return value


def _parsed(name: str, text: str) -> Any:
    """`text` as the type of the setting where it has that form, else as it is."""
    default = _DEFAULTS[name]
    if isinstance(default, bool):
        return _TRUTH.get(text.lower(), text)
    if isinstance(default, str):
        return text
    try:
        return float(text) if isinstance(default, float) else int(text)
    except ValueError:
        return text


def _refuse_misspelt(variable: str, name: str) -> None:
    if name == "storage_path":
        meant = STORE_VARIABLE
    else:
        meant = "".join(PREFIX + close.upper() for close in get_close_matches(name, _DEFAULTS, 1, 0.8))
    if meant:
        raise InvalidValueError(f"the environment variable {variable} is no setting", hint=f"Did you mean {meant}?")
