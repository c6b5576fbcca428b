"""Words that several sections of a report share: outcomes, passes, and how much of each is shown.

It makes no elements of a page.
"""

from __future__ import annotations

from typing import Final

from synthians_memory.maintenance.report.elements import time_text
from synthians_memory.maintenance.report.facts import shown_text
from synthians_memory.maintenance.report.logs import Pass

__all__ = ["MOST_ROWS", "MOST_SENTENCE", "OUTCOMES", "pass_in_words"]

MOST_ROWS: Final = 50
MOST_SENTENCE: Final = 160
# The worst last.
OUTCOMES: Final = {
    "healthy": "nothing was wrong",
    "findings": "something was only reported",
    "mended": "mended from what the store had",
    "restored": "brought back from a backup",
    "failed": "damage was left",
}


def pass_in_words(one: Pass) -> str:
    """One pass in a line: when, how it ended, what it found and did."""
    findings = ", ".join(f"{count} {code}" for code, count in one.findings)
    parts = [f"{time_text(one.at)}: {one.outcome}", findings, *one.done[:3]]
    return shown_text("; ".join(filter(None, parts)), MOST_SENTENCE)
