"""All commands of `ledger`, in the order in which help lists them.

It is none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from synthians_memory.entrypoints.cli.ledger import (
    artifacts,
    check,
    diff,
    doctor,
    log,
    promote,
    recall,
    run,
    timeline,
)

__all__ = ["COMMANDS", "HELP"]

HELP: Final = "Record what ran and what is trusted because of it, in a log that shows every change."
COMMANDS: Final[tuple[tuple[str, Callable[..., int], Sequence[str]], ...]] = (
    ("log", log.log, log.EXAMPLES),
    ("run", run.run, run.EXAMPLES),
    ("promote", promote.promote, promote.EXAMPLES),
    ("recall", recall.recall, recall.EXAMPLES),
    ("artifacts", artifacts.artifacts, artifacts.EXAMPLES),
    ("doctor", doctor.doctor, doctor.EXAMPLES),
    ("timeline", timeline.timeline, timeline.EXAMPLES),
    ("diff", diff.diff, diff.EXAMPLES),
    ("check", check.check, check.EXAMPLES),
)
