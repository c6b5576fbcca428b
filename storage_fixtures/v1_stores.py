"""The golden stores of format version 1 as they are made: process by process, call by call.

It writes no file and expects nothing of them; `write_v1.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import numpy as np

from synthians_memory.codec import encode
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.store import Store
from synthians_memory.layout import (
    FAISS_NEXT,
    INDEX_LOG,
    JOURNAL,
    LOCK_FILE,
    VECTORS,
    VECTORS_LOG,
    Kind,
    entity_path,
    scratch_path,
    segment_number,
)
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, as_vector
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import delete, save
from synthians_memory.testing.store_scenarios import logged_views
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.volume import Volume

__all__ = [
    "Files",
    "at_intervals",
    "closed",
    "extremes",
    "killed",
    "logged",
    "mended",
    "recovering",
    "renaming",
    "without_vectors",
    "young",
]

# Path below the store -> bytes.
Files = dict[str, bytes]

_START: Final = 1_795_176_000_000_000  # 2026-11-20T12:00:00Z
_BORN: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_FIRST_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_CONFIG: Final = StoreConfig(embedding_dimension=4, segment_bytes=16 * 1024, index_backup_count=0)
# What killed processes leave of their lock.
_LOCK_NOTE: Final = b'{"host": "golden", "pid": 4711, "started": "2026-11-20T12:00:00.000000Z"}\n'
# Their lengths are whole numbers, so that no machine rounds them otherwise.
_VECTORS: Final = (
    (1.0, 0.0, 0.0, 0.0),
    (0.0, 2.0, 0.0, 0.0),
    (0.5, 0.5, 0.5, 0.5),
    (0.0, 0.0, 3.0, 4.0),
    (0.0, 4.0, 0.0, 3.0),
    (3.0, 4.0, 0.0, 0.0),
    (1.0, -1.0, 1.0, 1.0),
    (-3.0, 0.0, 4.0, 0.0),
    (0.0, -3.0, -4.0, 0.0),
)


class _MachineThatDies(FaultyBackend):
    """A back end whose process dies at the first call that `fatal` names, which does not happen."""

    def __init__(self, disk: FaultyDisk, fatal: Callable[[str, str], bool]) -> None:
        super().__init__(disk)
        self._fatal = fatal

    def replace(self, source: str, target: str) -> None:
        self._die_at("replace", source)
        super().replace(source, target)

    def unlink(self, path: str) -> bool:
        self._die_at("unlink", path)
        return super().unlink(path)

    def _die_at(self, verb: str, path: str) -> None:
        if self._fatal(verb, path):
            raise PowerCut(f"{verb} {path}")


class Golden:
    """A store being made, one process after the other, on a disk whose clock goes as told."""

    def __init__(
        self,
        config: StoreConfig = _CONFIG,
        embedder: tuple[str, int] | None = None,
        first_dies: Callable[[str, str], bool] | None = None,
    ) -> None:
        self.clock = ManualClock(_START)
        self._numbers = count(1)
        self._config = config
        self._embedder = embedder
        # Equal times, however many calls the library makes.
        self._disk = FaultyDisk(Volume(tick_ns=0, now_ns=_START * 1000))
        self.store: Store
        if first_dies is None:
            self.store = self._opened(FaultyBackend(self._disk))
        else:
            self.die_opening(first_dies)

    def _opened(self, backend: FaultyBackend) -> Store:
        return Store.open(
            backend, self._config, self.clock, embedder=self._embedder, new_id=lambda: f"{next(self._numbers):032x}"
        )

    def batch(self, *operations: Operation) -> None:
        """Commit them as one frame, a second later."""
        self.group(operations)

    def group(self, *batches: Sequence[Operation]) -> None:
        """Commit each batch as a frame, all with one sync, a second later."""
        self._pass()
        made = [Batch(operations) for operations in batches]
        self.store.commit(made)
        for batch in made:
            if batch.error is not None:
                raise batch.error

    def save(self, *entities: Entity) -> None:
        """Commit one batch that saves them."""
        self.batch(*map(save, entities))

    def delete(self, *names: str, kind: Kind = "memory") -> None:
        """Commit one batch that deletes them."""
        self.batch(*(delete((kind, name)) for name in names))

    def checkpoint(self) -> None:
        """Bring files and views up to the journal, a second later."""
        self._pass()
        self.store.checkpoint()

    def _pass(self) -> None:
        self.clock.advance(1)
        self._disk.volume.now_ns = self.clock.micros() * 1000

    def close(self) -> None:
        """End the process in order."""
        self._pass()
        self.store.close()

    def kill(self) -> None:
        """End the process as it stands; its files stay as they are."""
        self._disk = self._disk.crash("killed")

    def open(self) -> None:
        """Start another process, after a `close` or a `kill`."""
        self._pass()
        self.store = self._opened(FaultyBackend(self._disk))

    def die_opening(self, fatal: Callable[[str, str], bool]) -> None:
        """Start a process that dies, while it opens the store, at the first replace or unlink that `fatal` names."""
        self._pass()
        try:
            self._opened(_MachineThatDies(self._disk, fatal))
        except PowerCut:
            self.kill()
            return
        raise AssertionError("it did not come to that")

    def die_checkpointing(self, fatal: Callable[[str, str], bool], *operations: Operation) -> None:
        """As `die_opening`, but after a commit, at a checkpoint."""
        self._pass()
        self.store = self._opened(_MachineThatDies(self._disk, fatal))
        self.batch(*operations)
        try:
            self.checkpoint()
        except PowerCut:
            self.kill()
            return
        raise AssertionError("it did not come to that")

    def put(self, path: str, data: bytes | None) -> None:
        """Write or remove a file past the store, as another program does."""
        backend = FaultyBackend(self._disk)
        backend.unlink(path)
        if data is not None:
            file = backend.create(path)
            file.write(data)
            file.close()

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        return FaultyBackend(self._disk).read(path) or b""

    def files(self) -> Files:
        """All files, without the note of a lock, which names a process."""
        found = all_files(FaultyBackend(self._disk))
        found.pop(LOCK_FILE, None)
        return found


def _is_unlink_of_segment(verb: str, path: str) -> bool:
    return verb == "unlink" and segment_number(path.removeprefix(f"{JOURNAL}/")) is not None


# What they hold


def _memory(name: str, place: int | None, words: str = "", **fields: Any) -> MemoryEntry:
    """The memory `name` with the vector of that place, or without one."""
    vector = None if place is None else as_vector(_VECTORS[place])
    created = fields.pop("created_at", _BORN)
    return MemoryEntry(
        memory_id=name, content=words or f"What {name} says.", embedding=vector, created_at=created, **fields
    )


def _assembly(name: str, place: int | None, *members: str, **fields: Any) -> MemoryAssembly:
    vector = None if place is None else as_vector(_VECTORS[place])
    return MemoryAssembly(
        assembly_id=name, name=f"Of {name}", members=members, composite_embedding=vector, created_at=_BORN, **fields
    )


def _nested(levels: int) -> object:
    value: object = []
    for _ in range(levels - 1):
        value = [value]
    return value


_EVERY_KIND_OF_TEXT: Final = '\x00\x08\t\n\x0b\x0c\r\x1f\x7f\x80\x9f "\\/ \u00e9 e\u0301 \u05d0 \u65e5\u672c \u2028\u2029 \ufeff \uffff \U0001f600 </script>'
_EVERY_KIND_OF_VALUE: Final[dict[str, Any]] = {
    "integers": [-(2**63), -1, 0, 2**53 + 1, 2**63, 2**64 - 1],
    "floats": [5e-324, 2.2250738585072014e-308, -0.0, 0.1, 1e15, 1e16, 1e22, 1.7976931348623157e308],
    "words": [True, False, None],
    "empty": [{}, [], ""],
    "": {"deep": _nested(98)},
    _EVERY_KIND_OF_TEXT: _EVERY_KIND_OF_TEXT,
    "b": 2,
    "a": 1,
}
# 0x15AE43FD is the one that rounding twice would give to its neighbour; then the ends of the range, and zeros.
_EXTREME_NUMBERS: Final = (
    np.array(
        [0x15AE43FD, 0x95AE43FD, 0x15AE43FC, 0x15AE43FE, 0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x80000000, 0],
        dtype="<u4",
    )
    .view("<f4")
    .copy()
)
_ORDINARY_NUMBERS: Final = np.array([0, 0, 0, 0, 0, 0, 0, 0, 2, 1], dtype="<f4")


def _extreme_memory() -> MemoryEntry:
    return MemoryEntry(
        memory_id="extreme",
        content=_EVERY_KIND_OF_TEXT,
        embedding=_EXTREME_NUMBERS,
        created_at=_FIRST_TIME,
        quickrecal_score=5e-324,
        quickrecal_updated=_LAST_TIME,
        metadata=_EVERY_KIND_OF_VALUE,
        tags=("", "twice", "twice", _EVERY_KIND_OF_TEXT),
        access_count=2**63 - 1,
        last_access_time=_FIRST_TIME,
        expires_at=_LAST_TIME,
        hyperbolic_embedding=-_EXTREME_NUMBERS[:3],
        extra={"zoo": _nested(99), "": 1, "\u00e4": None, _EVERY_KIND_OF_TEXT: {"b": 1, "a": 2}, "Score": 1.5},
    )


def _extreme_assembly() -> MemoryAssembly:
    return MemoryAssembly(
        assembly_id="extreme",
        name=_EVERY_KIND_OF_TEXT,
        description=_EVERY_KIND_OF_TEXT,
        members=("extreme", "extreme", "never there", "\U0001f600" * 20),
        keywords=("", _EVERY_KIND_OF_TEXT),
        tags=("one", "one"),
        topics=("\u2028",),
        metadata=_EVERY_KIND_OF_VALUE,
        created_at=_LAST_TIME,
        last_access_time=_FIRST_TIME,
        last_activation=_LAST_TIME,
        activation_level=-1.7976931348623157e308,
        activation_count=2**63 - 1,
        access_count=2**63 - 1,
        emotion_profile={"joy": 1e-7, "rest": _nested(99)},
        is_active=False,
        merged_from=("nobody", "Nobody"),
        vector_index_updated_at=_FIRST_TIME,
        composite_embedding=_EXTREME_NUMBERS[::-1],
        hyperbolic_embedding=_EXTREME_NUMBERS[6:8],
        extra={"Zoo": [], "_": {}, "zoo": -(2**63)},
    )


def _kept(entity: Entity, moment: datetime) -> Operation:
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (moment.resolution)
    return replace(save(entity), keep_micros=micros)


# The stores


def closed() -> Files:
    """Cosine, with an embedder, closed in order; with all that ids may be."""
    golden = Golden(
        replace(_CONFIG, index_backup_count=2, backup_interval=2.0, embedding_dimension=None), ("letters", 4)
    )
    golden.save(
        _memory("550e8400-e29b-41d4-a716-446655440000", 0, metadata={"topic": "gil", "page": 3}, tags=("python",)),
        _memory("Ada", 1, "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", metadata={"topic": "gil"}),
        _memory("ada", 2, metadata={"topic": "case"}, extra={"mood": "calm"}),
        _memory("../a b/%41\u00e9\u65e5.JSON", 3, hyperbolic_embedding=[0.25, -0.5]),
        _memory(".hidden", 4, quickrecal_score=1.0),
        _memory("con", None),
        _memory("lpt9.txt", None, quickrecal_score=0.0, access_count=7),
        _assembly("Ada", 5, "Ada", "ada", keywords=("case",), emotion_profile={"joy": 0.25}),
        _assembly("plain", None, "never there"),
    )
    for moment in range(4):
        golden.clock.advance(2)
        golden.save(_memory("Ada", 6, f"Edition {moment}", metadata={"topic": "gil", "edition": moment}))
        golden.checkpoint()
    golden.close()
    return golden.files()


def extremes() -> Files:
    """Inner product; every field of both kinds at the ends of what it may be."""
    golden = Golden(replace(_CONFIG, embedding_dimension=None, metric="ip"))
    golden.batch(
        save(_extreme_memory()),
        save(_extreme_assembly()),
        _kept(MemoryEntry(memory_id="x" * 200, content="", created_at=_FIRST_TIME), _FIRST_TIME),
        _kept(MemoryEntry(memory_id="A" * 83, content="the last", created_at=_LAST_TIME), _LAST_TIME),
        save(
            MemoryEntry(
                memory_id="\U0001f600" * 20, content="\U0001f600", embedding=_ORDINARY_NUMBERS, created_at=_BORN
            )
        ),
        save(MemoryEntry(memory_id="zero", content="-", embedding=0 * _ORDINARY_NUMBERS, created_at=_BORN)),
        save(MemoryAssembly(assembly_id="%", created_at=_BORN)),
    )
    golden.close()
    return golden.files()


def without_vectors() -> Files:
    """No vector was ever stored: no dimension, no vector index."""
    golden = Golden(replace(_CONFIG, embedding_dimension=None))
    golden.save(_memory("one", None), _memory("two", None), _assembly("both", None, "one", "two"))
    golden.delete("two")
    golden.close()
    return golden.files()


def killed() -> Files:
    """L2, killed after more was acknowledged than reached files and views; the last group is torn."""
    golden = Golden(replace(_CONFIG, metric="l2"))
    golden.save(*(_memory(f"m{n}", n) for n in range(6)), _assembly("pair", 6, "m0", "m1"), _assembly("gone", 7, "m5"))
    golden.close()
    golden.open()
    long = "so much that the segment does not hold it " * 160
    golden.save(_memory("m1", 7, "Edition 2"), _memory("new", 8), _assembly("pair", 8, "m1", "new"))
    golden.batch(delete(("memory", "m0")), delete(("assembly", "gone")), save(_memory("m2", None, "Lost its vector")))
    golden.group([save(_memory("m3", 3, long))], [save(_memory("m3", 2, "Edition 3")), delete(("memory", "m4"))])
    golden.save(_memory("m4", 4, long))
    golden.save(_memory("m0", None, "Saved again"))
    journal = golden.store.state.journal
    if journal is not None:
        journal.prepare_spare()
    before = golden.files()
    golden.group([save(_memory("torn", 0))], [save(_memory("behind", 1))])
    golden.kill()
    # Of the last group one batch reached the disk in part, and then no file was written.
    tail = max(path for path in before if path.endswith(".wal"))
    data = bytearray(golden.read(tail))
    start = before[tail].rstrip(b"\0")
    first = data.index(b"SMF1", len(start))
    data[first + 200 : first + 300] = bytes(100)
    return {**before, tail: bytes(data), LOCK_FILE: _LOCK_NOTE}


def recovering() -> Files:
    """The recovery of such a store was killed before it dropped the segments that it had covered."""
    golden = Golden()
    golden.save(*(_memory(f"m{n}", n) for n in range(4)))
    golden.checkpoint()
    golden.save(_memory("m1", 6, "Edition 2"))
    before = golden.files()
    golden.group([save(_memory("torn", 0))], [save(_memory("behind", 1))])
    golden.kill()
    tail = max(path for path in before if path.endswith(".wal"))
    data = bytearray(golden.read(tail))
    data[data.index(b"What torn says")] ^= 1
    golden.put(tail, bytes(data))
    for name in ("torn", "behind"):
        golden.put(entity_path("memory", name), None)
    golden.die_opening(_is_unlink_of_segment)
    return golden.files()


def logged() -> Files:
    """Changes stand in the logs of both views; a killed process left more in the journal, and half a group in a log."""
    golden = Golden()
    golden.save(*(_memory(f"m{n}", n) for n in range(6)), _assembly("pair", 6, "m0", "m1"), _assembly("gone", 7))
    golden.checkpoint()
    with logged_views(100.0):
        golden.save(_memory("m1", 7, "Edition 2"), _memory("new", 8))
        golden.delete("m0")
        golden.checkpoint()
        golden.save(_memory("m2", 2, "The same vector"), _memory("plain", None))
        golden.checkpoint()
        golden.batch(delete(("assembly", "gone")), save(_assembly("pair", 0, "m1")), save(_memory("m3", None)))
        golden.checkpoint()
        golden.save(_memory("m0", 1, "Saved again"))
        golden.checkpoint()
        golden.delete("m4")
        golden.kill()
    golden.put(INDEX_LOG, golden.read(INDEX_LOG) + b'{"remove":"memory","id":"m4"}\n{"commit":')
    golden.put(VECTORS_LOG, golden.read(VECTORS_LOG) + b"SMF1\x1c\0\0\0")
    return {**golden.files(), LOCK_FILE: _LOCK_NOTE}


def renaming() -> Files:
    """Killed between the two steps of a snapshot: mapping.json names memory_vectors.faiss.next."""
    golden = Golden()
    golden.save(*(_memory(f"m{n}", n) for n in range(3)), _assembly("pair", 3, "m0"))
    golden.close()
    golden.die_checkpointing(
        lambda verb, path: (verb, path) == ("replace", FAISS_NEXT), save(_memory("m1", 4)), delete(("memory", "m0"))
    )
    return golden.files()


def mended() -> Files:
    """With an epoch of its own since its journal was lost, and with much in quarantine."""
    golden = Golden()
    golden.save(*(_memory(f"m{n}", n) for n in range(4)), _memory("reason", 4), _assembly("pair", 5, "m0"))
    golden.close()
    # Nothing in the journal tells any more how far it had come.
    segment = max(path for path in golden.files() if path.endswith(".wal"))
    golden.put(segment, b"?" + golden.read(segment)[1:])
    golden.open()
    # Another program writes an entity behind the store's back, and damages another.
    golden.put(entity_path("memory", "m1"), encode(_memory("m1", 1, "Written outside")).stamp(_START).data)
    golden.save(_memory("m1", 6, "Edition 2"))
    golden.close()
    golden.put(entity_path("memory", "reason"), golden.read(entity_path("memory", "reason")).replace(b"says", b"said"))
    golden.put(entity_path("memory", "m2"), golden.read(entity_path("memory", "m2"))[:300])
    golden.open()
    golden.store.repair()
    golden.save(_memory("m3", 7, "Edition 2"))
    golden.close()
    return golden.files()


def at_intervals() -> Files:
    """Durable at intervals, killed: the journal has what no file has, and nothing claims that it is synced."""
    golden = Golden(replace(_CONFIG, durability="interval", flush_threshold=4))
    golden.save(*(_memory(f"m{n}", n) for n in range(4)))
    golden.close()
    golden.open()
    golden.save(_memory("m0", 4, "Edition 2"))
    golden.delete("m1")
    golden.save(_memory("late", 5), _assembly("pair", 6, "late"))
    golden.save(_memory("later", 7))
    golden.delete("m2")
    golden.kill()
    return {**golden.files(), LOCK_FILE: _LOCK_NOTE}


def young() -> Files:
    """Killed while it was made, before either view was written: it holds nothing, and has no mapping.json."""
    golden = Golden(first_dies=lambda verb, path: verb == "replace" and path == scratch_path(VECTORS, "mapping.json"))
    return {**golden.files(), LOCK_FILE: _LOCK_NOTE}
