"""A store for the memories of AI agents, in plain files that survive crashes.

It is not a server: it is embedded in the program that uses it.
"""

from __future__ import annotations

from synthians_memory.config import StoreConfig
from synthians_memory.embedder import Embedder
from synthians_memory.engine.persistence import ABSENT
from synthians_memory.engine.vector_index import MemoryVectorIndex
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.reports import (
    Finding,
    ImportReport,
    LeftPlace,
    PurgedPlace,
    PurgeReceipt,
    RecallHit,
    RecallParts,
    ReembedReport,
    RepairReport,
    SearchHit,
)

__all__ = [
    "ABSENT",
    "Embedder",
    "Finding",
    "ImportReport",
    "LeftPlace",
    "MemoryAssembly",
    "MemoryEntry",
    "MemoryPersistence",
    "MemoryVectorIndex",
    "PurgeReceipt",
    "PurgedPlace",
    "RecallHit",
    "RecallParts",
    "ReembedReport",
    "RepairReport",
    "SearchHit",
    "StoreConfig",
    "SynthiansMemoryError",
]
