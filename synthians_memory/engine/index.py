"""The memory index: which entities the store holds, and the hash of each one's acknowledged version.

It is not a cache of entities; it is a derived view, and rebuilt from the files where it is lost.
"""

from __future__ import annotations

import itertools
import operator
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final

import orjson

from synthians_memory.codec import seal_pieces, unseal
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.expiry_times import ExpiryTimes
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import (
    NEVER,
    UNKNOWN,
    Row,
    expires_of,
    expiries_of,
    hash_of,
    pack_change,
    row_json,
    rows_from_json,
    unpack,
    with_expiry,
    with_stat,
)
from synthians_memory.engine.sections import Members, read_sections
from synthians_memory.engine.view import Change, Position
from synthians_memory.engine.view_log import ViewLog
from synthians_memory.layout import FORMAT_VERSION, INDEX, INDEX_LOG, Kind
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.times import format_time, from_micros

__all__ = ["MemoryIndex", "Rows"]

Rows = dict[Kind, dict[str, bytes]]

_MEMBERS: Final[dict[Kind, str]] = {"memory": "memories", "assembly": "assemblies"}
_KINDS: Final[dict[str, Kind]] = {member: kind for kind, member in _MEMBERS.items()}
# A snapshot is rewritten when the log has outgrown this share of it, and always while it is small.
_LOG_SHARE: Final = 0.5
_SMALL: Final = 256 * 1024
_ROWS_A_PIECE: Final = 500
# Some 350 lines are read at once.
_PIECE: Final = 128 * 1024
_LINES_A_PIECE: Final = 300


