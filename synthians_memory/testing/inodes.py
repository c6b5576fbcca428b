"""Files and folders that know, of every byte and name, whether a power cut leaves it there.

They know no paths, inject no faults and draw nothing at random but the shape of a torn write.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from synthians_memory.testing.pages import Pages

__all__ = ["SECTOR", "File", "Folder", "NameChange", "Write"]

SECTOR = 512


class Write(NamedTuple):
    """Bytes that were written and not synced.

    Attributes:
        sequence: its place among all changes of the disk.
        offset: where in the file, bytes.
        data: the bytes; whatever lies between the old end and `offset` reads as zeros.
    """

    sequence: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.offset + len(self.data)

    def part(self, start: int, stop: int) -> Write:
        """What of it lies in the bytes `start` to `stop` of the file."""
        start, stop = max(start, self.offset), min(stop, self.end)
        return Write(self.sequence, start, self.data[start - self.offset : max(stop - self.offset, 0)])

    def outside(self, newer: Write) -> Iterator[Write]:
        """What of it `newer` did not overwrite."""
        before, behind = self.part(self.offset, newer.offset), self.part(newer.end, self.end)
        return (piece for piece in (before, behind) if piece.data)

    def torn(self, rng: Random) -> list[Write]:
        """What a power cut may leave of it: its beginning, or any of its sectors."""
        if rng.random() < 0.5:
            return [self.part(self.offset, self.offset + rng.randrange(len(self.data) + 1))]
        first = self.offset // SECTOR * SECTOR
        sectors = (self.part(start, start + SECTOR) for start in range(first, self.end, SECTOR))
        return [piece for piece in sectors if rng.random() < 0.5]

    def apply(self, content: Pages) -> None:
        """Put it into `content`."""
        content.write(self.offset, self.data)


@dataclass(slots=True)
class File:
    """Content of one file.

    Attributes:
        durable: what every power cut leaves.
        cached: what reads see.
        mtime_ns: time of the last write, nanoseconds since the epoch; `durable_mtime_ns` likewise.
        dirty: writes since the last sync, in order.
        lost: writes that a failed sync gave up: readable, yet no later sync makes them durable.
            All are older than those in `dirty`.
    """

    durable: Pages
    cached: Pages
    mtime_ns: int
    durable_mtime_ns: int
    dirty: list[Write] = field(default_factory=list)
    lost: list[Write] = field(default_factory=list)

    @classmethod
    def clean(cls, content: Pages, mtime_ns: int) -> File:
        """A file that is durable as it is."""
        return cls(content, content.copy(), mtime_ns, mtime_ns)

    def copy(self) -> File:
        """An equal file that changes by itself."""
        return File(
            self.durable.copy(),
            self.cached.copy(),
            self.mtime_ns,
            self.durable_mtime_ns,
            list(self.dirty),
            list(self.lost),
        )

    def pending(self) -> list[Write]:
        """Writes that a power cut may undo, in order."""
        return self.lost + self.dirty

    def write(self, write: Write, now_ns: int) -> None:
        """Change what reads see; a write of nothing changes nothing."""
        if write.data:
            write.apply(self.cached)
            self.dirty.append(write)
            self.mtime_ns = now_ns

    def sync(self, share: float = 1.0) -> bool:
        """Make the first `share` of the dirty writes durable.

        Returns:
            True where older lost data remain, which the caller of this sync may believe to be safe.
        """
        landing = self.dirty[: int(len(self.dirty) * share)]
        for write in landing:
            write.apply(self.durable)
            self.lost = [piece for lost in self.lost for piece in lost.outside(write)]
        del self.dirty[: len(landing)]
        if not self.dirty:
            self.durable_mtime_ns = self.mtime_ns
        return bool(self.lost)

    def lose(self) -> None:
        """A sync failed: the cache counts the dirty writes as clean from here on."""
        self.lost += self.dirty
        self.dirty = []

    def after_cut(self, landed: Container[int], rng: Random | None) -> File:
        """The file that a power cut leaves.

        Args:
            landed: sequences of the writes that reached the medium.
            rng: tears one of those and draws the size; None to do neither.
        """
        kept = [write for write in self.pending() if write.sequence in landed]
        mtime_ns = self.mtime_ns if kept else self.durable_mtime_ns
        if rng is not None:
            mtime_ns = rng.choice((self.mtime_ns, self.durable_mtime_ns))
            if kept and rng.random() < 0.5:
                torn = rng.randrange(len(kept))
                kept[torn : torn + 1] = kept[torn].torn(rng)
        content = self.durable.copy()
        for write in kept:
            write.apply(content)
        if rng is not None and rng.random() < 0.4:
            # The size is kept apart from the bytes: it may be ahead of them (zeros) or behind (cut off).
            ends = [max(write.end, len(self.durable)) for write in self.pending()]
            content.resize(rng.choice([len(self.durable), *ends]))
        return File.clean(content, mtime_ns)


class NameChange(NamedTuple):
    """A change of names in one folder that was made and not synced.

    Both names of a rename within a folder change in one step. A rename between two folders is two
    changes, of which the new name lands first unless the old folder alone is synced.

    Attributes:
        sequence: its place among all changes of the disk.
        put: the name that leads to `inode` afterwards, or None.
        dropped: the name that is gone afterwards, or None.
        inode: what `put` leads to; 0 where there is none.
        replaced: the inode that loses this name, or None.
        after: sequence of the change that lands before this one, or None.
    """

    sequence: int
    put: str | None
    dropped: str | None
    inode: int = 0
    replaced: int | None = None
    after: int | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names it concerns."""
        return frozenset(name for name in (self.put, self.dropped) if name is not None)

    def apply(self, names: dict[str, int]) -> None:
        """Change `names` accordingly."""
        if self.dropped is not None:
            names.pop(self.dropped, None)
        if self.put is not None:
            names[self.put] = self.inode


