"""The configuration files of a user and of a store: read, checked each by itself, laid over each other.

It knows no environment variable and no default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from synthians_memory.errors import (
    DiskError,
    InvalidTypeError,
    InvalidValueError,
    NotRegularFileError,
    SynthiansMemoryError,
    disk_error,
)
from synthians_memory.extras import import_extra
from synthians_memory.layout import CONFIGURATION
from synthians_memory.maintenance.configuration_keys import (
    SECTIONS,
    STORE_VARIABLE,
    closest_to,
    is_known,
    require_value,
)
from synthians_memory.maintenance.github import TOKEN_VARIABLE, require_project
from synthians_memory.maintenance.significance import rules_from
from synthians_memory.redaction import redacted_text
from synthians_memory.storage.local import LocalBackend

__all__ = ["ConfigurationFile", "file_in_store", "file_of_user", "leaves_of", "merged_leaves"]

_INSTALL: Final = 'Install what reads configuration files: pip install "synthians-memory[ops]"; or move the file away.'
_PACKAGE: Final = "synthians_memory.maintenance"
_MOST_BYTES: Final = 256 * 1024
# A key with one of these in its last part is told that it does not belong in a file.
_SECRETS: Final = ("token", "password", "secret", "credential")


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A configuration file that was read and found sound.

    Attributes:
        path: of the file.
        document: its sections; aliases of keys are resolved.
    """

    path: str
    document: Mapping[str, Any]

    @property
    def storage_path(self) -> str | None:
        """The store's directory, where the file names it; as written there."""
        path: str | None = self.document.get("storage", {}).get("path")
        return path


def file_of_user(path: str) -> ConfigurationFile | None:
    """The file at `path`, symlinks followed; None where there is none.

    Raises:
        InvalidValueError, InvalidTypeError: it is not as it must be; the key is named.
        MissingExtraError: what reads it is not installed.
        DiskError: it cannot be read, or is no regular file.
    """
    data = _read(*os.path.split(os.path.realpath(path)), path)
    return None if data is None else ConfigurationFile(path, _checked(path, data, None))


def file_in_store(store: str, users: str) -> ConfigurationFile | None:
    """The file in the directory `store`, not followed where it is a symlink; None where there is none.

    Args:
        store: the directory, which need not be there.
        users: path of the user's file, for messages.

    Raises:
        As `file_of_user`.
    """
    path = os.path.join(store, CONFIGURATION)
    data = _read(store, CONFIGURATION, path)
    return None if data is None else ConfigurationFile(path, _checked(path, data, users))


def merged_leaves(files: Sequence[ConfigurationFile]) -> dict[str, Any]:
    """Each key that `files` give, and its value; later files go before earlier ones."""
    return dict(leaves_of(_model().merged([file.document for file in files]))) if files else {}


def leaves_of(document: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each key of `document`, with dots, and its value."""
    for name, value in document.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping) and (value or key in SECTIONS):
            yield from leaves_of(value, f"{key}.")
        else:
            yield key, value


def _read(folder: str, name: str, path: str) -> bytes | None:
    """The file `name` in `folder`, `path` for messages; None where there is none."""
    if not os.path.isdir(folder):
        return None
    try:
        backend = LocalBackend(folder)
        try:
            data = backend.read(name, 0, _MOST_BYTES + 1)
        finally:
            backend.close()
    except NotRegularFileError as error:
        hint = "Put the file itself there, or move it away; it was not followed."
        raise NotRegularFileError(f"{path} is no regular file", path=path, hint=hint, errno=error.errno or 0) from error
    except DiskError as error:
        cause = error.__cause__
        raise disk_error(cause if isinstance(cause, OSError) else error, "read", path) from error
    if data is not None and len(data) > _MOST_BYTES:
        raise InvalidValueError(f"{path} is longer than {_MOST_BYTES} bytes", path=path, hint="Is it the right file?")
    return data


def _checked(path: str, data: bytes, users: str | None) -> dict[str, Any]:
    """What the file says, found sound by itself; `users` is None for the user's own."""
    import_extra("yaml", _INSTALL)
    parsed = import_extra(f"{_PACKAGE}.configuration_document", _INSTALL).parse(path, data)
    document = {key: _section(key, value) for key, value in parsed.items()}
    _require_no_secret(path, document)
    if isinstance(document.get("storage"), dict):
        document["storage"] = _storage(path, document["storage"], users)
    model = _model()
    try:
        model.merged([document])
    except model.WrongKeyError as error:
        raise _unknown(path, error.key) if error.unknown else _wrong(path, error.key, error.reason) from None
    for key, value in leaves_of(document):
        if not is_known(key):
            raise _unknown(path, key)
        _naming(path, key, lambda key=key, value=value: require_value(key, value))  # type: ignore[misc]
    _naming(path, "capture", lambda: rules_from(document.get("capture", {})))
    project = document.get("alerts", {}).get("github", {}).get("repository")
    if project is not None:
        _naming(path, "alerts.github.repository", lambda: require_project(project))
    return document


def _section(key: str, value: Any) -> Any:
    """`value`, with an empty mapping for each section of which the file has the name alone."""
    if value is None and key in SECTIONS:
        return {}
    if isinstance(value, dict) and key in SECTIONS:
        return {name: _section(f"{key}.{name}", below) for name, below in value.items()}
    return value


def _storage(path: str, storage: dict[str, Any], users: str | None) -> dict[str, Any]:
    """`storage` with the alias resolved."""
    given = [name for name in ("path", "db_path") if name in storage]
    if users is not None and given:
        raise InvalidValueError(
            f"storage.{given[0]} cannot stand in {path}, which is in the store itself",
            path=path,
            hint=f"Say it in {users}, in {STORE_VARIABLE} or with --store.",
        )
    if len(given) > 1:
        raise InvalidValueError(
            f"{path} has both storage.path and storage.db_path", path=path, hint="Keep one of them."
        )
    return {"path" if name == "db_path" else name: value for name, value in storage.items()}


def _require_no_secret(path: str, document: Mapping[str, Any]) -> None:
    for key, _ in leaves_of(document):
        name = key.rpartition(".")[2].lower()
        if not key.startswith("capture.") and any(word in name for word in _SECRETS):
            raise InvalidValueError(
                f"{path} has the key {key}; a token does not belong in a file",
                path=path,
                hint=f"Take it out, revoke it where others could read it, and set {TOKEN_VARIABLE} instead.",
            )


def _unknown(path: str, key: str) -> InvalidValueError:
    return InvalidValueError(f"{path} has the unknown key {redacted_text(key)}", path=path, hint=closest_to(key))


def _wrong(path: str, key: str, reason: str) -> InvalidTypeError:
    return InvalidTypeError(f"{path} has a wrong value for {key}: {reason}", path=path, hint=f"Correct {path}.")


def _naming(path: str, key: str, check: Callable[[], object]) -> None:
    """Run `check`; what it refuses is told with the file and the key."""
    try:
        check()
    except (InvalidValueError, InvalidTypeError) as error:
        message = f"{path} has a wrong value for {key}: {redacted_text(error.message)}"
        found: SynthiansMemoryError = type(error)(message, path=path, hint=error.hint or f"Correct {path}.")
        # What is wrong may be a secret in the wrong place.
        raise found from None


def _model() -> ModuleType:
    import_extra("pydantic_settings", _INSTALL)
    return import_extra(f"{_PACKAGE}.configuration_model", _INSTALL)
