"""Lives of one journal, process after process, and what they owe to whoever reads it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from synthians_memory.errors import DiskError, JournalFailedError
from synthians_memory.layout import JOURNAL, segment_number, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.journal import Journal
from synthians_memory.storage.segment import JournalContents, read_journal

STORE, EPOCH = "0" * 32, "1" * 32
IDENTITY = (STORE, EPOCH)
FACTS = {"store_id": STORE, "epoch": EPOCH, "embedding_dimension": 4}
SMALL = 8192


class TickingClock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def micros(self) -> int:
        self.now += 1
        return self.now

    def monotonic(self) -> float:
        return self.now / 1e6


def journal_on(backend: Backend, contents: JournalContents | None = None, segment_bytes: int = SMALL) -> Journal:
    """A journal that goes on where `contents` ends, as recovery makes it."""
    contents = contents or JournalContents()
    return Journal(
        backend,
        TickingClock(),
        store_id=STORE,
        epoch=EPOCH,
        facts=FACTS,
        next_number=contents.highest_number + 1,
        last_counted=contents.last_sequence,
        next_sequence=contents.highest_sequence + 1,
        checkpointed_through=contents.checkpointed_through,
        segments=contents.segments,
        segment_bytes=segment_bytes,
    )


def segment_paths(backend: Backend) -> list[str]:
    numbers = sorted(n for n in (segment_number(name) for name, _ in backend.scan(JOURNAL)) if n is not None)
    return [segment_path(number) for number in numbers]


def content(backend: Backend, path: str) -> bytes:
    data = backend.read(path)
    assert data is not None
    return data


def overwrite(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.sync()
    file.close()


@dataclass(frozen=True)
class Batch:
    sequence: int
    records: list[bytes]


@dataclass
class Promises:
    """What was promised in all lives so far.

    Attributes:
        kept: acknowledged, in order: replayed by every reader until a checkpoint covers them.
        pending: written after them and not acknowledged: a reader finds the first so many, or none.
        checkpoints: every `checkpointed_through` that a header may state; the last but those under way is owed.
        owed_checkpoint: the highest one that is durable.
        torn: whether the tail of a life before is still to be seen.
    """

    kept: list[Batch] = field(default_factory=list)
    pending: list[Batch] = field(default_factory=list)
    checkpoints: set[int] = field(default_factory=lambda: {0})
    owed_checkpoint: int = 0
    torn: bool = False
    made: int = 0

    def copy(self) -> Promises:
        return replace(self, kept=list(self.kept), pending=list(self.pending), checkpoints=set(self.checkpoints))

    def new_records(self, sizes: Sequence[int]) -> list[bytes]:
        """Records like no others, of about these sizes."""
        self.made += 1
        return [b"%d.%d " % (self.made, n) + bytes([65 + self.made % 26]) * size for n, size in enumerate(sizes)]

    def acknowledge(self) -> None:
        self.kept += self.pending
        self.pending = []

    def check(self, contents: JournalContents) -> list[Batch]:
        """Every promise holds; returns the batches that were not acknowledged and are there all the same."""
        through = contents.checkpointed_through
        assert through in self.checkpoints
        assert through >= self.owed_checkpoint
        found = [Batch(entry.sequence, entry.records) for entry in contents.entries]
        owed = [batch for batch in self.kept if batch.sequence > through]
        assert found[: len(owed)] == owed
        more = [batch for batch in self.pending if batch.sequence <= through] + found[len(owed) :]
        assert more == self.pending[: len(more)]
        assert contents.last_sequence == [0, *(batch.sequence for batch in self.kept + more)][-1]
        # A crash is never taken for damage, and what was cut is reported.
        assert [contents.damage, contents.headless, contents.unreadable, contents.foreign] == [[]] * 4
        assert all(torn.data for torn in contents.torn)
        assert not contents.torn or self.torn or len(more) < len(self.pending)
        return more


class Life:
    """One process with the journal: opens it as recovery does, and takes steps.

    Args:
        backend: where.
        promises: of the lives before; kept up to date.
        checkpoint: what is replayed goes to files and is covered by a checkpoint; else only the journal has it.
        segment_bytes: as in Journal.
    """

    def __init__(
        self, backend: Backend, promises: Promises, *, checkpoint: bool = True, segment_bytes: int = SMALL
    ) -> None:
        self.backend = backend
        self.promises = promises
        backend.make_folder(JOURNAL)
        backend.sync_folder("")
        contents = read_journal(backend, IDENTITY)
        promises.pending = promises.check(contents)
        promises.torn = bool(contents.torn)
        self.journal = journal_on(backend, contents, segment_bytes)
        if checkpoint:
            self.checkpoint()
            self.journal.drop()
        else:
            self._sync_tail(contents)
            self.journal.start_segment(contents.checkpointed_through)
        promises.acknowledge()
        promises.torn = False

    def _sync_tail(self, contents: JournalContents) -> None:
        for number in {entry.number for entry in contents.entries}:
            file = self.backend.open_existing(segment_path(number))
            file.sync()
            file.close()

    def append(self, *sizes: Sequence[int], deletes_only: bool = False) -> int:
        """Append one batch for each list of record sizes; returns how many were written."""
        promises, journal = self.promises, self.journal
        made = [promises.new_records(group) for group in sizes]
        if journal.failure is None:
            following = range(journal._next_sequence, journal._next_sequence + len(made))
            promises.pending += [Batch(*pair) for pair in zip(following, made, strict=True)]
        written: list[int] = []
        try:
            written = journal.append(made, deletes_only=deletes_only)
        finally:
            if journal.failure is None and not getattr(getattr(self.backend, "disk", None), "power_is_off", False):
                # What found no room was not written: it never appears.
                del promises.pending[len(promises.pending) - len(made) + len(written) :]
        return len(written)

    def sync(self) -> None:
        self.journal.sync()
        self.promises.acknowledge()

    def save(self, *sizes: Sequence[int]) -> None:
        self.append(*sizes)
        self.sync()

    def checkpoint(self) -> None:
        """State that everything written so far is in files."""
        target = self.journal.last_sequence
        self.promises.checkpoints.add(target)
        self.journal.start_segment(target)
        self.promises.owed_checkpoint = target
        self.promises.acknowledge()

    def rotate(self) -> None:
        self.journal.start_segment(self.journal.checkpointed_through)
        self.promises.acknowledge()

    def leave(self) -> None:
        self.journal.leave_header()
        self.promises.acknowledge()

    def attempt(self, step: str, *sizes: Sequence[int], deletes_only: bool = False) -> bool:
        """Take a step that may fail as journals may; False where it did."""
        try:
            if step == "append":
                return self.append(*sizes, deletes_only=deletes_only) == len(sizes)
            getattr(self if hasattr(self, step) else self.journal, step)()
        except JournalFailedError:
            # Frozen from here on, and for ever.
            return self.journal.failure is None
        except DiskError:
            return False
        return True