@dataclass(slots=True)
class Folder:
    """Names of one folder; its attributes mean for names what those of `File` mean for bytes."""

    durable: dict[str, int]
    cached: dict[str, int]
    mtime_ns: int
    dirty: list[NameChange] = field(default_factory=list)
    lost: list[NameChange] = field(default_factory=list)

    @classmethod
    def clean(cls, names: dict[str, int], mtime_ns: int) -> Folder:
        """A folder that is durable as it is."""
        return cls(names, dict(names), mtime_ns)

    def copy(self) -> Folder:
        """An equal folder that changes by itself."""
        return Folder(dict(self.durable), dict(self.cached), self.mtime_ns, list(self.dirty), list(self.lost))

    def pending(self) -> list[NameChange]:
        """Changes that a power cut may undo, in order."""
        return self.lost + self.dirty

    def change(self, change: NameChange, now_ns: int) -> None:
        """Change the names that lookups see."""
        change.apply(self.cached)
        self.dirty.append(change)
        self.mtime_ns = now_ns

    def sync(self, share: float = 1.0) -> bool:
        """Make the first `share` of the dirty changes durable.

        A lost change lands with a later one that concerns the same name.

        Returns:
            True where nothing was dirty and lost changes remain: the caller repeats a failed sync.
        """
        repeated = bool(self.lost) and not self.dirty
        landing = self.dirty[: int(len(self.dirty) * share)]
        del self.dirty[: len(landing)]
        for change in self._revived(landing) + landing:
            change.apply(self.durable)
        return repeated

    def _revived(self, landing: list[NameChange]) -> list[NameChange]:
        concerned = {name for change in landing for name in change.names}
        revived: list[NameChange] = []
        for change in reversed(self.lost):
            if change.names & concerned:
                concerned |= change.names
                revived.insert(0, change)
        self.lost = [change for change in self.lost if change not in revived]
        return revived

    def lose(self) -> None:
        """A sync failed: the cache counts the dirty changes as clean from here on."""
        self.lost += self.dirty
        self.dirty = []

    def after_cut(self, landed: Container[int]) -> Folder:
        """The folder that a power cut leaves where the changes in `landed` reached the medium."""
        names = dict(self.durable)
        for change in self.pending():
            if change.sequence in landed:
                change.apply(names)
        return Folder.clean(names, self.mtime_ns)

    def without(self, names: Container[str]) -> Folder:
        """A durable folder with all names but these."""
        return Folder.clean({name: inode for name, inode in self.durable.items() if name not in names}, self.mtime_ns)
