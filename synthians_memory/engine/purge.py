"""Purge: every trace of some entities is removed from the store's directory, and a receipt names each place.

It is not a delete, which leaves what it deleted in journal segments, logs, backups and quarantine; nor is it more than an
unlink can be: what a file system, a disk, another copy or a snapshot elsewhere keeps of freed blocks is out of its reach.

    plan saved -> quarantine cleaned -> entities deleted, by the journal -> views written anew, every segment so far
    dropped -> text index, copies of the memory index and strays removed -> receipt saved -> plan removed

Each step is idempotent, and durable before the next begins. The plan names ids and places, and holds no text; while it
is there, the purge is not done: the next open for writing, or the next purge, takes all steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

import orjson

from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Batch, Committer, Operation
from synthians_memory.engine.converter import Converter
from synthians_memory.engine.documents import read_document, read_file, write_document, write_whole
from synthians_memory.engine.faiss_index import HAS_FAISS
from synthians_memory.engine.index_backup import index_backups
from synthians_memory.engine.part_files import list_series, remove_series
from synthians_memory.engine.quarantine_purge import purge_quarantine
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.reembedding import drop_previous
from synthians_memory.engine.replaced_stores import holds_others
from synthians_memory.engine.state import UNSERVABLE, StoreState
from synthians_memory.engine.text_source import StateSource
from synthians_memory.engine.traces import Traces
from synthians_memory.errors import DamagedViewError, DiskError, ReadOnlyError
from synthians_memory.layout import (
    ARCHIVE,
    BACKUPS,
    CENTROIDS,
    ENTITY_FOLDERS,
    FAISS_FILE,
    FAISS_NEXT,
    INDEX,
    INDEX_BACKUPS,
    INDEX_LOG,
    INITIAL_FOLDERS,
    JOURNAL,
    LOGS,
    MAPPING,
    PURGE_PLAN,
    REEMBEDDING,
    REPAIR_PLAN,
    SNAPSHOTS,
    TEXT,
    VECTORS,
    VECTORS_LOG,
    Kind,
    entity_path,
    id_of_file_name,
    is_scratch,
    purge_receipt_path,
    scratch_path,
    segment_number,
    stamp_of,
)
from synthians_memory.models import MemoryAssembly
from synthians_memory.reports import LeftPlace, PurgeAction, PurgedPlace, PurgeReceipt
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import read_journal
from synthians_memory.times import format_time, from_micros, parse_time

__all__ = ["Eraser", "Purger"]

_VIEWS: Final = (INDEX, INDEX_LOG, MAPPING, FAISS_FILE, FAISS_NEXT, VECTORS_LOG)
_AT_ONCE: Final = 500
# A segment may be kept once for changes that wait for their files; they are appended again at each checkpoint.
_MOST_CHECKPOINTS: Final = 3
_STEPS: Final = 8
# What was written anew, removed, or belongs to other entities, so that it need not be searched.
_OWN: Final = frozenset((*ENTITY_FOLDERS.values(), JOURNAL, VECTORS, TEXT, BACKUPS, INDEX, INDEX_LOG))
_STRIDE: Final = 1 << 20


class Eraser(Protocol):
    """What removes traces from a part of the store's directory that the engine knows nothing of, such as snapshots."""

    @property
    def of_backups(self) -> bool:
        """Whether it is asked only where backups are to be purged as well."""

    @property
    def folder(self) -> str:
        """The folder it answers for, relative to the store; nobody else reads in it."""

    def erase(self, backend: Backend, traces: Traces) -> Sequence[PurgedPlace]:
        """Remove every trace, durably; idempotent. Raises DiskError where one may be left."""

    def left(self, backend: Backend, traces: Traces) -> Sequence[LeftPlace]:
        """What it does not touch although there is a trace; asked when everything else is done."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A purge that is not done. `places`: what is to be removed, as far as it was seen."""

    kind: Kind
    ids: tuple[str, ...]
    not_stored: tuple[str, ...]
    started_at: str
    backups: bool
    content_hashes: tuple[str, ...]
    places: tuple[PurgedPlace, ...]

    @property
    def receipt_path(self) -> str:
        return purge_receipt_path(stamp_of(parse_time(self.started_at)))