class MemoryIndex:
    """The view of all entities; applied by the writer, read by any thread, persisted by one.

    `facts` is asked for the superblock's fields whenever a snapshot is written. `expiry` follows the rows from
    `judge_expiry` on.
    """

    name = "memory index"
    log_share: ClassVar[float] = _LOG_SHARE
    small_bytes: ClassVar[int] = _SMALL

    def __init__(self, backend: Backend, facts: Callable[[], dict[str, Any]], now: Callable[[], int]) -> None:
        self._backend = backend
        self._facts = facts
        self._now = now
        self._log = ViewLog(backend, INDEX_LOG)
        # Who counts or lists sees the changes of a batch together; a single row needs no guard.
        self._guard = threading.Lock()
        self.rows: Rows = {"memory": {}, "assembly": {}}
        self.expiry = ExpiryTimes()
        self.position = Position("", 0)
        self._frozen_position = self.position
        self._dirty: dict[Key, None] = {}
        self._group: dict[Key, bytes | None] = {}
        self._frozen_rows: Rows | None = None
        self._snapshot_bytes = 0
        self._has_snapshot = False
        self.snapshot_wanted = False

    # Reading

    def row(self, key: Key) -> Row | None:
        """The row of an entity; None where the store does not hold it."""
        packed = self.rows[key[0]].get(key[1])
        return None if packed is None else unpack(packed)

    def packed(self, key: Key) -> bytes | None:
        """The row of an entity as it is packed (`rows`); None where the store does not hold it."""
        return self.rows[key[0]].get(key[1])

    def hash(self, key: Key) -> bytes | None:
        """The content hash of the acknowledged version; None where there is none."""
        packed = self.rows[key[0]].get(key[1])
        return None if packed is None else hash_of(packed)

    def count(self, kind: Kind) -> int:
        """How many entities of `kind` the store holds."""
        with self._guard:
            return len(self.rows[kind])

    def ids(self, kind: Kind) -> list[str]:
        """The ids of `kind`, in order of code points; a copy."""
        with self._guard:
            ids = list(self.rows[kind])
        return sorted(ids)

    # Following the journal

    def apply(self, changes: Sequence[Change]) -> None:
        """As `View.apply`."""
        packed = {change.key: None if change.entity is None else pack_change(change) for change in changes}
        with self._guard:
            for (kind, entity_id), row in packed.items():
                if row is None:
                    self.rows[kind].pop(entity_id, None)
                else:
                    self.rows[kind][entity_id] = row
        self.expiry.update({i: _expiry_in(row) for (kind, i), row in packed.items() if kind == "memory"})
        self._dirty.update(dict.fromkeys(packed))

    def judge_expiry(self, expiry_in_file: Callable[[str], int]) -> None:
        """Learn from the rows when each memory expires, and where they do not tell, from its file.

        Args:
            expiry_in_file: the expiry of a memory as a row has it; UNKNOWN where the file cannot be read either.

        Raises:
            Whatever `expiry_in_file` does.
        """
        rows = self.rows["memory"]
        expiries = expiries_of(rows.values())
        some = zip(rows, expiries.tolist(), strict=True) if (expiries != NEVER).any() else ()
        times: dict[str, int] = {}
        for entity_id, micros in [(i, m) for i, m in some if m != NEVER]:
            found = expiry_in_file(entity_id) if micros == UNKNOWN else micros
            if found != micros:
                self.put_row(("memory", entity_id), with_expiry(rows[entity_id], found))
                # A log of that many rows would be read at every open.
                self.snapshot_wanted = True
            if found not in (NEVER, UNKNOWN):
                times[entity_id] = found
        self.expiry.replace_all(times)

    def note_stat(self, key: Key, expected_hash: bytes, stat: EntryStat) -> None:
        """Remember the stat of the file that was just seen to hold `expected_hash`."""
        rows = self.rows[key[0]]
        packed = rows.get(key[1])
        if packed is not None and hash_of(packed) == expected_hash:
            rows[key[1]] = with_stat(packed, stat.size, stat.mtime_ns)
            self._dirty[key] = None

    def put_row(self, key: Key, packed: bytes) -> None:
        """Set a row that was found while the index is rebuilt."""
        self.rows[key[0]][key[1]] = packed
        self._dirty[key] = None

    def replace_rows(self, rows: Rows) -> None:
        """Take `rows` in the place of all rows, in one step for each kind; the next persist writes a snapshot."""
        with self._guard:
            for kind, replaced in rows.items():
                self.rows[kind] = replaced
        self._dirty.update(dict.fromkeys((kind, entity_id) for kind in rows for entity_id in rows[kind]))
        self._has_snapshot = False

    @property
    def dirty_count(self) -> int:
        """Entities changed since the last freeze."""
        return len(self._dirty)

    def dirty_keys(self) -> set[Key]:
        """What changed since the last freeze; a copy."""
        return set(self._dirty)

    def freeze(self, position: Position) -> None:
        """As `View.freeze`; copies the rows where a snapshot is due."""
        for kind, entity_id in self._dirty:
            self._group[kind, entity_id] = self.rows[kind].get(entity_id)
        self._dirty = {}
        self._frozen_position = position
        # One that failed half-way may no longer look due, and must not be finished with its old rows.
        if self._frozen_rows is not None or self.snapshot_due():
            self._frozen_rows = {kind: rows.copy() for kind, rows in self.rows.items()}

    def snapshot_due(self) -> bool:
        """As `View.snapshot_due`."""
        if not self._has_snapshot or self.snapshot_wanted:
            return True
        if self._snapshot_bytes < self.small_bytes:
            return bool(self._group)
        return self._log.size > self._snapshot_bytes * self.log_share

    def persist(self) -> None:
        """As `View.persist`; a due snapshot takes the place of the log's group."""
        if self._frozen_rows is not None:
            self._write_snapshot(self._frozen_rows)
        elif self._frozen_position != self.position:
            self._log.append(_encode_group(self._group, self._frozen_position))
        self._group = {}
        self._frozen_rows = None
        self.position = self._frozen_position

    def _write_snapshot(self, rows: Rows) -> None:
        position = self._frozen_position
        pieces = seal_pieces(_snapshot_pieces(rows, position, self._facts(), self._now()))
        self._snapshot_bytes = write_whole(self._backend, INDEX, pieces).size
        # The snapshot counts from here on; a log that names an older one holds nothing that it lacks.
        self._log.invalidate()
        self._log.start(_log_header(position))
        self._has_snapshot = True
        self.snapshot_wanted = False

    # Reading back

    def load(self) -> str:
        """Take the state that snapshot and log have on disk; changes nothing there.

        Returns:
            What is wrong with them, in words; "" where nothing is. What could be read is kept as a hint.

        Raises:
            DiskError: one of them cannot be read.
        """
        data = read_file(self._backend, INDEX)
        if data is None:
            return f"{INDEX} is missing, or no regular file"
        problem = self._load_snapshot(data)
        if problem:
            return problem
        self._load_log(read_file(self._backend, INDEX_LOG))
        self._frozen_position = self.position
        return ""

    def load_hint(self, data: bytes) -> bool:
        """Take the rows of an earlier snapshot, as a hint for a rebuild; False where `data` is none."""
        before = self.position
        taken = not self._load_snapshot(data)
        # The files do not reach there.
        self.position = before
        return taken

    def _load_snapshot(self, data: bytes) -> str:
        claimed, computed = unseal(data)
        if claimed != computed:
            return f"{INDEX} does not match its content_hash"
        try:
            self.rows, self.position = read_sections(data, list(_KINDS), _rows_of, _PIECE)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self.rows = {"memory": {}, "assembly": {}}
            return f"{INDEX} is no memory index: {error}"
        self._snapshot_bytes = len(data)
        self._has_snapshot = True
        return ""

    def _load_log(self, data: bytes | None) -> None:
        lines = data.split(b"\n") if data else []
        start = _log_start(lines[0]) if len(lines) > 1 else None
        if (
            data is None
            or start is None
            or start.epoch != self.position.epoch
            or start.sequence > self.position.sequence
        ):
            # The log belongs to another snapshot: nothing in it counts, and the next append replaces it.
            header = _log_header(self.position)
            self._log.adopt(header, len(header), -1)
            return
        committed = self._replay_log(lines, self.position)
        self._log.adopt(lines[0] + b"\n", committed, len(data))

    def _replay_log(self, lines: list[bytes], snapshot: Position) -> int:
        """Apply every committed group behind `snapshot`; returns the bytes that are committed."""
        size = committed = len(lines[0]) + 1
        group: list[bytes] = []
        # The last element is what follows the last newline: nothing, or an unfinished line.
        for line in lines[1:-1]:
            size += len(line) + 1
            position = _commit_of(line, group)
            if position is None:
                group.append(line)
                continue
            if position.epoch != snapshot.epoch:
                break
            if position.sequence > snapshot.sequence:
                for start in range(0, len(group), _LINES_A_PIECE):
                    self._apply_lines(group[start : start + _LINES_A_PIECE])
                self.position = position
            group, committed = [], size
        return committed

    def _apply_lines(self, lines: list[bytes]) -> None:
        changes = orjson.loads(b"[%b]" % b",".join(lines))
        for kind, run in itertools.groupby(changes, key=operator.methodcaller("get", "put")):
            part = list(run)
            if kind is None:
                for change in part:
                    self.rows[change["remove"]].pop(change["id"], None)
            else:
                rows = rows_from_json(kind, [change["row"] for change in part])
                self.rows[kind].update(zip((change["id"] for change in part), rows, strict=True))

    @staticmethod
    def read_facts(backend: Backend) -> dict[str, Any] | None:
        """The superblock's fields as the snapshot on disk has them; None where it is missing or damaged."""
        data = read_file(backend, INDEX)
        if data is None or unseal(data)[0] != unseal(data)[1]:
            return None
        try:
            metadata = orjson.loads(data)["metadata"]
            return {**metadata["store"], "epoch": metadata["epoch"]}
        except (KeyError, ValueError, TypeError):
            return None

    def forget_files(self) -> None:
        """Distrust snapshot and log on disk: the next persist writes both anew."""
        self._has_snapshot = False

    def close(self) -> None:
        """Release the log's descriptor."""
        self._log.close()


