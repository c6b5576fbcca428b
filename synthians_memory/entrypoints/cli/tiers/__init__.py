"""The commands of the group tiers, one module each.

It is no command itself; synthians_memory.tiers is what they work on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from synthians_memory.entrypoints.cli.tiers import (
    context,
    decision,
    goal,
    migrate,
    pattern,
    push,
    recent,
    search,
    task,
    vacuum,
)

__all__ = ["COMMANDS", "HELP"]

HELP: Final = """Three tiers of an agent's memory: what happens now, what it works on, what it once learned.

Rows in two databases in tiers/ of the store. docs/tiers.md tells what is in them."""
COMMANDS: Final[tuple[tuple[str, Callable[..., int], Sequence[str]], ...]] = (
    ("goal", goal.goal, goal.EXAMPLES),
    ("task", task.task, task.EXAMPLES),
    ("decision", decision.decision, decision.EXAMPLES),
    ("pattern", pattern.pattern, pattern.EXAMPLES),
    ("push", push.push, push.EXAMPLES),
    ("recent", recent.recent, recent.EXAMPLES),
    ("search", search.search, search.EXAMPLES),
    ("context", context.context, context.EXAMPLES),
    ("migrate", migrate.migrate, migrate.EXAMPLES),
    ("vacuum", vacuum.vacuum, vacuum.EXAMPLES),
)
