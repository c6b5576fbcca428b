"""The ledger as one part of a store: what takes part in check and in snapshots.

It writes nothing, and needs no open ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.config import CheckLevel
from synthians_memory.layout import LEDGER, LEDGER_ARTIFACTS, LEDGER_FACTS, LEDGER_LOG, is_cut_log, is_set_aside
from synthians_memory.ledger.capsules import files_of_runs
from synthians_memory.ledger.examination import examine
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, SystemClock

__all__ = ["LedgerPart"]

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


def _is_source(name: str) -> bool:
    return name in _FILES or is_cut_log(name) or is_set_aside(name, LEDGER_LOG)
