"""What the operating system tells of names that change in a store's entity folders, as the watchfiles library passes it on.

It is no proof that anything changed, and not all that changes is told: whoever listens looks for himself, and sweeps.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import AsyncIterator
from typing import Any, Final

from synthians_memory.engine.records import Key
from synthians_memory.errors import DiskError, MissingExtraError, disk_error
from synthians_memory.layout import ENTITY_FOLDERS, Kind, id_of_file_name

__all__ = ["can_notify", "changed_keys", "require_watchfiles"]

_LIBRARY: Final = "watchfiles"
_INSTALL: Final = 'Install it: pip install "synthians-memory[ops]". Without it the periodic sweep finds what changed.'
# Milliseconds for which changes are gathered at most, and after which one that is followed by none is told.
_GATHER: Final = 400
_QUIET: Final = 50


def can_notify(location: str) -> bool:
    """Whether changes in the store at `location` can be told: it is a directory, and watchfiles is installed."""
    return importlib.util.find_spec(_LIBRARY) is not None and os.path.isdir(location)


def require_watchfiles() -> Any:
    """The library; MissingExtraError where it is not installed, or fails to import."""
    try:
        return importlib.import_module(_LIBRARY)
    except ImportError as error:
        raise MissingExtraError(f"the library {_LIBRARY} cannot be imported: {error}", hint=_INSTALL) from error


def _folders_of(location: str) -> dict[str, Kind]:
    """The entity folders that are there, by their paths."""
    folders: dict[str, Kind] = {os.path.join(location, folder): kind for kind, folder in ENTITY_FOLDERS.items()}
    return {folder: kind for folder, kind in folders.items() if os.path.isdir(folder)}


async def changed_keys(location: str) -> AsyncIterator[set[Key]]:
    """The entities whose files changed in the store at `location`, again and again until it is cancelled.

    Names that no entity has are left out, the store's scratch and editors' among them. Holds a thread of its own.

    Raises:
        MissingExtraError: watchfiles is not installed.
        DiskError: the system refuses, as where it has no watches left.
    """
    watchfiles = require_watchfiles()
    folders = _folders_of(location)

    def is_entity(_: object, path: str) -> bool:
        return _key_of(folders, path) is not None

    try:
        async for changes in watchfiles.awatch(
            *folders, watch_filter=is_entity, debounce=_GATHER, step=_QUIET, recursive=False
        ):
            yield {key for _, path in changes if (key := _key_of(folders, path)) is not None}
    except OSError as error:
        raise disk_error(error, "watch", location) from error
    except RuntimeError as error:
        # How the library raises what went wrong inside of it.
        raise DiskError(f"cannot watch {location}: {error}", path=location) from error
    raise DiskError(f"nothing is told of {location} any more", path=location)


def _key_of(folders: dict[str, Kind], path: str) -> Key | None:
    folder, name = os.path.split(path)
    entity_id = id_of_file_name(name)
    kind = folders.get(folder)
    return None if entity_id is None or kind is None else (kind, entity_id)
