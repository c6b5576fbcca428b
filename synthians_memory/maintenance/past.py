"""The past of a store between two snapshots: the changes in archived and present journal segments, in their order.

It restores nothing, and reads one segment at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from synthians_memory.engine.documents import read_file
from synthians_memory.engine.records import Key, Record, decode_record
from synthians_memory.engine.superblock import load_superblock
from synthians_memory.errors import DamagedViewError, NotRegularFileError, StoreFormatError
from synthians_memory.layout import ARCHIVE, JOURNAL, archive_folder, archived_path, segment_number, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import HEADER_BLOCK, JournalEntry, SegmentHeader, judge_segments

__all__ = ["Past", "Reach", "epochs_of", "trim_archive"]

# Name of the embedder, and dimension.
Model = tuple[str | None, int | None]
_END_OF_TIME: Final = 2**63 - 1


@dataclass(slots=True)
class Reach:
    """How far the changes reach that were asked for.

    Attributes:
        sequence: the last of them.
        wall_micros: when it was written; 0 where there is none.
        gap: what is missing before the moment that was asked for, in a sentence; "" where nothing is.
        passed: whether a change was seen that was written after that moment.
        last: the number of the frame that speaks of an entity last.
    """

    sequence: int
    wall_micros: int = 0
    gap: str = ""
    passed: bool = False
    last: dict[Key, int] = field(default_factory=dict)


class Past:
    """The journal of one epoch of a store, as far as it is still to be had; reads only.

    Args:
        backend: the store.
        store_id, epoch: whose life.
        model: embedder and dimension of the vectors that the changes are to go with; None: any. What was written for
            another model, or so near to a change of the model that nobody can tell, is missing then.

    Attributes:
        goes_on: whether the present journal is of this epoch, so that its end is the present.
    """

    def __init__(self, backend: Backend, store_id: str, epoch: str, model: Model | None = None) -> None:
        self._backend = backend
        self._identity = (store_id, epoch)
        self._model = model
        self.goes_on = False
        self._paths = self._find(epoch)

    def _find(self, epoch: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for number in _numbers(self._backend, JOURNAL):
            header = SegmentHeader.decode(self._read(segment_path(number), HEADER_BLOCK), number)
            if header is not None and (header.store_id, header.epoch) == self._identity:
                found[number] = segment_path(number)
        self.goes_on = bool(found)
        # What is in both is the same; the archive alone is sure to stay while it is read.
        found |= {number: archived_path(epoch, number) for number in _numbers(self._backend, archive_folder(epoch))}
        return dict(sorted(found.items()))

    def _read(self, path: str, length: int | None = None) -> bytes:
        stat = self._backend.stat(path)
        if stat is None or stat.kind != "file":
            return b""
        return self._backend.read(path, 0, length) or b""

    def reach(self, above: int, until_micros: int = _END_OF_TIME) -> Reach:
        """The changes numbered above `above`, up to the first that was written after `until_micros`.

        Raises:
            DiskError: a segment cannot be read.
        """
        reach = Reach(above)
        for entry in self._entries(above, reach):
            if entry.wall_micros > until_micros:
                reach.passed = True
                break
            reach.sequence, reach.wall_micros = entry.sequence, max(reach.wall_micros, entry.wall_micros)
            reach.last.update((decode_record(body).key, entry.sequence) for body in entry.records)
        return reach

    def records(self, above: int, reach: Reach) -> Iterator[Record]:
        """The last change of each entity that `reach` has found, in their order."""
        for entry in self._entries(above, Reach(above)):
            if entry.sequence > reach.sequence:
                return
            records = {record.key: record for record in map(decode_record, entry.records)}
            yield from (record for key, record in records.items() if reach.last.get(key) == entry.sequence)

    def changes(self) -> Iterator[tuple[int, int, Record]]:
        """Number, time and record of every change that is still to be had."""
        for entry in self._entries(0, Reach(0)):
            for body in entry.records:
                yield entry.sequence, entry.wall_micros, decode_record(body)

    def _entries(self, above: int, reach: Reach) -> Iterator[JournalEntry]:
        """Entry by entry until something is missing, which is noted in `reach`; for `above` 0 it goes on there."""
        last = above
        numbers = list(self._paths)
        for place, number in enumerate(numbers):
            window = self._window(number, numbers[place + 1 : place + 2])
            if above and not self._is_of_model(window):
                reach.gap = f"changes above {last} were written about when the model of the store was changed"
                return
            contents = judge_segments(window, self._identity, above=last)
            if contents.damage and above:
                damage = contents.damage[0]
                reach.gap = f"changes {damage.first} to {damage.last} are no longer to be had"
                return
            yield from (entry for entry in contents.entries if entry.number == number and entry.sequence > last)
            last = max(last, contents.segments.get(number, last))

    def _is_of_model(self, window: Mapping[int, bytes | None]) -> bool:
        """Whether a segment began, and the next one or the store goes on, with the model that is asked for."""
        headers = (SegmentHeader.decode((data or b"")[:HEADER_BLOCK], number) for number, data in window.items())
        facts = [header.facts for header in headers if header is not None]
        if self.goes_on and len(window) == 1:
            # One that is damaged, or of a restore that was cut off, says nothing; the headers do.
            with suppress(DamagedViewError, StoreFormatError, NotRegularFileError):
                superblock = load_superblock(self._backend)
                facts += [superblock.facts()] if superblock is not None else []
        return self._model is None or all(_fits(self._model, found) for found in facts)

    def _window(self, number: int, following: list[int]) -> Mapping[int, bytes | None]:
        """A segment, and the header of the next one, which says how much of it counts."""
        raw: dict[int, bytes | None] = {number: self._read(self._paths[number])}
        raw |= {n: self._read(self._paths[n], HEADER_BLOCK) for n in following}
        return raw


def _fits(model: Model, facts: Mapping[str, Any]) -> bool:
    """Whether vectors of both may stand in one store; what is not fixed yet fits everything."""
    pairs = zip(model, (facts.get("embedder"), facts.get("embedding_dimension")), strict=True)
    return all(one is None or other is None or one == other for one, other in pairs)


def epochs_of(backend: Backend, store_id: str) -> list[str]:
    """The epochs of a store that the archive, or the journal, has segments of."""
    found: dict[str, None] = {}
    folders = [f"{ARCHIVE}/{name}" for name, stat in backend.scan(ARCHIVE) if stat.kind == "folder"]
    for folder in [*sorted(folders), JOURNAL]:
        for number in _numbers(backend, folder):
            name = segment_path(number).rpartition("/")[2]
            header = SegmentHeader.decode((read_file(backend, f"{folder}/{name}") or b"")[:HEADER_BLOCK], number)
            if header is not None and header.store_id == store_id:
                found[header.epoch] = None
                break
    return list(found)


def trim_archive(backend: Backend, before_micros: int) -> int:
    """Remove the archived segments in which every change was written before that time; returns how many.

    Raises:
        DiskError: one cannot be read or removed.
    """
    removed = 0
    for folder in [f"{ARCHIVE}/{name}" for name, stat in backend.scan(ARCHIVE) if stat.kind == "folder"]:
        for number in _numbers(backend, folder):
            path = f"{folder}/{segment_path(number).rpartition('/')[2]}"
            data = read_file(backend, path) or b""
            header = SegmentHeader.decode(data, number)
            if header is None:
                continue
            entries = judge_segments({number: data}, (header.store_id, header.epoch), above=0).entries
            if max((entry.wall_micros for entry in entries), default=0) >= before_micros:
                break
            backend.unlink(path)
            removed += 1
    return removed


def _numbers(backend: Backend, folder: str) -> list[int]:
    return sorted(n for n in (segment_number(name) for name, _ in backend.scan(folder)) if n is not None)
