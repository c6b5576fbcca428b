"""Three tiers of an agent's memory: what happens now, what it works on, what it once learned.

It is not the store of memories, which it stands on: what has a meaning to be searched by is a memory there as well.
"""

from __future__ import annotations

from synthians_memory.tiers.archive import Archive
from synthians_memory.tiers.collections import SearchResult
from synthians_memory.tiers.context import AssembledContext, ContextChunk
from synthians_memory.tiers.longterm import LongTermMemory
from synthians_memory.tiers.migration import Ages, MigrationReport, Summarise
from synthians_memory.tiers.operational import ActiveTask, OperationalMemory, SystemSnapshot
from synthians_memory.tiers.reconciliation import LeftRow, ReconciliationReport
from synthians_memory.tiers.records import (
    AgentState,
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    IntelligenceLevel,
    Knowledge,
    MetricHour,
    Pattern,
    Procedure,
    Record,
    Task,
    ToolCall,
)
from synthians_memory.tiers.relevance import Relevant
from synthians_memory.tiers.tiers import Tiers
from synthians_memory.tiers.tokens import TokenCounter, TokenizerFile, estimate_tokens, open_tokenizer
from synthians_memory.tiers.working import WorkingMemory

__all__ = [
    "ActiveTask",
    "AgentState",
    "Ages",
    "Archive",
    "AssembledContext",
    "ConfigChange",
    "ContextChunk",
    "Decision",
    "Event",
    "Goal",
    "Incident",
    "IntelligenceLevel",
    "Knowledge",
    "LeftRow",
    "LongTermMemory",
    "MetricHour",
    "MigrationReport",
    "OperationalMemory",
    "Pattern",
    "Procedure",
    "ReconciliationReport",
    "Record",
    "Relevant",
    "SearchResult",
    "Summarise",
    "SystemSnapshot",
    "Task",
    "Tiers",
    "TokenCounter",
    "TokenizerFile",
    "ToolCall",
    "WorkingMemory",
    "estimate_tokens",
    "open_tokenizer",
]
