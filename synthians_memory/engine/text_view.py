"""The text index as a view of the store: it follows what is acknowledged, late and in batches, and answers from there.

It is not the database (`text_index`), and nothing is lost with it. A save only notes whose entity changed; who asks
pays for catching up, at most for what was acknowledged before. Batches that are in stay in, so that an interrupted
catching up is gone on with by whoever asks next.

Which database is believed:

- sealed, of this store and epoch: at a clean close everything was durable, so its sequence says whether anything
  changed since.
- not sealed (a crash, or a writer that has it open): its pages are checked, and its rows compared with the memory index,
  id by id and hash by hash. Its sequence proves nothing: what a power cut took has its numbers given out again.
- anything else is removed, and built again from the entities.

Where its files cannot be used (no local disk, no space, something else in their place) or may not be written (read_only),
it lives in memory; a reader begins with a copy of the file. An answer names ids only: the memory index and the entity's
own file decide what a caller gets to see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.records import Key
from synthians_memory.engine.text_document import Document
from synthians_memory.engine.text_files import TextFiles
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.engine.view import NOWHERE, Change, Position
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import TEXT, TEXT_FILE, TEXT_JOURNAL, TEXT_SEAL, Kind
from synthians_memory.storage.backend import Backend

__all__ = ["Source", "TextView"]

T = TypeVar("T")

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
# What an error may be about for the database to be given up.
_OWN: Final = frozenset([TEXT, TEXT_FILE, TEXT_JOURNAL, TEXT_SEAL])
# Entities in one transaction: large enough to cost little each, small enough to be gone on with.
_BATCH: Final = 2000
# Beyond so many changes that nobody asked for, comparing everything is cheaper than remembering them.
_MOST_NOTED: Final = 100_000


class Source(Protocol):
    """What the view is built from: the acknowledged state of a store. Thread-safe."""

    @property
    def backend(self) -> Backend:
        """Where the store is."""

    @property
    def writable(self) -> bool:
        """Whether this process is the store's writer."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Store id, epoch, and the key of metadata that names a conversation."""

    def ids(self, kind: Kind) -> Sequence[str]:
        """All ids of `kind`."""

    def hash(self, key: Key) -> bytes | None:
        """The content hash of the acknowledged version; None where there is none."""

    def document(self, key: Key) -> Document | None:
        """The acknowledged version; None where there is none, or none that can be served."""

    def report(self, error: DamagedViewError | DiskError) -> None:
        """Note why a database was given up."""


