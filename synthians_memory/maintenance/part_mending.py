"""Files of a store's parts that are damaged: found, also by SQLite's own check, and mended by their parts or from the newest snapshot.

It knows no part, and leaves alone what only its part can tell how to mend: logs that others build upon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from synthians_memory.config import CheckLevel
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.part import EarlierCopy, MendingPart, Part
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.errors import DamagedBackupError
from synthians_memory.maintenance.copies import Copies
from synthians_memory.maintenance.database_check import database_defect, is_database_name, side_files
from synthians_memory.maintenance.health_report import Putback
from synthians_memory.maintenance.manifest import Manifest, StoredFile
from synthians_memory.maintenance.mending import Mended
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import lock_folder
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["check_parts", "gone_databases", "mend_part_files", "restore_part_files"]

# What a whole file of an earlier moment can take the place of.
_WHOLE_FILES: Final = frozenset(("database_damaged", "state_damaged"))
_PATIENCE: Final = 5.0


def check_parts(backend: Backend, parts: Sequence[Part], level: CheckLevel = "full") -> list[Finding]:
    """What the parts say is wrong with their files, and SQLite with their databases. Raises DiskError."""
    found = [finding for part in parts for finding in part.check(backend, level)]
    told = {finding.path for finding in found if finding.severity == "damage"}
    for path in sorted({path for part in parts for path in part.source_files(backend)} - told):
        defect = database_defect(backend, path)
        found += [Finding("database_damaged", defect, path)] if defect else []
    return found


def gone_databases(backend: Backend, copies: Copies, epoch: str, told: Sequence[Finding]) -> list[Finding]:
    """Databases that are in a snapshot of the store's present epoch, and not in the store; parts never delete one.

    Args:
        backend: the store.
        copies: its snapshots.
        epoch: the store's: what was there before a restore may be gone since.
        told: what is known already.

    Raises:
        DiskError: it cannot be looked at.
    """
    known = {finding.path for finding in told}
    named: dict[str, str] = {}
    for manifest in copies.manifests:
        for file in manifest.files if manifest.epoch == epoch else ():
            if is_database_name(file.path):
                named.setdefault(file.path, manifest.name)
    return [
        Finding("database_damaged", f"{path} is gone, and the snapshot {name} has it", path)
        for path, name in sorted(named.items())
        if not known & {path, path.rpartition("/")[0]} and backend.stat(path) is None
    ]


def mend_part_files(
    backend: Backend,
    parts: Sequence[Part],
    findings: Sequence[Finding],
    copies: Copies,
    clock: Clock,
    mended: Mended,
    *,
    give_up: bool,
) -> None:
    """Have the parts mend what they can, and bring back whole files for the others.

    Args:
        backend: the store, locked by the caller; nobody has a database of a part open.
        parts: of the store.
        findings: of the parts.
        copies: where they are looked for.
        clock: source of time.
        mended: grows.
        give_up: whether what no copy of is to be had may be set aside.

    Raises:
        StoreLockedError: somebody keeps a part's folder busy.
        DiskError: a step failed.
    """
    rest = list(findings)
    for part in parts:
        own = [finding for finding in rest if isinstance(part, MendingPart) and part.mends(finding)]
        if not own or not isinstance(part, MendingPart):
            continue
        rest = [finding for finding in rest if finding not in own]
        done = part.mend(backend, own, lambda path: _earlier(copies, path), clock, give_up=give_up)
        mended.actions += done.actions
        mended.restored += [Putback(file.path, file.origin, not file.loss, file.loss) for file in done.returned]
        mended.lost += [*(file.loss for file in done.returned if file.loss), *done.lost]
        mended.given_up += len(done.lost)
    mended.restored += restore_part_files(backend, rest, copies, clock, mended.lost)


def _earlier(copies: Copies, path: str) -> Iterator[EarlierCopy]:
    seen = set[str]()
    for manifest in copies.manifests:
        for file in manifest.files:
            if file.path == path and file.sha256 not in seen and (data := _bytes_of(copies, file)) is not None:
                seen.add(file.sha256)
                moment = format_time(from_micros(manifest.taken_micros))
                yield EarlierCopy(f"the snapshot {manifest.name}", moment, data)


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
