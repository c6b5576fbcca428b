"""The configuration of a store: the user's file, the store's file, the environment, arguments, in rising order.

It opens no store, and changes nothing; what a file looks like is told by docs/configuration.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from synthians_memory.config import StoreConfig
from synthians_memory.errors import InvalidValueError
from synthians_memory.layout import CONFIGURATION
from synthians_memory.maintenance.configuration_files import (
    ConfigurationFile,
    file_in_store,
    file_of_user,
    leaves_of,
    merged_leaves,
)
from synthians_memory.maintenance.configuration_keys import (
    DEFAULTS,
    STORE_SETTINGS,
    STORE_VARIABLE,
    from_environment,
    key_of,
    require_value,
)
from synthians_memory.maintenance.significance import CaptureRules, rules_from

__all__ = [
    "ARGUMENT",
    "DEFAULT",
    "Configuration",
    "GitHubAlerts",
    "configured",
    "load_configuration",
    "store_path",
    "user_file",
]

ARGUMENT: Final = "argument"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class GitHubAlerts:
    """Where failures are filed as issues.

    Attributes:
        project: OWNER/NAME of the repository.
        labels: beside those of the document.
        assignees: who is to look at them.
    """

    project: str
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """What holds for one store. Immutable; safe from any thread.

    Attributes:
        path: the store's directory.
        settings: of the store, as `StoreConfig` takes them; only those that were given.
        backup_enabled: whether scheduled work makes snapshots.
        backup_retention_days: how many days have a snapshot that stays.
        check_interval_hours: time between two health passes.
        auto_rollback: whether a health pass may go back to a snapshot by itself.
        capture: the rules of automatic capture.
        github: where failures are filed as issues; None where they are not.
        values: every key with its value, in the order of docs/configuration.md.
        origins: where each that is not a default came from: a file, a variable of the environment, or ARGUMENT.
        files: those that were read, in rising order.
    """

    path: str
    settings: Mapping[str, Any]
    backup_enabled: bool
    backup_retention_days: int
    check_interval_hours: float
    auto_rollback: bool
    capture: CaptureRules
    github: GitHubAlerts | None
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    files: tuple[str, ...] = ()

    def origin(self, key: str) -> str:
        """Where the value of `key` came from; DEFAULT where nobody gave one."""
        return self.origins.get(key, DEFAULT)

    @property
    def store_config(self) -> StoreConfig:
        """The store's settings, path included, as `MemoryPersistence` takes them for `config`."""
        return StoreConfig(storage_path=self.path, **self.settings)


def configured(
    path: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ, **settings: Any
) -> StoreConfig:
    """The settings of the store at `path` as the configuration has them; `settings` go before it.

    Raises:
        As `load_configuration`.
    """
    return load_configuration(path, environment, settings).store_config


def load_configuration(
    path: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    arguments: Mapping[str, Any] | None = None,
) -> Configuration:
    """What holds for the store at `path`. Reads at most two files, and needs no store to be there.

    Args:
        path: of the store; None: as SYNTHIANS_MEMORY_STORE says, or else the user's file, or else ./storage.
        environment: HOME and XDG_CONFIG_HOME say where the user's file is, SYNTHIANS_MEMORY_ and the last part of a key
            in capitals what that key is.
        arguments: the last part of a key -> its value; they go before everything else.

    Raises:
        InvalidValueError, InvalidTypeError: a key or value that is wrong, with the file or variable that has it.
        MissingExtraError: there is a file, and what reads it is not installed.
        DiskError: a file is there and cannot be read, or is no regular file.
    """
    path_of_user = user_file(environment)
    of_user = file_of_user(path_of_user)
    place, origin = _place(path, environment, of_user)
    of_store = file_in_store(place, path_of_user)
    files = [file for file in (of_user, of_store) if file is not None]
    values = {**DEFAULTS, **merged_leaves(files)}
    origins = {key: file.path for file in files for key, _ in leaves_of(file.document)}
    for key, value, variable in from_environment(environment):
        values[key], origins[key] = value, variable
    for name, value in (arguments or {}).items():
        key = key_of(name)
        require_value(key, value)
        values[key], origins[key] = value, ARGUMENT
    values["storage.path"] = place
    origins |= {} if origin == DEFAULT else {"storage.path": origin}
    return _configuration(values, origins, tuple(file.path for file in files))


def store_path(path: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """As `load_configuration(path, environment).path`, without a look at the store's own file.

    Raises:
        As `load_configuration`; of the user's file only where it is the one to say.
    """
    if path is None and not environment.get(STORE_VARIABLE):
        return _place(None, environment, file_of_user(user_file(environment)))[0]
    return _place(path, environment, None)[0]


def user_file(environment: Mapping[str, str] = os.environ) -> str:
    """The path of the user's own file; XDG_CONFIG_HOME takes the place of ~/.config, where it is absolute."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = _expanded("~/.config", environment)
    return os.path.join(folder, "synthians-memory", CONFIGURATION)


def _configuration(values: Mapping[str, Any], origins: Mapping[str, str], files: tuple[str, ...]) -> Configuration:
    settings = {name: values[f"storage.{name}"] for name in sorted(STORE_SETTINGS) if f"storage.{name}" in origins}
    tags = {
        key.removeprefix("capture.tags."): words for key, words in values.items() if key.startswith("capture.tags.")
    }
    return Configuration(
        path=values["storage.path"],
        settings=settings,
        backup_enabled=values["storage.backup_enabled"],
        backup_retention_days=values["storage.backup_retention_days"],
        check_interval_hours=float(values["health.check_interval_hours"]),
        auto_rollback=values["health.auto_rollback"],
        capture=rules_from({"rules": values["capture.rules"], "tags": tags}),
        github=_github(values, origins),
        values=MappingProxyType(dict(values)),
        origins=MappingProxyType(dict(origins)),
        files=files,
    )


def _github(values: Mapping[str, Any], origins: Mapping[str, str]) -> GitHubAlerts | None:
    if not values["alerts.github.enabled"]:
        return None
    project = values["alerts.github.repository"]
    if project is None:
        path = origins["alerts.github.enabled"]
        hint = "Give alerts.github.repository as OWNER/NAME."
        raise InvalidValueError(
            f"{path} switches alerts.github on, and no file names a repository", path=path, hint=hint
        )
    labels, assignees = values["alerts.github.labels"], values["alerts.github.assignees"]
    return GitHubAlerts(project, tuple(labels), tuple(assignees))


def _place(
    path: str | os.PathLike[str] | None, environment: Mapping[str, str], of_user: ConfigurationFile | None
) -> tuple[str, str]:
    """The store's directory, and who says so."""
    if path is not None:
        return _expanded(StoreConfig().with_overrides(storage_path=path).storage_path, environment), ARGUMENT
    if environment.get(STORE_VARIABLE):
        return _expanded(environment[STORE_VARIABLE], environment), STORE_VARIABLE
    if of_user is not None and of_user.storage_path is not None:
        return _expanded(of_user.storage_path, environment), of_user.path
    return DEFAULTS["storage.path"], DEFAULT


def _expanded(path: str, environment: Mapping[str, str]) -> str:
    """`path` with a leading ~ replaced by the home directory that `environment` names, or else the system."""
    home = environment.get("HOME", "")
    if home and (path == "~" or path.startswith("~/")):
        return home + path[1:]
    return os.path.expanduser(path)