class TextView:
    """The text index of one open store; asked by any thread, one after the other."""

    def __init__(self) -> None:
        # Held by who uses the database; `_guard` covers what the writer notes, for moments only.
        self._using = threading.Lock()
        self._guard = threading.Lock()
        self._index: TextIndex | None = None
        self._files: TextFiles | None = None
        self._in_memory = False
        self._sequence = -1
        self._following = False
        self._to_compare = True
        self._noted: dict[Key, None] = {}

    # Following

    def begin(self, sequence: int) -> None:
        """The store was opened by its writer; `sequence`: its last change."""
        self._sequence = sequence

    def note(self, changes: Sequence[Change], sequence: int) -> None:
        """Remember that entities changed; called by the writer when the changes are visible, and cheap.

        Args:
            changes: in order.
            sequence: of the last of them.
        """
        with self._guard:
            self._sequence = sequence
            if self._following:
                self._noted.update(dict.fromkeys(change.key for change in changes))
                if len(self._noted) > _MOST_NOTED:
                    self._noted, self._to_compare = {}, True

    def compare_all(self) -> None:
        """The store was moved on by other ways than `note`."""
        with self._guard:
            self._to_compare = True

    # Asking

    def ask(self, source: Source, deadline: Deadline, question: Callable[[TextIndex], T]) -> T:
        """What `question` answers of the index, which has everything that was acknowledged before the call.

        A database that turns out to be damaged is built again, and asked again.

        Raises:
            SearchTimeoutError: the deadline was reached; what was brought up to date stays so.
            DiskError: an entity cannot be read; or, like DamagedViewError, there is no database even in memory.
        """
        if not self._using.acquire(timeout=deadline.remaining):
            raise deadline.error()
        try:
            for _ in range(2):
                try:
                    return self._answer(source, deadline, question)
                except (DamagedViewError, DiskError) as error:
                    if error.path not in _OWN:
                        # An entity could not be read: that is nothing that another database would mend.
                        raise
                    source.report(error)
                    self._give_up(error, source)
            return self._answer(source, deadline, question)
        finally:
            self._using.release()

    def _answer(self, source: Source, deadline: Deadline, question: Callable[[TextIndex], T]) -> T:
        with self._opened(source).within(deadline) as index:
            self._catch_up(source, index, deadline)
            deadline.check()
            return question(index)

    def _give_up(self, error: DamagedViewError | DiskError, source: Source) -> None:
        """Leave the database; the next one is a new file where this one was damaged and is the writer's, else in memory."""
        in_file = self._index.stored if self._index is not None else self._files is not None
        self._forget()
        if isinstance(error, DiskError) or not in_file or not source.writable or self._files is None:
            self._in_memory = True
        else:
            self._discard_files(self._files)

    def _discard_files(self, files: TextFiles) -> None:
        try:
            files.remove()
        except DiskError:
            self._in_memory = True

    def _forget(self) -> None:
        index, self._index = self._index, None
        with self._guard:
            self._to_compare, self._following, self._noted = True, False, {}
        if index is not None:
            index.close()

    # Opening

    def _opened(self, source: Source) -> TextIndex:
        if self._index is None:
            self._index = self._open(source)
        return self._index

    def _open(self, source: Source) -> TextIndex:
        self._files = None if self._in_memory else TextFiles.of(source.backend)
        if self._files is None:
            return self._made(TextIndex.in_memory(), source)
        found = self._files.look()
        if found.state == "unusable":
            return self._made(TextIndex.in_memory(), source)
        wanted = TextIndex.expected_identity(*source.identity)
        if found.state in ("sealed", "unsealed"):
            index = self._existing(self._files, source)
            if self._is_usable(index, wanted, sealed=found.state == "sealed"):
                self._believe(found.position, source)
                return index
            index.close()
        if not source.writable:
            return self._made(TextIndex.in_memory(), source)
        self._files.prepare(fresh=True)
        return self._made(TextIndex.in_file(self._files.path), source)

    def _existing(self, files: TextFiles, source: Source) -> TextIndex:
        return TextIndex.in_file(files.path) if source.writable else TextIndex.copy_of(files.path)

    def _is_usable(self, index: TextIndex, wanted: tuple[object, ...], *, sealed: bool) -> bool:
        try:
            return (sealed or not index.defect()) and index.identity() == wanted
        except DamagedViewError:
            return False

    def _made(self, index: TextIndex, source: Source) -> TextIndex:
        index.build(*source.identity)
        return index

    def _believe(self, sealed: Position, source: Source) -> None:
        """Spare the comparison where a sealed database reaches as far as the store."""
        with self._guard:
            if source.writable and sealed == Position(source.identity[1], self._sequence):
                self._to_compare, self._following = False, True

    # Catching up

    def _catch_up(self, source: Source, index: TextIndex, deadline: Deadline) -> None:
        with self._guard:
            compare, self._to_compare, self._following = self._to_compare, False, True
        if compare:
            self._note_differences(source, index)
        with self._guard:
            # What is noted from now on stands behind them, and is not waited for.
            left = len(self._noted)
        while left > 0:
            with self._guard:
                batch, rest = self._next_batch(min(left, _BATCH))
                sequence = None if rest else self._sequence
            left -= len(batch)
            try:
                deadline.check()
                if not batch:
                    # So much was saved meanwhile that it was forgotten what.
                    self._catch_up(source, index, deadline)
                    return
                self._take_in(source, index, batch, sequence)
            except BaseException:
                with self._guard:
                    self._noted = {**dict.fromkeys(batch), **self._noted}
                raise

    def _next_batch(self, most: int) -> tuple[list[Key], bool]:
        """The first `most` that are noted, taken out, and whether there are more."""
        noted = list(self._noted)
        self._noted = dict.fromkeys(noted[most:])
        return noted[:most], len(noted) > most

    def _note_differences(self, source: Source, index: TextIndex) -> None:
        try:
            different = _differences(source, index)
        except BaseException:
            self.compare_all()
            raise
        with self._guard:
            self._noted.update(dict.fromkeys(different))

    def _take_in(self, source: Source, index: TextIndex, batch: list[Key], sequence: int | None) -> None:
        documents: list[Document] = []
        removed: list[Key] = []
        for key in batch:
            document = source.document(key)
            if document is None:
                removed.append(key)
            else:
                documents.append(document)
        index.apply(documents, removed, sequence)

    # Leaving

    def seal(self, epoch: str) -> None:
        """Close the database, and note what it holds; the store was checkpointed, and is about to be closed.

        Nothing where it was not used, is in memory, or cannot be sealed: then it is compared when it is used again.
        """
        with self._using:
            index, self._index = self._index, None
            if index is None:
                return
            with self._guard:
                complete = self._following and not self._to_compare and not self._noted
            # Without a seal its rows are compared, or it is built again.
            with suppress(DamagedViewError, DiskError):
                reached = index.position() if index.stored else NOWHERE
                index.close()
                if self._files is not None and reached.epoch == epoch:
                    self._files.seal(reached if complete else reached._replace(sequence=-1))

    def close(self) -> None:
        """Release the database; idempotent."""
        with self._using:
            index, self._index = self._index, None
            if index is not None:
                index.close()

    def discard(self, source: Source) -> None:
        """Remove its files; it is built again when it is asked next. Raises DiskError."""
        with self._using:
            self._forget()
            self._in_memory = False
            files = TextFiles.of(source.backend)
            if files is not None and files.look().state != "unusable":
                files.remove()

    # Checking

    def defect(self, source: Source) -> str:
        """What is wrong with the file, in words; "" where nothing is, or there is none. Writes nothing. Raises DiskError."""
        with self._using:
            try:
                copy = self._copy(source)
                return "" if copy is None else self._defect_of(copy, source)
            except DamagedViewError as error:
                return error.message
            except DiskError as error:
                if error.path not in _OWN:
                    raise
                # A write was interrupted, or goes on: whoever opens it for writing decides.
                return ""

    def _copy(self, source: Source) -> TextIndex | None:
        if self._index is not None and self._index.stored:
            return self._index.copy()
        files = TextFiles.of(source.backend)
        found = files.look() if files is not None else None
        if files is None or found is None or found.state in ("fresh", "unusable"):
            return None
        if found.state == "damaged":
            raise DamagedViewError("the text index does not match its seal", path=TEXT_FILE)
        return TextIndex.copy_of(files.path)

    def _defect_of(self, copy: TextIndex, source: Source) -> str:
        try:
            if copy.identity() != TextIndex.expected_identity(*source.identity):
                # Of another life of the store, or another version: it is built again when it is used.
                return ""
            return copy.defect(deep=True) or self._row_defect(copy, source)
        finally:
            copy.close()

    def _row_defect(self, copy: TextIndex, source: Source) -> str:
        """Rows of which the index says that they are up to date, and that are not; it may lag, but not claim."""
        with self._guard:
            claims = self._index is not None and self._index.stored and not self._to_compare
            lagging = set(self._noted)
            sequence = self._sequence
        different = [key for key in _differences(source, copy) if key not in lagging] if claims else []
        with self._guard:
            moved = self._sequence != sequence
        if not different or moved:
            return ""
        return f"the text index has another version of {len(different)} entities than the memory index"


def _differences(source: Source, index: TextIndex) -> list[Key]:
    """Whose row in `index` is missing, too many, or of another version."""
    found: list[Key] = []
    for kind in _KINDS:
        held = index.hashes(kind)
        ids = source.ids(kind)
        found += [(kind, i) for i in ids if held.pop(i, None) != source.hash((kind, i))]
        found += [(kind, entity_id) for entity_id in held]
    return found
