"""The state as a part of a store: what a check finds in its files, and which of them a snapshot holds.

It mends nothing: the next write of a damaged file sets it aside.
"""

from __future__ import annotations

from collections.abc import Iterator

from synthians_memory.config import CheckLevel
from synthians_memory.errors import InvalidValueError
from synthians_memory.layout import STATE, STATE_FILES, is_set_aside
from synthians_memory.reports import Finding
from synthians_memory.state.documents import parse_document
from synthians_memory.state.schemas import UNCHECKED, can_check, violations
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = ["StatePart"]


class StatePart:
    """The files in the folder state/ of a store, as `engine.part.Part`. Thread-safe."""

    @property
    def name(self) -> str:
        return "state"

    def check(self, backend: Backend, level: CheckLevel) -> list[Finding]:
        folder = backend.stat(STATE)
        if folder is None:
            return []
        if folder.kind != "folder":
            return [Finding("state_damaged", f"{STATE} is no folder", STATE)]
        present = dict(backend.scan(STATE))
        found = [
            finding for name in STATE_FILES if name in present for finding in _check(backend, name, present, level)
        ]
        if level == "full" and not can_check() and present.keys() & set(STATE_FILES):
            found.append(Finding("state_unchecked", f"of the state {UNCHECKED}", STATE))
        return found

    def source_files(self, backend: Backend) -> list[str]:
        folder = backend.stat(STATE)
        if folder is None or folder.kind != "folder":
            return []
        return sorted(
            f"{STATE}/{name}" for name, stat in backend.scan(STATE) if stat.kind == "file" and _is_source(name)
        )

    def mark(self, backend: Backend) -> str:
        return ""

    def restored(self, backend: Backend, replaced: str) -> None:
        """Nothing: what was replaced is in quarantine."""


def _is_source(name: str) -> bool:
    """Whether nothing else can replace it: a file of the state, or one that was set aside."""
    return any(name == known or is_set_aside(name, known) for known in STATE_FILES)


def _check(backend: Backend, name: str, present: dict[str, EntryStat], level: CheckLevel) -> Iterator[Finding]:
    path = f"{STATE}/{name}"
    if present[name].kind != "file":
        yield Finding("state_damaged", f"{path} is no regular file", path)
        return
    data = backend.read(path) if level == "full" else None
    if data is None:
        return
    try:
        value = parse_document(data, path)
    except InvalidValueError as error:
        yield Finding("state_damaged", error.message, path)
        return
    for violation in violations(name, value):
        yield Finding("state_invalid", f"{STATE}/{violation}", path)
