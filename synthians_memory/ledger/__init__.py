"""The ledger: a hash-chained log of every run, the facts promoted from it, their artifacts and capsules.

It is not a part of the core: no memory depends on it.
"""

from __future__ import annotations

from synthians_memory.ledger.capsules import Capsule
from synthians_memory.ledger.comparison import OutputDifference, RunDifference
from synthians_memory.ledger.fact_memories import forgotten_facts, remember_facts
from synthians_memory.ledger.ledger import Ledger, LedgerHead
from synthians_memory.ledger.opening import open_ledger
from synthians_memory.ledger.part import LedgerPart
from synthians_memory.ledger.receipts import ReceiptReport, check_receipts
from synthians_memory.ledger.running import CompletedRun, run_command

__all__ = [
    "Capsule",
    "CompletedRun",
    "Ledger",
    "LedgerHead",
    "LedgerPart",
    "OutputDifference",
    "ReceiptReport",
    "RunDifference",
    "check_receipts",
    "forgotten_facts",
    "open_ledger",
    "remember_facts",
    "run_command",
]
