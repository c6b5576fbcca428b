"""The medium that a store lies on, where nobody gives another: a directory of the local disk.

It is not the back end, which touches it.
"""

from __future__ import annotations

from synthians_memory.config import StoreConfig
from synthians_memory.errors import StoreFormatError
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.filesystem import network_filesystem
from synthians_memory.storage.local import LocalBackend

__all__ = ["local_medium"]


def local_medium(config: StoreConfig, *, create: bool) -> Backend:
    """The directory of the config, made where it is missing and `create` says so.

    Raises:
        StoreFormatError: it lies on a network file system, and the config does not allow that.
        DiskError: it is not there, or cannot be opened or made.
    """
    path = config.storage_path
    kind = network_filesystem(path)
    if kind is not None and not config.allow_network_filesystem:
        raise StoreFormatError(
            f"{path} lies on a network file system ({kind}), where locks and syncs may not hold",
            path=path,
            hint="Use a local disk, or set allow_network_filesystem=True.",
        )
    return LocalBackend(path, create=create)
