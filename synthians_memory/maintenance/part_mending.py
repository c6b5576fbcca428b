"""Files of a store's parts that are damaged: found, also by SQLite's own check, and brought back from the newest snapshot.

It knows no part, and leaves alone what only its part can tell how to mend: logs that others build upon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from synthians_memory.config import CheckLevel
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.part import Part
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.errors import DamagedBackupError
from synthians_memory.maintenance.copies import Copies
from synthians_memory.maintenance.database_check import database_defect, is_database_name, side_files
from synthians_memory.maintenance.health_report import Putback
from synthians_memory.maintenance.manifest import Manifest, StoredFile
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import lock_folder
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["check_parts", "restore_part_files"]

# What a whole file of an earlier moment can take the place of.
_WHOLE_FILES: Final = frozenset(("database_damaged", "state_damaged"))
_PATIENCE: Final = 5.0


def check_parts(backend: Backend, parts: Sequence[Part], level: CheckLevel = "full") -> list[Finding]:
    """What the parts say is wrong with their files, and SQLite with their databases. Raises DiskError."""
    found = [finding for part in parts for finding in part.check(backend, level)]
    for path in sorted({path for part in parts for path in part.source_files(backend)}):
        defect = database_defect(backend, path)
        found += [Finding("database_damaged", defect, path)] if defect else []
    return found


def restore_part_files(
    backend: Backend,
    findings: Sequence[Finding],
    copies: Copies,
    clock: Clock,
    lost: list[str],
    *,
    databases: bool = True,
) -> list[Putback]:
    """Bring back the files that `findings` name, as far as a snapshot has them; a copy of what stands there is kept.

    Args:
        backend: the store, locked by the caller.
        findings: of the parts.
        copies: where they are looked for.
        clock: source of time.
        lost: grows by what was written since.
        databases: whether databases may be replaced, which nobody may have open then.

    Raises:
        StoreLockedError: somebody keeps a part's folder busy.
        DiskError: one could not be written.
    """
    found = []
    codes = {code for code in _WHOLE_FILES if databases or code != "database_damaged"}
    for path in dict.fromkeys(finding.path for finding in findings if finding.code in codes):
        stored = _newest(copies, path)
        if stored is None:
            continue
        manifest, data = stored
        held = lock_folder(backend, path.partition("/")[0], wait=_PATIENCE)
        try:
            _replace(backend, path, data, clock)
        finally:
            held.release()
        moment = format_time(from_micros(manifest.taken_micros))
        loss = f"what was written to {path} since {moment} is only in quarantine, as far as it can be read"
        lost.append(loss)
        found.append(Putback(path, f"the snapshot {manifest.name}", exact=False, loss=loss))
    return found


def _newest(copies: Copies, path: str) -> tuple[Manifest, bytes] | None:
    for manifest in copies.manifests:
        for file in manifest.files:
            if file.path == path and (data := _bytes_of(copies, file)) is not None:
                return manifest, data
    return None


def _bytes_of(copies: Copies, file: StoredFile) -> bytes | None:
    try:
        return b"".join(copies.folder.file_pieces(file)) if copies.folder is not None else None
    except DamagedBackupError as error:
        copies.problems.append(error.message)
        return None


def _replace(backend: Backend, path: str, data: bytes, clock: Clock) -> None:
    present = read_file(backend, path)
    quarantine = Quarantine(backend, clock)
    if present is not None:
        quarantine.keep(path, present, "it was damaged, and a copy of a snapshot took its place")
    elif backend.stat(path) is not None:
        quarantine.move(path, "something that is no regular file stood in the place of one")
    for beside in side_files(path) if is_database_name(path) else ():
        # With other bytes of the database, SQLite would take a log of changes for one of these.
        if backend.stat(beside) is not None:
            quarantine.move(beside, f"it belonged to {path}, which was damaged")
    write_whole(backend, path, [data])