class Purger:
    """Purges entities of one open store; used by the writer, which does nothing else meanwhile."""

    def __init__(
        self,
        state: StoreState,
        committer: Committer,
        checkpointer: Checkpointer,
        erasers: Sequence[Eraser] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._state = state
        self._backend = state.backend
        self._committer = committer
        self._checkpointer = checkpointer
        self._erasers = erasers
        self._progress = progress
        # Saved anew after a purge had begun that is gone on with: theirs is the id, and nothing else of it.
        self._renewed: frozenset[Key] = frozenset()

    def purge(self, ids: Sequence[str], kind: Kind, *, backups: bool) -> PurgeReceipt:
        """As `MemoryPersistence.purge`; a purge that was interrupted is finished first."""
        if self._state.read_only_reason:
            raise ReadOnlyError(f"the store is read-only: {self._state.read_only_reason}")
        self.resume()
        keys: list[Key] = [(kind, entity_id) for entity_id in dict.fromkeys(ids)]
        missing = tuple(key[1] for key in keys if self._state.index.hash(key) is None and not self._has_file(key))
        started = format_time(from_micros(self._unused_moment()))
        return self._run(_Plan(kind, tuple(key[1] for key in keys), missing, started, backups, (), ()))

    def resume(self) -> PurgeReceipt | None:
        """Finish a purge that was interrupted; None where there is none.

        Raises:
            DamagedViewError: the plan cannot be read.
        """
        plan = _load_plan(self._backend)
        if plan is None:
            return None
        keys: list[Key] = [(plan.kind, entity_id) for entity_id in plan.ids]
        held = {key: self._state.index.hash(key) for key in keys}
        self._renewed = frozenset(
            key for key, found in held.items() if found and found.hex() not in plan.content_hashes
        )
        self._once_more(plan)
        receipt = self._run(plan)
        self._renewed = frozenset()
        return receipt

    def _once_more(self, plan: _Plan) -> None:
        """Make again what an earlier attempt has done, and may have lost in a sync that failed."""
        for place in plan.places:
            if place.action == "removed" and self._backend.stat(place.path) is None:
                self._come_and_go(place.path)
            elif place.action == "blanked" and (data := read_file(self._backend, place.path)) is not None:
                write_whole(self._backend, place.path, [data])

    def _come_and_go(self, path: str) -> None:
        """A removal that was lost is made up for by no other sync, but by a name that comes and goes."""
        folder = path.rpartition("/")[0]
        made = bool(folder) and self._backend.make_folder(folder)
        scratch = scratch_path(folder, "purge")
        self._backend.unlink(scratch)
        self._backend.create(scratch).close()
        self._backend.replace(scratch, path)
        self._remove([path])
        if made:
            self._backend.remove_folder(folder)
            self._backend.sync_folder(folder.rpartition("/")[0])

    def _unused_moment(self) -> int:
        micros = self._state.clock.micros()
        while self._backend.stat(purge_receipt_path(stamp_of(from_micros(micros)))) is not None:
            micros += 1
        return micros

    def _has_file(self, key: Key) -> bool:
        return self._backend.stat(entity_path(*key)) is not None

    # The steps

    def _run(self, plan: _Plan) -> PurgeReceipt:
        # What was in the journal alone is in files from here on, or stuck.
        self._committer.force()
        traces = Traces((plan.kind, entity_id) for entity_id in plan.ids)
        self._learn(traces)
        self._make_logs()
        # Written anew also where it is there: its name may have been lost in a sync that failed.
        plan = self._noted(plan, traces, [*self._inventory(traces), *self._aside(traces)], first=True)
        self._step(1)
        purge_quarantine(self._backend, traces)
        self._step(2)
        self._delete(traces)
        self._step(3)
        self._forget_models()
        self._drop_journal()
        self._step(4)
        self._remove_text()
        self._step(5)
        # The delete may have set a version aside that was written outside.
        plan = self._noted(plan, traces, self._aside(traces))
        purge_quarantine(self._backend, traces)
        self._remove([place.path for place in self._strays(traces)])
        self._step(6)
        for eraser in self._asked(plan):
            plan = self._noted(plan, traces, eraser.erase(self._backend, traces))
        self._step(7)
        return self._finish(plan, traces)

    def _asked(self, plan: _Plan) -> list[Eraser]:
        return [eraser for eraser in self._erasers if plan.backups or not eraser.of_backups]

    def _step(self, number: int) -> None:
        if self._progress is not None:
            self._progress(number, _STEPS)

    def _noted(self, plan: _Plan, traces: Traces, places: Sequence[PurgedPlace], *, first: bool = False) -> _Plan:
        """`plan` with what else is known, durably saved; the first sight of a place counts, before anything was removed."""
        known = {(place.path, place.what): place for place in (*places, *plan.places)}
        hashes = tuple(sorted({*plan.content_hashes, *traces.hashes}))
        noted = replace(plan, places=tuple(known[key] for key in sorted(known)), content_hashes=hashes)
        if noted != plan or first:
            write_document(self._backend, PURGE_PLAN, _lines(asdict(noted)))
        return noted

    def _make_logs(self) -> None:
        """The folder of the plan, durably; an empty one may be what an earlier attempt has made and could not sync."""
        if next(self._backend.scan(LOGS), None) is None:
            self._backend.remove_folder(LOGS)
        if self._backend.make_folder(LOGS):
            self._backend.sync_folder("")

    def _aside(self, traces: Traces) -> list[PurgedPlace]:
        return [*purge_quarantine(self._backend, traces, dry_run=True), *self._strays(traces)]

    def _learn(self, traces: Traces) -> None:
        """What the entities say, in every version that is still to be had."""
        for key in traces.keys - self._renewed:
            data = read_file(self._backend, entity_path(*key))
            if data is not None:
                traces.learn(data)
            acknowledged = self._state.index.hash(key)
            if acknowledged is not None:
                traces.hashes.add(acknowledged.hex())
            version = self._state.overlay.get(key)[1]
            if version is not None:
                traces.learn(version.data)
        identity = (self._state.superblock.store_id, self._state.superblock.epoch)
        for entry in read_journal(self._backend, identity).entries:
            for record in map(decode_record, entry.records):
                if record.key in traces.keys - self._renewed and record.data is not None:
                    traces.learn(record.data)

    def _inventory(self, traces: Traces) -> Iterator[PurgedPlace]:
        for key in sorted(traces.keys - self._renewed):
            yield from self._place(entity_path(*key), "entity file", "removed")
        for name in self._segments():
            yield from self._place(f"{JOURNAL}/{name}", "journal segment, after a checkpoint", "removed")
        for path in _VIEWS:
            yield from self._place(path, "view", "rewritten")
        yield from self._place(CENTROIDS, "computed from the vectors", "removed")
        for name, stat in self._backend.scan(REEMBEDDING):
            yield PurgedPlace(f"{REEMBEDDING}/{name}", "kept or staged by a change of the model", "removed", stat.size)
        for name, stat in self._backend.scan(TEXT):
            if stat.kind == "file":
                yield PurgedPlace(f"{TEXT}/{name}", "text index, built anew when it is asked", "removed", stat.size)

    def _place(self, path: str, what: str, action: PurgeAction) -> Iterator[PurgedPlace]:
        stat = self._backend.stat(path)
        if stat is not None and stat.kind == "file":
            yield PurgedPlace(path, what, action, stat.size)

    def _segments(self) -> set[str]:
        return {name for name, _ in self._backend.scan(JOURNAL) if segment_number(name) is not None}

    def _delete(self, traces: Traces) -> None:
        purged = traces.keys - self._renewed
        held = sorted(key for key in purged if self._state.index.hash(key) is not None)
        for start in range(0, len(held), _AT_ONCE):
            batch = Batch([Operation(*key, None) for key in held[start : start + _AT_ONCE]])
            self._committer.commit([batch])
            if batch.error is not None:
                raise batch.error
        self._committer.force()
        for key in purged:
            self._state.cache.discard(key)
            stat = self._backend.stat(entity_path(*key))
            if stat is not None and stat.kind != "folder":
                # A file that is nobody's, or that could not be removed before; the checkpoint makes it durable.
                self._state.files.remove(*key)

    def _forget_models(self) -> None:
        """Convert what waits for another model, then drop what a change of the model keeps or has begun to stage."""
        state = self._state
        converter = Converter(state, self._committer, self._checkpointer)
        while converter.convert(_AT_ONCE):
            pass
        drop_previous(state)
        remove_series(self._backend, list(list_series(self._backend)))
        self._backend.unlink(CENTROIDS)

    def _drop_journal(self) -> None:
        """Write all views anew, and drop every segment that is there now, also where a reader beside holds them."""
        state, journal = self._state, self._state.journal
        before = self._segments()
        state.vectors.drop_dead()
        state.vectors.forget_files()
        state.index.snapshot_wanted = True
        for _ in range(_MOST_CHECKPOINTS):
            self._checkpointer.wanted = True
            try:
                self._checkpointer.run()
            except DiskError:
                self._checkpointer.abandon()
                raise
            if journal is not None:
                journal.drop()
            if not before & self._segments():
                break
        else:
            raise DiskError(
                f"{len(before & self._segments())} segments of the journal could not be dropped",
                path=JOURNAL,
                hint="Look with `stats` why files cannot be written, then purge again.",
            )
        if journal is not None:
            journal.drop_unsure()
            journal.discard_written_blanks()
        self._backend.sync_folder(JOURNAL)
        if not HAS_FAISS:
            # Whoever has it builds them again.
            self._remove([MAPPING, FAISS_FILE, FAISS_NEXT, VECTORS_LOG])

    def _remove_text(self) -> None:
        self._state.text.discard(StateSource(self._state))
        names = [name for name, stat in self._backend.scan(TEXT) if stat.kind == "file"]
        self._remove([f"{TEXT}/{name}" for name in names])

    def _remove(self, paths: Sequence[str]) -> None:
        """Unlink files, durably; raises DiskError."""
        for path in paths:
            self._backend.unlink(path)
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            try:
                self._backend.sync_folder(folder)
            except DiskError:
                # It may have lost names that were waiting for theirs.
                self._state.files.doubtful |= folder in ENTITY_FOLDERS.values()
                raise

    def _strays(self, traces: Traces) -> list[PurgedPlace]:
        """Copies of the memory index that list the entities, a plan of a repair, scratch, copies under other names."""
        places = [*self._place(REPAIR_PLAN, "plan of an interrupted repair", "removed")]
        for name in index_backups(self._backend):
            path = f"{INDEX_BACKUPS}/{name}"
            if traces.lists(read_file(self._backend, path) or b""):
                places += self._place(path, "copy of the memory index", "removed")
        for folder in ("", *(path for path in INITIAL_FOLDERS if path != JOURNAL), LOGS):
            for name, stat in self._backend.scan(folder):
                path = f"{folder}/{name}" if folder else name
                if stat.kind == "file" and is_scratch(name):
                    places.append(PurgedPlace(path, "scratch of an interrupted write", "removed", stat.size))
        for kind, folder in ENTITY_FOLDERS.items():
            for name, stat in self._backend.scan(folder):
                if stat.kind == "file" and self._is_copy(kind, f"{folder}/{name}", traces):
                    places.append(PurgedPlace(f"{folder}/{name}", "copy under another name", "removed", stat.size))
        return places

    def _is_copy(self, kind: Kind, path: str, traces: Traces) -> bool:
        """Whether a file in an entity folder belongs to nobody else, and says that it is one of the purged."""
        name = path.rpartition("/")[2]
        if path in traces.paths or is_scratch(name) or id_of_file_name(name) in self._state.index.rows[kind]:
            return False
        return traces.names(read_file(self._backend, path) or b"")

    # The end

    def _finish(self, plan: _Plan, traces: Traces) -> PurgeReceipt:
        for key in sorted(traces.keys - self._renewed):
            path = entity_path(*key)
            if self._backend.stat(path) is not None:
                raise DiskError(f"{path} is still there", path=path, hint="Move it away, then purge again.")
        left = tuple(sorted(self._left(plan, traces), key=lambda place: place.path))
        receipt = PurgeReceipt(
            kind=plan.kind,
            ids=plan.ids,
            not_stored=plan.not_stored,
            started_at=plan.started_at,
            finished_at=format_time(from_micros(self._state.clock.micros())),
            content_hashes=plan.content_hashes,
            removed=plan.places,
            left=left,
            path=plan.receipt_path,
        )
        write_document(self._backend, plan.receipt_path, _lines(receipt.to_dict()))
        self._backend.unlink(PURGE_PLAN)
        self._backend.sync_folder(LOGS)
        self._step(_STEPS)
        return receipt

    def _left(self, plan: _Plan, traces: Traces) -> Iterator[LeftPlace]:
        yield from self._assemblies_naming(plan)
        erased = {eraser.folder for eraser in self._asked(plan)}
        for eraser in self._asked(plan):
            yield from eraser.left(self._backend, traces)
        if SNAPSHOTS not in erased and next(self._backend.scan(SNAPSHOTS), None) is not None:
            yield LeftPlace(SNAPSHOTS, "snapshots may hold it; remove those made before this purge")
        if SNAPSHOTS not in erased and next(self._backend.scan(ARCHIVE), None) is not None:
            yield LeftPlace(ARCHIVE, "the archive of the journal may hold it; purge with the backups")
        for name, stat in self._backend.scan(""):
            if name not in _OWN and name not in erased:
                yield from self._quoting(name, stat.kind, traces)

    def _assemblies_naming(self, plan: _Plan) -> Iterator[LeftPlace]:
        ids = frozenset(plan.ids)
        for assembly_id in self._state.index.ids("assembly") if plan.kind == "memory" else ():
            try:
                assembly = self._state.load(("assembly", assembly_id))
            except UNSERVABLE:
                continue
            if isinstance(assembly, MemoryAssembly) and not ids.isdisjoint(assembly.members):
                path = entity_path("assembly", assembly_id)
                yield LeftPlace(path, f"assembly {assembly_id!r} lists its id; save it without")

    def _quoting(self, path: str, kind: str, traces: Traces) -> Iterator[LeftPlace]:
        if kind == "folder" and not holds_others(path):
            for name, stat in self._backend.scan(path):
                yield from self._quoting(f"{path}/{name}", stat.kind, traces)
        elif kind == "file" and any(map(traces.quoted_in, self._pieces(path))):
            yield LeftPlace(path, "it holds a text of it, and is not the store's to remove")

    def _pieces(self, path: str) -> Iterator[bytes]:
        """A file in pieces that overlap, so that no text falls between two of them."""
        offset = 0
        while piece := self._backend.read(path, offset, 2 * _STRIDE):
            yield piece
            offset += _STRIDE


def _lines(fields: dict[str, Any]) -> list[bytes]:
    """The members of a document, all but its hash, each item of a list on a line of its own."""
    return [b"  %s: %s" % (orjson.dumps(name), _text_of(value)) for name, value in fields.items()]


def _text_of(value: Any) -> bytes:
    if not isinstance(value, list | tuple) or not value:
        return orjson.dumps(value)
    return b"[\n%s\n  ]" % b",\n".join(b"    " + orjson.dumps(item) for item in value)


def _load_plan(backend: Backend) -> _Plan | None:
    found = read_document(backend, PURGE_PLAN)
    if found is None:
        return None
    try:
        return _Plan(
            kind=found["kind"],
            ids=tuple(found["ids"]),
            not_stored=tuple(found["not_stored"]),
            started_at=found["started_at"],
            backups=found["backups"],
            content_hashes=tuple(found["content_hashes"]),
            places=tuple(PurgedPlace(**place) for place in found["places"]),
        )
    except (KeyError, TypeError) as error:
        raise DamagedViewError(f"{PURGE_PLAN} is no plan: {error}", path=PURGE_PLAN) from error
