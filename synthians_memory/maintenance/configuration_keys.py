"""The keys of a configuration: which there are, their defaults, what each may be, and the variables that set some.

It reads no file, and knows no order of precedence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from synthians_memory.config import StoreConfig
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.maintenance.significance import DEFAULT_RULES, DEFAULT_TAGS, rule_document

__all__ = [
    "DEFAULTS",
    "PREFIX",
    "SECTIONS",
    "STORE_SETTINGS",
    "STORE_VARIABLE",
    "closest_to",
    "from_environment",
    "is_known",
    "key_of",
    "require_value",
]

PREFIX: Final = "SYNTHIANS_MEMORY_"
STORE_VARIABLE: Final = PREFIX + "STORE"

_OF_STORE: Final = {field.name: field.default for field in fields(StoreConfig) if field.name != "storage_path"}
STORE_SETTINGS: Final = frozenset(_OF_STORE)
"""Names of the settings of a store; each is a key below `storage`."""

# Keys that one value each says, that are no settings of a store, and may also come from the environment and arguments.
_OF_CARE: Final = ("storage.backup_enabled", "health.check_interval_hours", "health.auto_rollback")
_MOST_HOURS: Final = 24 * 366

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "storage.path": "./storage",
        "storage.backup_enabled": True,
        **{f"storage.{name}": default for name, default in _OF_STORE.items()},
        "health.check_interval_hours": 1.0,
        "health.auto_rollback": True,
        "alerts.github.enabled": False,
        "alerts.github.repository": None,
        "alerts.github.labels": [],
        "alerts.github.assignees": [],
        "capture.rules": [rule_document(rule) for rule in DEFAULT_RULES],
        **{f"capture.tags.{tag}": list(words) for tag, words in DEFAULT_TAGS.items()},
    }
)
"""Every key with the value that it has where nobody says another; tags that are not among them may be added."""

SECTIONS: Final = frozenset(("storage", "health", "capture", "capture.tags", "alerts", "alerts.github"))
"""Keys with others below them."""

# Last part of a key, as variables and arguments have it, to the key.
_KEYS: Final[Mapping[str, str]] = {
    **{name: f"storage.{name}" for name in _OF_STORE},
    **{key.rpartition(".")[2]: key for key in _OF_CARE},
}
_TRUTH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def is_known(key: str) -> bool:
    """Whether there is such a key."""
    return key in DEFAULTS or key.startswith("capture.tags.")


def closest_to(key: str) -> str:
    """A hint for a key that there is not."""
    section = key.partition(".")[0]
    among = [known for known in DEFAULTS if known.startswith(f"{section}.")]
    if not among:
        return f"The sections are {', '.join(sorted(section for section in SECTIONS if '.' not in section))}."
    return _did_you_mean(key, among) or f"In {section} there are: {', '.join(sorted(among))}."


def key_of(name: str) -> str:
    """The key whose last part is `name`, of those that variables and arguments may set.

    Raises:
        InvalidTypeError: there is none, as for an unknown setting of `StoreConfig`.
    """
    if name not in _KEYS:
        hint = _did_you_mean(name, list(_KEYS)) or f"Settings are: {', '.join(sorted(_KEYS))}."
        raise InvalidTypeError(f"unknown setting {name}", hint=hint)
    return _KEYS[name]


def require_value(key: str, value: Any) -> None:
    """Refuse a value that a key of `storage` or `health` cannot have.

    Raises:
        InvalidValueError, InvalidTypeError: what is wrong.
    """
    section, _, name = key.partition(".")
    if key == "storage.path":
        StoreConfig(storage_path=value)
    elif key == "health.check_interval_hours":
        _require_hours(value)
    elif key in _OF_CARE:
        if not isinstance(value, bool):
            raise InvalidTypeError(f"{name} must be true or false, not {value!r}")
    elif section == "storage":
        StoreConfig().with_overrides(**{name: value})


def _require_hours(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"check_interval_hours must be a number, not {value!r}")
    # Written so that NaN fails as well.
    if not 0 < value <= _MOST_HOURS:
        raise InvalidValueError(f"check_interval_hours must lie above 0 and be at most {_MOST_HOURS}")


def from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    """Key, value and variable of each setting that `environment` gives, checked; an empty variable gives none.

    Variables with the prefix that are no setting are left alone, since others may set them (Kubernetes does);
    one that nearly is a setting was meant to be one. That of the store's path is not among them.

    Raises:
        InvalidValueError: the variable that is wrong, and what it may be.
    """
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable == STORE_VARIABLE or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _KEYS:
            yield _KEYS[name], _checked(variable, _KEYS[name], text), variable
        else:
            _refuse_misspelt(variable, name)


def _checked(variable: str, key: str, text: str) -> Any:
    value = _parsed(key, text)
    try:
        require_value(key, value)
    except (InvalidValueError, InvalidTypeError) as error:
        hint = error.hint or f"Correct the environment variable {variable}, or unset it."
        raise InvalidValueError(
            f"the environment variable {variable} is {text!r}: {error.message}", hint=hint
        ) from error
    return value


def _parsed(key: str, text: str) -> Any:
    """`text` as the type of the key's default where it has that form, else as it is."""
    default = DEFAULTS[key]
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
        meant = "".join(PREFIX + close.upper() for close in get_close_matches(name, _KEYS, 1, 0.8))
    if meant:
        raise InvalidValueError(f"the environment variable {variable} is no setting", hint=f"Did you mean {meant}?")


def _did_you_mean(key: str, known: list[str]) -> str:
    return "".join(f"Did you mean {close}?" for close in get_close_matches(key, known, 1, 0.8))
