"""Ledgers with a clock and ids of their own, and what is read from one without it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock

# 2026-11-20T12:00:00Z
NOON = 1_795_176_000_000_000


def numbered_ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"{next(numbers):06x}00-0000-4000-8000-000000000000"


@contextmanager
def opened(backend: Backend, folder: str = "", clock: ManualClock | None = None) -> Iterator[Ledger]:
    ledger = Ledger(backend, folder, clock=clock or ManualClock(NOON), draw=numbered_ids(), wait=5)
    yield ledger
    ledger.close()


def fact(run_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "sky-is-blue",
        "layer": "L4",
        "confidence": 0.9,
        "statement": "The sky is blue at noon",
        "source_run": run_id,
        "evidence": ["docs/sky.md"],
        "expires_at": None,
        **changes,
    }


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def chain_holds(data: bytes) -> bool:
    """The rule of the page, written down once more with the standard library alone."""
    before = None
    for line in data.split(b"\n")[:-1]:
        entry = json.loads(line)
        claimed = entry.pop("hash_self")
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        if entry["hash_prev"] != before or hashlib.sha256(text.encode("ascii")).hexdigest() != claimed:
            return False
        before = claimed
    return data.endswith(b"\n") or not data
