"""What a watch has told of files that are left as they are, so that no sweep tells it again.

It is not a log: of what was adopted it keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from synthians_memory.maintenance.watched_change import WatchedChange

__all__ = ["ToldChanges"]


class ToldChanges:
    """The last word on each path; as many as there are such files. Used by one task."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def is_news(self, change: WatchedChange) -> bool:
        """Whether `change` was not told before; it is told then."""
        if change.outcome == "adopted" or change.code == "conflict":
            self._last.pop(change.path, None)
            return True
        known, self._last[change.path] = self._last.get(change.path), change.message
        return known != change.message

    def keep(self, paths: Collection[str]) -> None:
        """Forget all paths but these: there is nothing to say of the others any more."""
        self._last = {path: message for path, message in self._last.items() if path in paths}
