"""The write-ahead journal: frames of opaque records, durable when `sync` has returned.

It has never heard of a memory; reading it back is in `segment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from synthians_memory.errors import DiskError, DiskFullError, JournalFailedError, SynthiansMemoryError, UsageError
from synthians_memory.layout import JOURNAL, JOURNAL_RESERVE, scratch_path, segment_path
from synthians_memory.storage.backend import Backend, WritableFile
from synthians_memory.storage.framing import Body, body_size, frame_pieces, frame_size, packed_size
from synthians_memory.storage.segment import HEADER_BLOCK, SegmentHeader, segment_salt
from synthians_memory.times import Clock

__all__ = ["Journal"]

_SMALLEST: Final = 256 * 1024
_GROWTH: Final = 4
_RESERVE_BYTES: Final = 64 * 1024
_SPARE: Final = scratch_path(JOURNAL, "spare")
_NEXT: Final = scratch_path(JOURNAL, "next")
_ZEROS: Final = bytes(1024 * 1024)
# Frames are joined to writes of about so many bytes: few calls, and no second copy of a large batch.
_STEP: Final = 1024 * 1024


class _Blank(NamedTuple):
    path: str
    size: int


class Journal:
    """The segments of one life of a store, written by one thread.

    Segments are zero-filled ahead, so that a sync commits no metadata, and unlinked when dropped. A
    segment of an earlier process is never appended to: the first append starts a new one. A small
    reserve segment is held back for deletes on a full disk.

    `prepare_spare` may run in another thread than the rest; everything else is the writer's.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        store_id: str,
        epoch: str,
        facts: Mapping[str, Any],
        next_number: int,
        last_counted: int,
        next_sequence: int,
        checkpointed_through: int,
        segments: Mapping[int, int],
        segment_bytes: int,
    ) -> None:
        """Args:
        backend, clock: the store's.
        store_id, epoch, facts: what the headers carry.
        next_number: above every segment number seen.
        last_counted: the last sequence that counts; frames beyond it in old segments never will.
        next_sequence: above every sequence seen.
        checkpointed_through: what the last header stated.
        segments: the older segments: number to last sequence.
        segment_bytes: size that segments grow to.
        """
        self._backend = backend
        self._clock = clock
        self._store_id = store_id
        self._epoch = epoch
        self.facts = dict(facts)
        self._next_number = next_number
        self._last_counted = last_counted
        self._next_sequence = next_sequence
        self.checkpointed_through = checkpointed_through
        self._old = dict(segments)
        self._segment_bytes = segment_bytes
        self._size = min(_SMALLEST, segment_bytes)
        self._file: WritableFile | None = None
        self._number = 0
        self._salt = 0
        self._offset = 0
        self._limit = 0
        self.synced_through = last_counted
        self._only_deletes = False
        # Both stay until the file has its new name: `prepare_spare` makes neither again before.
        self._spare_bytes = 0
        self._since_checkpoint = 0
        self._unsure: list[str] = []
        reserve = backend.stat(JOURNAL_RESERVE)
        self._has_reserve = reserve is not None and reserve.size == _RESERVE_BYTES
        self.failure: JournalFailedError | None = None

    @property
    def last_sequence(self) -> int:
        """The last sequence appended, or counted at open."""
        return self._last_counted

    @property
    def bytes_since_checkpoint(self) -> int:
        """Bytes of frames written since a checkpoint last started a segment."""
        return self._since_checkpoint

    @property
    def spare_wanted(self) -> bool:
        """Whether `prepare_spare` has something to do."""
        if self._file is None or self.failure is not None:
            return False
        return not self._has_reserve or (self._spare_bytes == 0 and self._offset > self._limit // 2)

    @property
    def segment_count(self) -> int:
        """Segments on disk."""
        return len(self._old) + (self._file is not None)

    def append(self, batches: Sequence[Sequence[Body]], *, deletes_only: bool = False) -> list[int]:
        """Write one frame for each batch; nothing is durable before `sync`.

        Args:
            batches: the record bodies of each frame.
            deletes_only: they only free space, so the reserve may be used for them; what else is
                appended never goes there.

        Returns:
            The sequence of each frame; of the first of them only, where no segment could be made for
            the rest: nothing of the rest was written.

        Raises:
            DiskError: no segment could be made for the first of them; nothing was written, and later
                appends may succeed.
            JournalFailedError: a write failed: the journal takes nothing any more.
        """
        self._refuse_if_failed()
        sizes = [frame_size(packed_size([body_size(body) for body in batch])) for batch in batches]
        sequences: list[int] = []
        while len(sequences) < len(batches):
            start = len(sequences)
            fitting = self._fitting(sizes[start:], deletes_only)
            if fitting:
                sequences += self._write(batches[start : start + fitting])
            elif not self._make_room(sizes[start], deletes_only, needed=start == 0):
                break
        return sequences

    def _fitting(self, sizes: Sequence[int], deletes_only: bool) -> int:
        """How many frames of these sizes, from the first on, go into the segment in use."""
        if self._file is None or (self._only_deletes and not deletes_only):
            return 0
        ends = accumulate(sizes, initial=self._offset)
        return sum(end <= self._limit for end in ends) - 1

    def _make_room(self, size: int, deletes_only: bool, *, needed: bool) -> bool:
        """Go on in a new segment with room for a frame of `size` bytes; where `needed` raises what prevents it."""
        before = self._size
        if self._file is not None:
            self._size = min(before * _GROWTH, self._segment_bytes)
        try:
            self.start_segment(self.checkpointed_through, size=size, deletes_only=deletes_only)
        except DiskError:
            self._size = before
            if needed or self.failure is not None:
                raise
            return False
        return True

    def _write(self, batches: Sequence[Sequence[Body]]) -> list[int]:
        if self._file is None:
            raise UsageError("the journal has no segment to write to")
        sequences = list(range(self._next_sequence, self._next_sequence + len(batches)))
        wall = self._clock.micros()
        pieces: list[bytes] = []
        for sequence, batch in zip(sequences, batches, strict=True):
            pieces += frame_pieces(self._salt, sequence, wall, self.synced_through, batch)
        offset = self._offset
        try:
            for data in _joined(pieces, _STEP):
                self._file.write_at(offset, data)
                offset += len(data)
        except DiskError as error:
            raise self._fail("write", error) from error
        self._since_checkpoint += offset - self._offset
        self._offset = offset
        self._next_sequence = sequences[-1] + 1
        self._last_counted = sequences[-1]
        return sequences

    def sync(self) -> None:
        """Make every appended frame durable.

        Raises:
            JournalFailedError: the sync failed: the journal takes nothing any more, and the same pages
                are never synced again.
        """
        self._refuse_if_failed()
        if self._file is None or self.synced_through == self._last_counted:
            return
        try:
            self._file.sync()
        except DiskError as error:
            raise self._fail("sync", error) from error
        self.synced_through = self._last_counted

    def start_empty(self) -> None:
        """The first segment of a new store: a header only. Raises as `start_segment`."""
        self._size = HEADER_BLOCK
        self.start_segment(0)

    def start_segment(self, checkpointed_through: int, *, size: int = 0, deletes_only: bool = False) -> None:
        """Sync the segment in use and go on in a new one, whose header states `checkpointed_through`.

        Args:
            checkpointed_through: every frame up to it is in files and views, durably.
            size: bytes of the frame that must fit.
            deletes_only: as in `append`.

        Raises:
            DiskError: no segment could be made; the one in use stays so.
            JournalFailedError: the sync, or giving the new segment its name, failed.
        """
        self.sync()
        self._go_on_in(self._blank(HEADER_BLOCK + size, deletes_only), checkpointed_through)

    def _go_on_in(self, blank: _Blank, checkpointed_through: int) -> None:
        """Give `blank` its header and its name, and use it; the segment in use is synced."""
        header = SegmentHeader(
            number=self._next_number,
            store_id=self._store_id,
            epoch=self._epoch,
            first_sequence=self._last_counted + 1,
            last_sequence=self._last_counted,
            checkpointed_through=checkpointed_through,
            facts=self.facts,
        )
        try:
            file = self._with_header(blank.path, header)
            self._publish(blank.path, header, file)
        finally:
            self._forget(blank.path)
        if self._file is not None:
            self._file.close()
            self._old[self._number] = self._last_counted
        self._file, self._number, self._offset, self._limit = file, header.number, HEADER_BLOCK, blank.size
        self._only_deletes = blank.path == JOURNAL_RESERVE
        self._salt = segment_salt(self._store_id, self._epoch, header.number)
        self._next_number += 1
        if header.checkpointed_through != self.checkpointed_through:
            self._since_checkpoint = 0
        self.checkpointed_through = header.checkpointed_through

    def _with_header(self, path: str, header: SegmentHeader) -> WritableFile:
        file = self._backend.open_existing(path)
        try:
            file.write_at(0, header.encode())
            file.sync()
        except SynthiansMemoryError:
            file.close()
            raise
        return file

    def _publish(self, path: str, header: SegmentHeader, file: WritableFile) -> None:
        try:
            self._backend.replace(path, segment_path(header.number))
            self._backend.sync_folder(JOURNAL)
        except DiskError as error:
            file.close()
            raise self._fail("name a new segment of", error) from error

    def _forget(self, path: str) -> None:
        if path == _SPARE:
            self._spare_bytes = 0
        elif path == JOURNAL_RESERVE:
            self._has_reserve = False

    def _blank(self, needed: int, deletes_only: bool) -> _Blank:
        """A zero-filled file of at least `needed` bytes, to become a segment."""
        if self._spare_bytes >= needed:
            return _Blank(_SPARE, self._spare_bytes)
        size = max(needed, self._size)
        try:
            self._zero_fill(_NEXT, size)
        except DiskError as error:
            if deletes_only and self._has_reserve and needed <= _RESERVE_BYTES:
                return _Blank(JOURNAL_RESERVE, _RESERVE_BYTES)
            if size == needed or not isinstance(error, DiskFullError) or not self._may_be_short(needed, deletes_only):
                raise
            size = needed
            self._zero_fill(_NEXT, size)
        return _Blank(_NEXT, size)

    def _may_be_short(self, needed: int, deletes_only: bool) -> bool:
        """Whether a segment of just `needed` bytes will do where the disk has no room for a whole one.

        A checkpoint needs but a header. Once the reserve is used up, what little is left belongs to deletes.
        """
        return self._has_reserve or deletes_only or needed == HEADER_BLOCK

    def _zero_fill(self, path: str, size: int) -> None:
        self._backend.unlink(path)
        file = self._backend.create(path)
        try:
            for start in range(0, size, len(_ZEROS)):
                file.write(_ZEROS[: min(len(_ZEROS), size - start)])
            file.sync()
        except DiskError:
            file.close()
            self._backend.unlink(path)
            raise
        file.close()

    def prepare_spare(self) -> None:
        """Make the reserve and the next segment ahead of need; idempotent.

        Raises:
            DiskError: no space; the segment in use is not affected.
        """
        if self._file is None or self.failure is not None:
            return
        if not self._has_reserve:
            self._zero_fill(JOURNAL_RESERVE, _RESERVE_BYTES)
            self._has_reserve = True
        if self._spare_bytes == 0 and self._offset > self._limit // 2:
            size = min(self._size * _GROWTH, self._segment_bytes)
            self._zero_fill(_SPARE, size)
            self._spare_bytes = size

    def leave_header(self) -> None:
        """After a checkpoint: go on in a segment that is a header only, where there is one to leave behind.

        Raises as `start_segment`. The next append starts another segment.
        """
        if self._file is not None:
            self._spare_bytes, self._size = 0, HEADER_BLOCK
            self.start_segment(self.checkpointed_through)

    def drop(self, keep: Callable[[int], None] | None = None) -> int:
        """Unlink, oldest first, the old segments that `checkpointed_through` covers; none before a new one is begun.

        Args:
            keep: called with the number of each before it is dropped.

        Returns:
            How many were dropped.

        Raises:
            DiskError: one could not be unlinked, or kept; those before it are gone, which is harmless.
        """
        if self._file is None:
            # The last header alone says how far the checkpoint reaches.
            return 0
        dropped: list[str] = []
        for number in sorted(self._old):
            if self._old[number] > self.checkpointed_through:
                break
            if keep is not None:
                keep(number)
            path = segment_path(number)
            self._backend.unlink(path)
            del self._old[number]
            dropped.append(path)
            # Until the name is durably gone.
            self._unsure.append(path)
        if dropped:
            self._backend.sync_folder(JOURNAL)
            self._unsure = self._unsure[: -len(dropped)]
        return len(dropped)

    def drop_unsure(self) -> None:
        """Drop again what an earlier `drop` has unlinked and could not sync: such a name has to come and go once more.

        Raises:
            DiskError: some of them may still be there after a power cut.
        """
        for path in self._unsure:
            self._backend.unlink(_NEXT)
            self._backend.create(_NEXT).close()
            self._backend.replace(_NEXT, path)
            self._backend.unlink(path)
        if self._unsure:
            self._backend.sync_folder(JOURNAL)
            self._unsure = []

    def close(self) -> None:
        """Release the descriptor; the scratch segments go, the others stay. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard_scratch(self) -> None:
        """Remove the spare; the reserve stays, for a store that is opened on a full disk."""
        self._spare_bytes = 0
        for path in (_SPARE, _NEXT):
            self._backend.unlink(path)

    def discard_written_blanks(self) -> None:
        """Remove scratch segments and a reserve that are not as they are made, all zeros; none is being made meanwhile.

        Raises:
            DiskError: one of them is still there.
        """
        for path in (_SPARE, _NEXT, JOURNAL_RESERVE):
            if (self._backend.read(path) or b"").strip(b"\0"):
                self._backend.unlink(path)
                self._forget(path)

    def _refuse_if_failed(self) -> None:
        if self.failure is not None:
            raise JournalFailedError(self.failure.message, path=self.failure.path, errno=self.failure.errno or 0)

    def _fail(self, action: str, error: DiskError) -> JournalFailedError:
        self.failure = JournalFailedError(
            f"cannot {action} the journal: {error.message}", path=error.path, errno=error.errno or 0
        )
        return self.failure


def _joined(pieces: Iterable[bytes], step: int) -> Iterator[bytes]:
    """The bytes of `pieces` in order, in parts of at least `step` bytes but for the last."""
    part: list[bytes] = []
    size = 0
    for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size >= step:
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)
