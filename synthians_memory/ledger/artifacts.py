"""Artifacts: which tracked files a task brought forth, with the hashes they had then.

It holds no copies of them; git does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from synthians_memory.errors import EntityNotFoundError, InvalidValueError
from synthians_memory.json_values import JsonObject, checked_text
from synthians_memory.layout import LEDGER_ARTIFACTS, path_in
from synthians_memory.ledger.git import GitTree
from synthians_memory.ledger.tables import TABLE_VERSION, damaged_table, read_table, write_table
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["ArtifactTable", "hashes_of_tracked"]

_ROWS: Final = "artifacts"
_CHUNK_BYTES: Final = 1 << 20


def hashes_of_tracked(paths: Sequence[str], directory: str) -> list[JsonObject]:
    """`path` (relative to the work tree) and `sha256` of each of `paths`, in their order.

    Args:
        paths: files, absolute or relative to the present directory.
        directory: lies in the work tree.

    Raises:
        InvalidValueError: one is ignored, untracked, outside, missing or no regular file.
        GitFailedError: there is no git, or no work tree.
        DiskError: one cannot be read.
    """
    tree = GitTree.holding(directory)
    tracked = [tree.tracked_path(checked_text(path, "path")) for path in paths]
    files = LocalBackend(tree.top)
    try:
        return [{"path": path, "sha256": _hash_of(files, path)} for path in tracked]
    finally:
        files.close()


def _hash_of(files: Backend, path: str) -> str:
    hasher, offset = hashlib.sha256(), 0
    data = files.read(path, 0, _CHUNK_BYTES)
    if data is None:
        raise InvalidValueError(f"{path} is missing in {files.location}", path=path, hint="Give a file that is there.")
    while data:
        hasher.update(data)
        offset += len(data)
        data = files.read(path, offset, _CHUNK_BYTES)
    return hasher.hexdigest()


class ArtifactTable:
    """The file of artifacts in one folder. Writers hold the ledger's lock.

    Args:
        backend: where.
        folder: the ledger's, relative to `backend`.
    """

    def __init__(self, backend: Backend, folder: str) -> None:
        self._backend = backend
        self.path = path_in(folder, LEDGER_ARTIFACTS)

    def read(self) -> dict[str, list[JsonObject]]:
        """The artifacts of every task, in the order in which they were indexed.

        Raises:
            DamagedError, UnsupportedFormatError, DiskError: as `read_table`.
        """
        return _rows(self._document(), self.path)

    def add(self, task: str, found: Sequence[JsonObject], run_id: str, *, known: bool) -> list[JsonObject]:
        """Index what `task` does not have yet, by hash; returns what was added.

        Args:
            task: its name, not empty.
            found: as `hashes_of_tracked` gives it.
            run_id: the run that brought them forth.
            known: whether that is in the log.

        Raises:
            EntityNotFoundError: it is not.
            DamagedError, UnsupportedFormatError, DiskError: as `read_table`.
        """
        if not known:
            raise EntityNotFoundError(f"the run {run_id} is not in the log", hint="Record the run first.")
        document = self._document()
        tasks = _rows(document, self.path)
        present = {row.get("sha256") for row in tasks.get(task, [])}
        added = []
        for row in found:
            if row["sha256"] not in present:
                present.add(row["sha256"])
                added.append({**row, "run_id": run_id})
        tasks = {**tasks, task: [*tasks.get(task, []), *added]}
        # Also where nothing is added: what is there may come from a call that failed before it was durable.
        write_table(self._backend, self.path, {**document, _ROWS: tasks})
        return added

    def _document(self) -> JsonObject:
        return read_table(self._backend, self.path, _ROWS, {"version": TABLE_VERSION, _ROWS: {}})


def _rows(document: JsonObject, path: str) -> dict[str, list[JsonObject]]:
    tasks: dict[str, Any] = document[_ROWS]
    for task, rows in tasks.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise damaged_table(path, f"{path} holds under {task[:60]!r} something that is no list of artifacts")
    return tasks
