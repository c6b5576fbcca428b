"""Findings of a check, as tables and as sentences.

It finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from synthians_memory.entrypoints.cli.output import cleaned, table
from synthians_memory.reports import Finding

__all__ = ["findings_table", "summary"]

_STYLES: Final = {"damage": "bold red", "inconsistency": "yellow", "note": ""}


def findings_table(findings: Sequence[Finding]) -> Table:
    """All of `findings`, a row each: how bad, what, and what repair does about it."""
    rows = [(Text(f.severity, _STYLES[f.severity]), f.code, cleaned(f.message), f.action) for f in findings]
    return table(("severity", "code", "what was found", "repair will"), rows, wrapped=("what was found", "repair will"))


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of each severity."""
    counts = [(sum(f.severity == severity for f in findings), severity) for severity in _STYLES]
    return ", ".join(f"{count:,} of severity {severity}" for count, severity in counts if count) or "nothing found"
