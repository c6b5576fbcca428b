"""Capsules: the folder of one run, with its context, inputs and outputs, written once.

It writes no log: the entry of the run, which holds the hash of each file, is appended once the capsule is in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Literal

from synthians_memory.errors import DiskError, InvalidValueError, NotRegularFileError
from synthians_memory.json_values import JsonObject, checked_text
from synthians_memory.layout import (
    LEDGER_RUNS,
    MAX_NAME_BYTES,
    RUN_CONTEXT,
    RUN_INPUTS,
    RUN_META,
    RUN_OUTPUTS,
    is_scratch,
    path_in,
    scratch_path,
)
from synthians_memory.ledger.entries import CAPSULE_HASHES, Entry
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = [
    "Capsule",
    "MemberFile",
    "MemberKind",
    "capsule_names",
    "capsule_problems",
    "files_of_runs",
    "make_durable_folder",
    "require_new_run",
    "run_folder",
    "validate_member_name",
]

MemberKind = Literal["inputs", "outputs"]

_FOLDERS: Final[dict[MemberKind, str]] = {"inputs": RUN_INPUTS, "outputs": RUN_OUTPUTS}
_CHUNK_BYTES: Final = 1 << 20


def run_folder(folder: str, run_id: str) -> str:
    """The folder of the capsule of a run, in the ledger's `folder`."""
    return path_in(folder, f"{LEDGER_RUNS}/{run_id}")


class MemberFile:
    """A file of a capsule, open for writing; one thread at a time."""

    def __init__(self, capsule: Capsule, backend: Backend, path: str, name: str) -> None:
        self._capsule = capsule
        self._file = backend.create(path)
        self._name = name
        self._hasher = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hasher.hexdigest()

    def write(self, data: bytes) -> None:
        """Append `data`. Raises DiskError."""
        self._file.write(data)
        self._hasher.update(data)

    def close(self) -> None:
        """Make it durable, and a part of the capsule. Raises DiskError."""
        try:
            self._file.sync()
        finally:
            self._file.close()
        self._capsule.hashes[self._name] = self.sha256


class Capsule:
    """One capsule that is being filled, under a scratch name that no reader looks at.

    Args:
        backend: where.
        folder: the ledger's, which is there.
        token: tells its scratch name from others.

    Attributes:
        hashes: path in the capsule -> SHA-256 of each file that is closed.

    Raises:
        DiskError: it cannot be made.
    """

    def __init__(self, backend: Backend, folder: str, token: str) -> None:
        self.hashes: dict[str, str] = {}
        self._backend = backend
        self._folder = folder
        self._runs = path_in(folder, LEDGER_RUNS)
        self._scratch = scratch_path(self._runs, token)
        make_durable_folder(backend, self._runs)
        for made in (self._scratch, *(f"{self._scratch}/{name}" for name in _FOLDERS.values())):
            backend.make_folder(made)

    def open(self, kind: MemberKind, name: str) -> MemberFile:
        """Begin a file among its inputs or outputs.

        Raises:
            InvalidTypeError, InvalidValueError: `name` is no name of a file in a folder.
            DiskError: it cannot be made, or is there.
        """
        inside = f"{_FOLDERS[kind]}/{validate_member_name(name)}"
        return MemberFile(self, self._backend, f"{self._scratch}/{inside}", inside)

    def put(self, kind: MemberKind, name: str, data: bytes) -> None:
        """Write a whole file among its inputs or outputs; raises as `open`."""
        self._write(self.open(kind, name), data)

    def put_context(self, context: JsonObject) -> None:
        """Write its context. Raises DiskError."""
        text = json.dumps(context, ensure_ascii=False, allow_nan=False, indent=2)
        path = f"{self._scratch}/{RUN_CONTEXT}"
        self._write(MemberFile(self, self._backend, path, RUN_CONTEXT), text.encode("utf-8") + b"\n")

    def finish(self, entry: Entry) -> None:
        """Put it in place, durably, as the capsule of the run of `entry`; the ledger's lock is held.

        Raises:
            InvalidValueError: the run has one; see `require_new_run`.
            DiskError: it is not there, or whole.
        """
        require_new_run(self._backend, self._folder, entry.run_id)
        meta = self._backend.create(f"{self._scratch}/{RUN_META}")
        try:
            meta.write(entry.line + b"\n")
            meta.sync()
        finally:
            meta.close()
        for name in (*_FOLDERS.values(), ""):
            self._backend.sync_folder(path_in(self._scratch, name) if name else self._scratch)
        self._backend.replace(self._scratch, run_folder(self._folder, entry.run_id))
        self._backend.sync_folder(self._runs)

    def discard(self) -> None:
        """Remove what was written so far, if that can be done; what is left behind is scratch."""
        try:
            for path in list(_files_below(self._backend, self._scratch)):
                self._backend.unlink(path)
            for name in _FOLDERS.values():
                self._backend.remove_folder(f"{self._scratch}/{name}")
            self._backend.remove_folder(self._scratch)
        except DiskError:
            return

    def _write(self, file: MemberFile, data: bytes) -> None:
        try:
            file.write(data)
        finally:
            file.close()


