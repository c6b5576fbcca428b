"""The migrations of the format on disk, one file for each step from a version to the next.

They decide nothing about when they are run (`maintenance.migration`).
"""

from __future__ import annotations

from typing import Final

from synthians_memory.maintenance.migrations import from_0_to_1
from synthians_memory.maintenance.migrations.step import Migration

__all__ = ["MIGRATIONS"]

MIGRATIONS: Final[tuple[Migration, ...]] = (from_0_to_1.MIGRATION,)
