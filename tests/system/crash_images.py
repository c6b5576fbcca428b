"""The states in which a power cut may leave a recorded disk, exactly as its log allows them.

What was written before the last flush is there. Of what was written since, each block, or in a torn state each
sector outside of superblocks, is there in any of its versions or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from acknowledged import Acknowledged
from mounts import run
from recording_disk import MARK_RECORD, WRITE_RECORD

Policy = Literal["lost", "kept", "shuffled", "torn"]
POLICIES: Final[tuple[Policy, ...]] = ("lost", "kept", "shuffled", "torn")
_BLOCK: Final = 4096
_SECTOR: Final = 512
# The superblocks of ext4 and btrfs lie in these blocks. Each has one checksum over several sectors, and its file
# system does not mount without it: it relies on the disk to write that block whole.
_NEVER_TORN: Final = (0, 65536)


@dataclass(frozen=True)
class Record:
    """One entry of the log.

    Attributes:
        kind: "W" a write, "F" a flush, "M" a mark.
        offset: of a write, in the disk.
        data: of a write or a mark.
    """

    kind: str
    offset: int = 0
    data: bytes = b""


def read_log(path: Path) -> list[Record]:
    """All entries, in order."""
    return list(_records(path.read_bytes()))


def _records(log: bytes) -> Iterator[Record]:
    at = 0
    while at < len(log):
        kind, at = chr(log[at]), at + 1
        if kind == "F":
            yield Record(kind)
            continue
        offset = 0
        if kind == "W":
            offset, size = WRITE_RECORD.unpack_from(log, at)
            at += WRITE_RECORD.size
        else:
            (size,) = MARK_RECORD.unpack_from(log, at)
            at += MARK_RECORD.size
        yield Record(kind, offset, log[at : at + size])
        at += size


class PowerCuts:
    """Cuts of one recording, from the first moment to the last.

    Args:
        pristine: the disk before the first record.
        records: the log.
        history: what was told before it; goes on with the marks.
    """

    def __init__(self, pristine: Path, records: Sequence[Record], history: Acknowledged) -> None:
        self._records = records
        self._image = pristine.with_suffix(".durable")
        copy_image(pristine, self._image)
        self._at = 0
        self._pending: list[Record] = []
        self.history = history

    def advance(self, at: int) -> None:
        """Go on to the moment before record `at`; not below the last one."""
        for record in self._records[self._at : at]:
            if record.kind == "W":
                self._pending.append(record)
            elif record.kind == "F":
                _apply(self._image, self._pending)
                self._pending = []
            else:
                self.history.note(_line(record.data))
        self._at = at

    @property
    def moments(self) -> list[int]:
        """Where a cut makes a difference: before each write and flush, and at the end."""
        return [*(at for at, record in enumerate(self._records) if record.kind != "M"), len(self._records)]

    def leave(self, policy: Policy, target: Path, rng: Random) -> None:
        """Write to `target` what a power cut at this moment may leave on the disk."""
        copy_image(self._image, target)
        _apply(target, _survivors(self._pending, policy, rng))


def _line(text: bytes) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(text)
    assert not line.keys() & {"foreign", "wrong"}, f"the workload itself went wrong: {line}"
    return line


def _survivors(pending: Sequence[Record], policy: Policy, rng: Random) -> Iterator[Record]:
    if policy in ("lost", "kept"):
        yield from pending if policy == "kept" else ()
        return
    share = rng.choice((0.1, 0.5, 0.9))
    for record in pending:
        for part in _parts(record, torn=policy == "torn"):
            if rng.random() < share:
                yield part


def _parts(write: Record, *, torn: bool) -> Iterator[Record]:
    """What of a write reaches the disk each by itself."""
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        block = start - start % _BLOCK
        size = _SECTOR if torn and block not in _NEVER_TORN else block + _BLOCK - start
        yield Record("W", start, write.data[start - write.offset : start - write.offset + size])
        start += size


def _apply(image: Path, writes: Iterator[Record] | Sequence[Record]) -> None:
    with open(image, "r+b", buffering=0) as file:
        for record in writes:
            os.pwrite(file.fileno(), record.data, record.offset)


def copy_image(source: Path, target: Path) -> None:
    """A copy of a sparse file."""
    run("cp", "--sparse=always", str(source), str(target))