def make_durable_folder(backend: Backend, path: str) -> None:
    """Make the folder `path` where it is missing, its name durable before anything is put into it. Raises DiskError."""
    made = backend.make_folder(path)
    try:
        # Whoever made it may have died before its name was durable.
        backend.sync_folder(path.rpartition("/")[0])
    except DiskError:
        # A name that a failed sync lost is saved by no later one: it has to be made again.
        if made:
            with suppress(DiskError):
                backend.remove_folder(path)
        raise


def require_new_run(backend: Backend, folder: str, run_id: str) -> None:
    """Raise InvalidValueError where the run has a capsule; DiskError where that cannot be seen."""
    if backend.stat(run_folder(folder, run_id)) is not None:
        raise InvalidValueError(
            f"the run {run_id} has its capsule already; a capsule is written once",
            hint="Leave the run_id out, so that the run gets a new one.",
        )


def validate_member_name(name: object) -> str:
    """Return `name` if it can name a file of a capsule; raises as `Capsule.open`."""
    text = checked_text(name, "the name of a member")
    refused = text in ("", ".", "..") or is_scratch(text) or len(text.encode()) > MAX_NAME_BYTES
    if refused or any(character in "/\\" or not character.isprintable() for character in text):
        raise InvalidValueError(
            f"{text[:60]!r} is no name of a file in a capsule",
            hint="Give a name without '/', '\\' and control characters.",
        )
    return text


# Reading


def capsule_names(backend: Backend, folder: str) -> list[tuple[str, EntryStat]]:
    """What lies in `runs`, scratch included, in the order of names. Raises DiskError."""
    return sorted(backend.scan(path_in(folder, LEDGER_RUNS)))


def files_of_runs(backend: Backend, folder: str) -> Iterator[str]:
    """Paths of the files of all capsules, those in scratch left out. Raises DiskError."""
    for name, stat in capsule_names(backend, folder):
        if not is_scratch(name) and stat.kind == "folder":
            yield from _files_below(backend, run_folder(folder, name))


def capsule_problems(backend: Backend, folder: str, entry: Entry, *, contents: bool) -> list[str]:
    """What differs between the capsule of `entry`, which is there, and what the entry says; nothing where all is well.

    Args:
        backend: where.
        folder: the ledger's.
        entry: has the hashes.
        contents: read and compare every byte; else only the names.

    Raises:
        DiskError: a file cannot be read.
    """
    top = run_folder(folder, entry.run_id)
    expected = {**entry.fields[CAPSULE_HASHES], RUN_META: hashlib.sha256(entry.line + b"\n").hexdigest()}
    found = {path.removeprefix(f"{top}/") for path in _files_below(backend, top)}
    problems = [f"{name} is missing" for name in sorted(expected.keys() - found)]
    problems += [f"{name} was added" for name in sorted(found - expected.keys())]
    for name in sorted(found & expected.keys()) if contents else ():
        try:
            intact = _hash_of(backend, f"{top}/{name}") == expected[name]
        except NotRegularFileError:
            intact = False
        if not intact:
            problems.append(f"{name} is not what was written")
    return problems


def _hash_of(backend: Backend, path: str) -> str:
    hasher, offset = hashlib.sha256(), 0
    while data := backend.read(path, offset, _CHUNK_BYTES):
        hasher.update(data)
        offset += len(data)
    return hasher.hexdigest()


def _files_below(backend: Backend, folder: str) -> Iterator[str]:
    """Paths of whatever is no folder, at any depth, in the order of names."""
    for name, stat in sorted(backend.scan(folder)):
        path = f"{folder}/{name}"
        if stat.kind == "folder":
            yield from _files_below(backend, path)
        else:
            yield path
