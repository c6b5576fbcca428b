"""What stands under the name of one of the store's own files and is no regular file: found, and moved out of the way.

It is not for entity files, which check and repair judge one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.layout import (
    CENTROIDS,
    FAISS_FILE,
    FAISS_NEXT,
    INDEX,
    INDEX_LOG,
    JOURNAL,
    JOURNAL_RESERVE,
    MAPPING,
    REPAIR_PLAN,
    TEXT,
    TEXT_FILE,
    TEXT_JOURNAL,
    TEXT_SEAL,
    VECTORS_LOG,
    segment_number,
    segment_path,
)
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend

__all__ = ["obstacle_findings", "set_obstacles_aside"]

# All of them derived, or made anew where they are missing.
_FILES: Final = (
    INDEX, INDEX_LOG, MAPPING, FAISS_FILE, FAISS_NEXT, VECTORS_LOG, CENTROIDS, JOURNAL_RESERVE, REPAIR_PLAN,
)  # fmt: skip
_TEXT_FILES: Final = (TEXT_FILE, TEXT_JOURNAL, TEXT_SEAL)


def obstacle_findings(backend: Backend) -> Iterator[Finding]:
    """One for each folder, symlink or special file where a file of the store belongs. Follows and opens nothing.

    Of the derived folder that is made when it is first used, it is also that which is no folder.
    """
    text = backend.stat(TEXT)
    if text is not None and text.kind != "folder":
        yield Finding("not_a_file", f"{TEXT} is no folder", TEXT)
    below = _TEXT_FILES if text is not None and text.kind == "folder" else ()
    for path in [*_FILES, *_segments(backend), *below]:
        stat = backend.stat(path)
        if stat is not None and stat.kind != "file":
            yield Finding("not_a_file", f"{path} is no regular file", path)


def _segments(backend: Backend) -> Iterator[str]:
    numbers = [segment_number(name) for name, stat in backend.scan(JOURNAL) if stat.kind != "file"]
    yield from (segment_path(number) for number in sorted(n for n in numbers if n is not None))


def set_obstacles_aside(backend: Backend, quarantine: Quarantine) -> list[Finding]:
    """Move each of them to quarantine; idempotent.

    Returns:
        A finding for each.

    Raises:
        DiskError: one of them is still where it was.
    """
    moved: list[Finding] = []
    for finding in list(obstacle_findings(backend)):
        kept = quarantine.move(finding.path, "it is no regular file")
        moved.append(Finding(finding.code, f"{finding.message}; it is kept as {kept}", finding.path))
    return moved
