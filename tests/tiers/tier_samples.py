"""Tiers that say what a test tells them to, and the small values that tests of the tiers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tokenizers

from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.context import ContextSources
from synthians_memory.tiers.operational import OperationalMemory


@dataclass(frozen=True)
class Row:
    """A row of the working or of the long-term tier, as far as context asks."""

    text: str
    id: str = "1"
    kind: str = "decision"
    relevance: float = 0.5

    @property
    def summary(self) -> str:
        return self.text

    @property
    def content(self) -> str:
        return self.text

    @property
    def collection(self) -> str:
        return self.kind if self.kind == "knowledge" else f"{self.kind}s"


@dataclass
class Told:
    """Both lower tiers: they offer what they were given, however much is asked for and whatever the task is."""

    working: Sequence[Row] = ()
    longterm: Sequence[Row] = ()
    knowledge: Sequence[Row] = ()
    operational: OperationalMemory = field(default_factory=lambda: OperationalMemory(clock=ManualClock()))
    asked: list[str] = field(default_factory=list)

    async def find_relevant(self, task_description: str, limit: int = 5) -> Sequence[Row]:
        self.asked.append(f"working {limit}")
        return self.working[:limit]

    async def semantic_search(
        self, query: str, collections: Sequence[str] | None = None, n_results: int = 5, min_relevance: float = 0.0
    ) -> Sequence[Row]:
        self.asked.append("longterm")
        return self.longterm[:n_results]

    async def search_knowledge(self, query: str, n_results: int = 2) -> Sequence[Row]:
        self.asked.append(f"knowledge {n_results}")
        return self.knowledge[:n_results]

    @property
    def sources(self) -> ContextSources:
        return ContextSources(operational=self.operational, working=self, longterm=self)


def written_tokenizer(path: Path) -> Path:
    """A small tokenizer of bytes and a few pairs of them; with limits for a model's input, as such files have."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog and the other foxes"] * 20, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path))
    return path
