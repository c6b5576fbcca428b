"""The ledger as one part of a store: what takes part in check and in snapshots.

It is not the ledger, and appends to it only where a restore has cut it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from synthians_memory.config import CheckLevel
from synthians_memory.errors import DamagedError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import (
    LEDGER,
    LEDGER_ARTIFACTS,
    LEDGER_FACTS,
    LEDGER_LOG,
    is_cut_log,
    is_set_aside,
    path_in,
)
from synthians_memory.ledger.capsules import files_of_runs
from synthians_memory.ledger.examination import examine
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, SystemClock

__all__ = ["LedgerPart"]

_PIECE_BYTES = 1 << 20
_FILES = frozenset((LEDGER_LOG, LEDGER_FACTS, LEDGER_ARTIFACTS))


class LedgerPart:
    """`ledger/` of a store, as `Part` describes. Thread-safe.

    Args:
        clock: tells which facts have expired.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        return LEDGER

    def check(self, backend: Backend, level: CheckLevel) -> Sequence[Finding]:
        return examine(backend, LEDGER, level, self._clock)

    def source_files(self, backend: Backend) -> Sequence[str]:
        names = sorted(name for name, _ in backend.scan(LEDGER) if _is_source(name))
        return [*(f"{LEDGER}/{name}" for name in names), *files_of_runs(backend, LEDGER)]

    def mark(self, backend: Backend) -> str:
        """The hash of the last entry, since a chain alone cannot show that its end was cut off; "" where none is intact."""
        try:
            return Ledger(backend, LEDGER, clock=self._clock).head().hash_self or ""
        except DamagedError:
            return ""

    def restored(self, backend: Backend, replaced: str) -> None:
        """Keep a newer log that was replaced beside the restored one, and append an entry that names the cut.

        Where the restored log ends with a damaged entry nothing is appended: the newer one stays in quarantine, and a
        check tells of the damage.
        """
        newer = path_in(replaced, f"{LEDGER}/{LEDGER_LOG}")
        stat = backend.stat(newer)
        if stat is None or stat.kind != "file":
            return
        digest = hashlib.sha256()
        for piece in _pieces(backend, newer):
            digest.update(piece)
        ledger = Ledger(backend, LEDGER, clock=self._clock)
        if any(_names_cut(entry, digest.hexdigest()) for entry in ledger.entries()):
            return
        with suppress(DamagedError):
            ledger.cut_after_restore(_pieces(backend, newer))


def _pieces(backend: Backend, path: str) -> Iterator[bytes]:
    offset = 0
    while piece := backend.read(path, offset, _PIECE_BYTES):
        yield piece
        offset += len(piece)


def _names_cut(entry: JsonObject, sha256: str) -> bool:
    cut = entry.get("cut")
    return isinstance(cut, dict) and cut.get("sha256") == sha256


def _is_source(name: str) -> bool:
    return name in _FILES or is_cut_log(name) or is_set_aside(name, LEDGER_LOG)
