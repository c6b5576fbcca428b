"""Writes broken/<defect>/store/: small stores, each broken in the way of its name, the same bytes every time.

It does not write broken/<defect>/expected.json: what a check must say of each store, what open mends and what a repair
leaves is written by hand.

    python storage_fixtures/write_broken.py            write them all anew
    python storage_fixtures/write_broken.py --check    only compare; exit code 1 where one differs
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from frozen_rows import frozen_rows

from synthians_memory.codec import encode, seal
from synthians_memory.config import StoreConfig
from synthians_memory.engine.store import Store
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    FAISS_FILE,
    INDEX,
    INDEX_LOG,
    LOCK_FILE,
    MAPPING,
    REPAIR_PLAN,
    SUPERBLOCK,
    VECTORS,
    VECTORS_LOG,
    entity_path,
    is_scratch,
    scratch_path,
    segment_path,
)
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import logged_views
from synthians_memory.testing.stored_files import all_files

__all__ = ["BROKEN", "CONFIG", "DEFECTS", "differences", "files_of", "main", "stored_at"]

BROKEN: Final = Path(__file__).resolve().parent / "broken"
CONFIG: Final = StoreConfig(embedding_dimension=4, segment_bytes=16 * 1024, index_backup_count=0)

# Path below the store -> bytes.
Files = dict[str, bytes]

_BORN: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_CLOCK: Final = 1_795_176_000_000_000  # 2026-11-20T12:00:00Z
_NAMES: Final = ("one", "two", "three", "four", "five")
# Of the first editions, then of later ones. Their lengths are whole numbers, so that no machine rounds them otherwise.
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
TWO: Final = entity_path("memory", "two")
THREE: Final = entity_path("memory", "three")


def memory(name: str, edition: int = 1, *, embedded: bool = True) -> MemoryEntry:
    """The memory `name` in one of its editions, each with another vector."""
    place = _NAMES.index(name) if name in _NAMES else len(name)
    numbers = _VECTORS[place if edition == 1 else len(_NAMES) + (place + edition) % 4]
    return MemoryEntry(
        memory_id=name,
        content=f"{name}, edition {edition}",
        embedding=np.array(numbers, dtype=np.float32) if embedded else None,
        created_at=_BORN,
        tags=("fixture",),
    )


# Stores that nothing is wrong with


class Recipe(NamedTuple):
    """How a sound store is made.

    Attributes:
        four: the memory called four; None for the usual one.
        members: of the assembly.
        many: how many more memories there are.
        left_open: whether the power was cut after more was acknowledged than reached the files.
        numbers_from: store id and epoch are made of the numbers from here on.
    """

    four: MemoryEntry | None = None
    members: tuple[str, ...] = ("one", "two")
    many: int = 0
    left_open: bool = False
    numbers_from: int = 1


def sound(recipe: Recipe) -> Files:
    """The files of a store with four memories and an assembly; both views have a group in their logs."""
    disk, clock, numbers = FaultyDisk(), ManualClock(_CLOCK), count(recipe.numbers_from)
    store = Store.open(FaultyBackend(disk), CONFIG, clock, new_id=lambda: f"{next(numbers):032x}")
    driven = DrivenStore(store, StoreHistory())
    pair = MemoryAssembly(assembly_id="pair", name="A pair", members=recipe.members, created_at=_BORN)
    driven.save(memory("one"), memory("two"), memory("three"), recipe.four or memory("four"), pair)
    if recipe.many:
        driven.save(*(memory(f"more-{n:02}") for n in range(recipe.many)))
    driven.checkpoint()
    clock.advance(1)
    with logged_views(100.0):
        driven.save(memory("two", 2))
        driven.close()
        if recipe.left_open:
            _leave_open(disk, clock)
    return _trimmed(all_files(FaultyBackend(disk.crash("lose_all"))))


def _leave_open(disk: FaultyDisk, clock: ManualClock) -> None:
    driven = DrivenStore(Store.open(FaultyBackend(disk), CONFIG, clock), StoreHistory())
    driven.save(memory("five"))
    driven.save(memory("two", 3))
    driven.delete(("memory", "three"))
    driven.save(memory("one", 2))


def _trimmed(files: Mapping[str, bytes]) -> Files:
    """Without the lock's note, scratch, and the zeros that a segment is filled with ahead."""
    kept = {path: data for path, data in files.items() if path != LOCK_FILE and not is_scratch(_name(path))}
    for path in _segments(kept):
        end = max(4096, len(kept[path].rstrip(b"\0")))
        kept[path] = kept[path][: (end + 7) // 8 * 8]
    return kept


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _segments(files: Mapping[str, bytes]) -> list[str]:
    return sorted(path for path in files if path.endswith(".wal"))


# What breaks them


def _flip(files: Files, path: str, offset: int) -> None:
    data = bytearray(files[path])
    data[offset] ^= 0x01
    files[path] = bytes(data)


def _flip_in(files: Files, path: str, text: bytes) -> None:
    _flip(files, path, files[path].index(text) + len(text) - 1)


def _reseal(files: Files, path: str, change: Callable[[dict[str, Any]], object]) -> None:
    """As another program would change a sealed document, with a hash line that is right."""
    fields = orjson.loads(files[path])
    del fields["content_hash"]
    change(fields)
    files[path] = seal(b'  "%s": %s' % (name.encode(), orjson.dumps(value)) for name, value in fields.items())


def _sealed(entity: MemoryEntry, seconds: int) -> bytes:
    return encode(entity).stamp(_CLOCK + seconds * 1_000_000).data


def _edit_by_hand(files: Files) -> None:
    text = files[TWO].decode()
    head = text[: text.index(',\n  "content_hash"')]
    files[TWO] = head.replace("two, edition 2", "two, written by hand").encode() + b"\n}\n"


def _put_folder(files: Files) -> None:
    del files[TWO]
    files[f"{TWO}/inside.txt"] = b"a folder stands in the place of a file\n"


def _swap(files: Files) -> None:
    one = entity_path("memory", "one")
    files[one], files[TWO] = files[TWO], files[one]


def _take_vectors_of(recipe: Recipe) -> Callable[[Files], None]:
    def take(files: Files) -> None:
        other = sound(recipe)
        files.update({path: data for path, data in other.items() if path.startswith(f"{VECTORS}/")})

    return take


def _make_vector_wrong(files: Files) -> None:
    """As a program does that writes the pair of files, and does it wrong."""
    _flip(files, FAISS_FILE, -2)
    digest = hashlib.sha256(files[FAISS_FILE]).hexdigest()
    _reseal(files, MAPPING, lambda fields: fields["metadata"].update(faiss_sha256=digest))


def _remove(*names: str) -> Callable[[Files], None]:
    """Every file of these names, and all below a folder of these names."""

    def remove(files: Files) -> None:
        for path in [p for p in files if p in names or p.startswith(tuple(f"{name}/" for name in names))]:
            del files[path]

    return remove


def _tear_last_frame(files: Files) -> None:
    """The second half of the last frame never reached the disk."""
    path = _segments(files)[-1]
    start = files[path].rindex(b"SMF1")
    files[path] = files[path][: start + 200]


def _add_foreign_segment(files: Files) -> None:
    other = sound(Recipe(left_open=True, numbers_from=100))
    files[segment_path(30)] = other[_segments(other)[-1]]


def _save_plan(files: Files) -> None:
    step = {"action": "set_aside", "path": TWO, "kind": "memory", "entity_id": "two"}
    _flip_in(files, TWO, b"two, edition")
    files[REPAIR_PLAN] = seal([b'  "steps": %s' % orjson.dumps([step])])


def _leave_scratch(files: Files) -> None:
    files[scratch_path(ENTITY_FOLDERS["memory"], "7")] = files[TWO][:100]
    files[scratch_path("", SUPERBLOCK)] = b"{\n"


def _add_foreign_names(files: Files) -> None:
    files["memories/README.md"] = b"What a person keeps beside the memories.\n"
    files["memories/Two.json"] = files[TWO]


class Defect(NamedTuple):
    """One way in which a store is broken.

    Attributes:
        inflict: does it to the files of a sound store.
        recipe: how that was made.
    """

    inflict: Callable[[Files], object]
    recipe: Recipe = Recipe()


def _put(path: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({path: data})


def _flipped(path: str, text: bytes) -> Callable[[Files], None]:
    """The last byte of `text` is another one."""
    return lambda files: _flip_in(files, path, text)


def _flipped_in_journal(text: bytes) -> Callable[[Files], None]:
    return lambda files: _flip_in(files, _segments(files)[-1], text)


def _cut(path: str, length: int) -> Callable[[Files], None]:
    """Only the first bytes are left; with a negative length all but the last."""
    return lambda files: files.update({path: files[path][:length]})


def _resealed(**changes: object) -> Callable[[Files], None]:
    return lambda files: _reseal(files, SUPERBLOCK, lambda fields: fields.update(changes))


_NO_VECTOR: Final = memory("four", embedded=False)
_OTHER_VECTOR: Final = memory("four", 2)
_LEFT_OPEN: Final = Recipe(left_open=True)

DEFECTS: Final[dict[str, Defect]] = {
    # Entity files
    "entry-without-file": Defect(_remove(TWO)),
    "file-not-indexed": Defect(_put(entity_path("memory", "five"), _sealed(memory("five"), 9))),
    "file-replaced": Defect(_put(TWO, _sealed(memory("two"), 0))),
    "file-edited": Defect(_edit_by_hand),
    "file-damaged": Defect(_flipped(TWO, b"two, edition")),
    "file-undecodable": Defect(_cut(TWO, 200)),
    "hash-line-renamed": Defect(_flipped(TWO, b"content_has")),
    "two-swapped-files": Defect(_swap),
    "not-a-file": Defect(_put_folder),
    "foreign-names": Defect(_add_foreign_names),
    "member-missing": Defect(lambda files: None, Recipe(members=("one", "never-there"))),
    "memories-vanished": Defect(_remove("memories"), Recipe(many=12)),
    # The memory index
    "index-missing": Defect(_remove(INDEX)),
    "index-damaged": Defect(_flipped(INDEX, b"quickrecal_score")),
    "index-log-torn": Defect(lambda files: files.update({INDEX_LOG: files[INDEX_LOG] + b'{"put":"memory","id":'})),
    "index-log-damaged": Defect(_cut(INDEX_LOG, -20)),
    # The vector index
    "mapping-damaged": Defect(_flipped(MAPPING, b"next_vector_id")),
    "mapping-missing": Defect(_remove(MAPPING)),
    "faiss-damaged": Defect(lambda files: _flip(files, FAISS_FILE, -2)),
    "faiss-missing": Defect(_remove(FAISS_FILE)),
    "vectors-log-damaged": Defect(lambda files: _flip(files, VECTORS_LOG, -9)),
    "vector-missing": Defect(_take_vectors_of(Recipe(four=_NO_VECTOR))),
    "vector-stale": Defect(_take_vectors_of(Recipe(four=_OTHER_VECTOR))),
    "vector-orphan": Defect(_take_vectors_of(Recipe()), Recipe(four=_NO_VECTOR)),
    "vector-wrong": Defect(_make_vector_wrong),
    "everything-derived-lost": Defect(_remove(INDEX, INDEX_LOG, VECTORS)),
    # The superblock
    "superblock-missing": Defect(_remove(SUPERBLOCK)),
    "superblock-damaged": Defect(_flipped(SUPERBLOCK, b"epoch")),
    "newer-format": Defect(_resealed(format_version=2)),
    "unknown-feature": Defect(_resealed(mandatory_features=["compressed"])),
    # The journal
    "journal-torn-tail": Defect(_tear_last_frame, _LEFT_OPEN),
    "journal-damaged-middle": Defect(_flipped_in_journal(b"two, edition 3"), _LEFT_OPEN),
    "journal-header-damaged": Defect(_flipped_in_journal(b"first_sequence"), _LEFT_OPEN),
    "journal-deleted": Defect(_remove("journal"), _LEFT_OPEN),
    "journal-of-another-store": Defect(_add_foreign_segment),
    # What was interrupted
    "repair-interrupted": Defect(_save_plan),
    "scratch-left": Defect(_leave_scratch),
}


def files_of(defect: str) -> Files:
    """The files of the store that is broken in that way."""
    inflict, recipe = DEFECTS[defect]
    with frozen_rows():
        files = sound(recipe)
        inflict(files)
    return files


# Writing and comparing


def stored_at(folder: Path) -> Files:
    """The files below `folder`, by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _write(defect: str) -> None:
    store = BROKEN / defect / "store"
    if store.exists():
        shutil.rmtree(store)
    for path, data in files_of(defect).items():
        (store / path).parent.mkdir(parents=True, exist_ok=True)
        (store / path).write_bytes(data)


def differences() -> list[str]:
    """What is not as this script writes it, a sentence each; empty where all is."""
    found: list[str] = []
    for defect in DEFECTS:
        wanted, present = files_of(defect), stored_at(BROKEN / defect / "store")
        paths = sorted(wanted.keys() | present.keys())
        found += [f"{defect}: {path} differs" for path in paths if wanted.get(path) != present.get(path)]
        if not (BROKEN / defect / "expected.json").is_file():
            found.append(f"{defect}: expected.json is missing")
    unknown = sorted(folder.name for folder in BROKEN.iterdir() if folder.name not in DEFECTS)
    return found + [f"{name}: no such defect is written" for name in unknown]


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    if not arguments:
        for defect in DEFECTS:
            _write(defect)
    found = differences()
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
