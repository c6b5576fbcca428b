"""The protocol by which what lives beside the core in a store's directory takes part in check and snapshot.

It is not implemented here: state, ledger and tiers each bring their own part, and know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from synthians_memory.config import CheckLevel
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock

__all__ = ["EarlierCopies", "EarlierCopy", "MendingPart", "Part", "PartMending", "ReturnedFile"]


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


@dataclass(frozen=True, slots=True)
class EarlierCopy:
    """A file of a part as a backup has it.

    Attributes:
        origin: which backup, for people.
        moment: when that was taken, as text.
        data: every byte, proved by its hash; what they say may be damaged all the same.
    """

    origin: str
    moment: str
    data: bytes


# Path -> its copies in backups, the newest first.
EarlierCopies = Callable[[str], Iterator[EarlierCopy]]


@dataclass(frozen=True, slots=True)
class ReturnedFile:
    """A file, or rows in it, that came back from a backup.

    Attributes:
        path: relative to the store.
        origin: where it comes from.
        loss: what is lost all the same, in a sentence; "" for nothing.
    """

    path: str
    origin: str
    loss: str = ""


@dataclass(slots=True)
class PartMending:
    """What a part has mended; grows.

    Attributes:
        actions: what was done from what the store itself had, a sentence each.
        returned: what came back from backups.
        lost: what is in no backup and was set aside, a sentence each.
    """

    actions: list[str] = field(default_factory=list)
    returned: list[ReturnedFile] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@runtime_checkable
class MendingPart(Protocol):
    """A part that knows how to mend its files; those of other parts come back as whole files."""

    def mends(self, finding: Finding) -> bool:
        """Whether `mend` is for this finding."""

    def mend(
        self, backend: Backend, findings: Sequence[Finding], earlier: EarlierCopies, clock: Clock, *, give_up: bool
    ) -> PartMending:
        """Mend what these findings name; a copy of what was damaged is kept in quarantine. Killed, it may be called again.

        Args:
            backend: the store, locked by the caller, who has no file of the part open.
            findings: those that it mends.
            earlier: copies in backups.
            clock: source of time.
            give_up: whether what no copy of is to be had may be set aside.

        Raises:
            StoreLockedError: somebody has its files open.
            DiskError: a step failed.
        """