def _expiry_in(row: bytes | None) -> int | None:
    micros = NEVER if row is None else expires_of(row)
    return None if micros in (NEVER, UNKNOWN) else micros


def _rows_of(members: Iterator[Members]) -> tuple[Rows, Position]:
    rows: Rows = {"memory": {}, "assembly": {}}
    rest: dict[str, Any] = {}
    for name, found in members:
        if name:
            kind = _KINDS[name]
            rows[kind].update(zip(found, rows_from_json(kind, found.values()), strict=True))
        else:
            rest = found
    return rows, Position(str(rest["metadata"]["epoch"]), int(rest["metadata"]["sequence"]))


def _snapshot_pieces(rows: Rows, position: Position, facts: dict[str, Any], now: int) -> Iterator[bytes]:
    for kind, member in _MEMBERS.items():
        yield b'  "%s": {\n' % member.encode()
        ids = sorted(rows[kind])
        for start in range(0, len(ids), _ROWS_A_PIECE):
            part = ids[start : start + _ROWS_A_PIECE]
            lines = [b"    %s: %s" % (orjson.dumps(i), row_json(kind, i, rows[kind][i])) for i in part]
            yield b",\n".join(lines) + (b",\n" if start + _ROWS_A_PIECE < len(ids) else b"\n")
        yield b"  },\n"
    metadata = {
        "version": str(FORMAT_VERSION),
        "last_updated": format_time(from_micros(now)),
        "memory_count": len(rows["memory"]),
        "assembly_count": len(rows["assembly"]),
        "sequence": position.sequence,
        "epoch": position.epoch,
        "store": facts,
    }
    yield b'  "metadata": %s,\n' % orjson.dumps(metadata)


