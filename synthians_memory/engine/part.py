"""The protocol by which what lives beside the core in a store's directory takes part in check and snapshot.

It is not implemented here: state, ledger and tiers each bring their own part, and know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from synthians_memory.config import CheckLevel
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend

__all__ = ["Part"]


class Part(Protocol):
    """One part of a store beside its memories and assemblies, with files of its own under the store's directory."""

    @property
    def name(self) -> str:
        """What the part is called, in messages and manifests."""

    def check(self, backend: Backend, level: CheckLevel) -> Sequence[Finding]:
        """What is wrong with its files, as values; changes nothing. Nothing for a store without the part.

        Raises:
            DiskError: they cannot be read.
        """

    def source_files(self, backend: Backend) -> Sequence[str]:
        """Paths, relative to the store, of the files that a snapshot has to hold; those that can be derived are not among them.

        Each is copied whole, one after the other in this order. A file that grows by appending may be copied up to any length it has had.

        Raises:
            DiskError: they cannot be listed.
        """

    def mark(self, backend: Backend) -> str:
        """What a snapshot notes of the part beside its files, before it copies them; "" for nothing. Raises DiskError."""

    def restored(self, backend: Backend, replaced: str) -> None:
        """Called when a restore has put the part's files in place, before anybody may open the store; idempotent.

        Args:
            backend: the store.
            replaced: path of the folder in quarantine that has what was there before, under the same names.

        Raises:
            DiskError: it is called again when the restore is gone on with.
        """