def _log_header(position: Position) -> bytes:
    header = {"log": "memory_index", "version": FORMAT_VERSION, "epoch": position.epoch, "snapshot": position.sequence}
    return orjson.dumps(header) + b"\n"


def _log_start(line: bytes) -> Position | None:
    try:
        found = orjson.loads(line)
        return Position(found["epoch"], found["snapshot"]) if found.get("log") == "memory_index" else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _encode_group(group: dict[Key, bytes | None], position: Position) -> bytes:
    lines: list[bytes] = []
    for (kind, entity_id), packed in group.items():
        name = orjson.dumps(entity_id)
        if packed is None:
            lines.append(b'{"remove":"%s","id":%s}' % (kind.encode(), name))
        else:
            row = row_json(kind, entity_id, packed)
            lines.append(b'{"put":"%s","id":%s,"row":%s}' % (kind.encode(), name, row))
    lines.append(_commit_line(lines, position))
    return b"\n".join(lines) + b"\n"


def _commit_line(lines: list[bytes], position: Position) -> bytes:
    crc = _group_crc(lines, position)
    return b'{"commit":%d,"epoch":"%s","crc":"%08x"}' % (position.sequence, position.epoch.encode(), crc)


def _group_crc(lines: list[bytes], position: Position) -> int:
    return zlib.crc32(b"\n".join([*lines, b"%d" % position.sequence, position.epoch.encode()]))


def _commit_of(line: bytes, group: list[bytes]) -> Position | None:
    """The position that a commit line gives `group`; None where the line is none, or not the group's."""
    if not line.startswith(b'{"commit":'):
        return None
    try:
        found = orjson.loads(line)
        position = Position(found["epoch"], found["commit"])
        return position if found["crc"] == f"{_group_crc(group, position):08x}" else None
    except (ValueError, KeyError, TypeError):
        return None
