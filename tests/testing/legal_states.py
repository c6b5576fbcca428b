"""Every state that a power cut may leave after a short history, enumerated from the definition.

It shares no code with the disk it judges: it keeps the whole history and tries all subsets of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

FOLDERS = ("", "d")


class Step(NamedTuple):
    """One call: verb, its path or paths, and the data of a write."""

    verb: str
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass
class Half:
    """What happened to names of one folder in one step; a rename between folders has two of them."""

    folder: str
    changes: dict[str, int | None]
    first: Half | None = None  # the other half, which lands before this one
    durable: bool = False
    lost: bool = False


@dataclass
class Piece:
    """A write."""

    offset: int
    data: bytes
    durable: bool = False
    lost: bool = False


@dataclass
class History:
    """What was done so far, in files numbered from 1 and below FOLDERS, which are durable."""

    halves: list[Half] = field(default_factory=list)
    pieces: list[list[Piece]] = field(default_factory=lambda: [[]])

    def names(self) -> dict[str, int]:
        """Path -> file, as reads see them."""
        return tree(self.halves)

    def admits(self, step: Step) -> bool:
        """Whether the step succeeds."""
        if step.verb == "create":
            return step.path not in self.names()
        if step.verb in ("sync_folder", "fail_sync_folder"):
            return True
        return step.path in self.names() and step.path != step.target

    def record(self, step: Step) -> None:
        """Add a step that is admitted."""
        file = self.names().get(step.path, 0)
        folder, name = split(step.path)
        match step.verb:
            case "create":
                self.pieces.append([])
                self.halves.append(Half(folder, {name: len(self.pieces) - 1}))
            case "unlink":
                self.halves.append(Half(folder, {name: None}))
            case "replace":
                self._record_rename(folder, name, file, *split(step.target))
            case "write_at":
                self.pieces[file].append(Piece(step.offset, step.data))
            case "sync":
                settle(self.pieces[file])
            case "fail_sync":
                give_up(self.pieces[file])
            case "sync_folder":
                self._settle_folder(step.path)
            case "fail_sync_folder":
                give_up([half for half in self.halves if half.folder == step.path])

    def _record_rename(self, folder: str, name: str, file: int, target_folder: str, target: str) -> None:
        if folder == target_folder:
            self.halves.append(Half(folder, {name: None, target: file}))
        else:
            self.halves.append(first := Half(target_folder, {target: file}))
            self.halves.append(Half(folder, {name: None}, first))

    def _settle_folder(self, folder: str) -> None:
        inside = [half for half in self.halves if half.folder == folder]
        settle(inside)
        # What a failed sync gave up lands with a later change of the same name.
        for later in reversed(inside):
            for half in inside[: inside.index(later)] if later.durable else ():
                half.durable |= bool(half.changes.keys() & later.changes.keys())

    def name_states(self) -> Iterator[dict[str, int]]:
        """Every legal map from path to file."""
        optional = [half for half in self.halves if not half.durable]
        for count in range(len(optional) + 1):
            for left_out in combinations(optional, count):
                if not any(self._needs(half, left_out) for half in optional if half not in left_out):
                    yield tree([half for half in self.halves if half not in left_out])

    def _needs(self, half: Half, left_out: tuple[Half, ...]) -> bool:
        earlier = self.halves[: self.halves.index(half)]
        same_name = [e for e in earlier if e.folder == half.folder and e.changes.keys() & half.changes.keys()]
        return half.first in left_out or any(e in left_out for e in same_name)

    def content_is_legal(self, file: int, content: bytes) -> bool:
        """Whether each byte, and the size, is one that was there or that a write may have left."""
        ends = [piece.offset + len(piece.data) for piece in self.pieces[file]]
        certain = [end for end, piece in zip(ends, self.pieces[file], strict=True) if piece.durable]
        if not max(certain, default=0) <= len(content) <= max(ends, default=0):
            return False
        return all(byte in self._bytes_at(file, at) for at, byte in enumerate(content))

    def _bytes_at(self, file: int, at: int) -> set[int]:
        legal = {0}
        for piece in self.pieces[file]:
            if piece.offset <= at < piece.offset + len(piece.data):
                byte = piece.data[at - piece.offset]
                legal = {byte} if piece.durable else legal | {byte}
        return legal


def settle(items: list[Half] | list[Piece]) -> None:
    """A sync succeeded: all is durable but what an earlier one gave up."""
    for item in items:
        item.durable |= not item.lost


def give_up(items: list[Half] | list[Piece]) -> None:
    """A sync failed: what is not durable will not be made so."""
    for item in items:
        item.lost |= not item.durable


def split(path: str) -> tuple[str, str]:
    """Folder and name."""
    folder, _, name = path.rpartition("/")
    return folder, name


def tree(halves: list[Half]) -> dict[str, int]:
    """Path -> file after these changes, in order."""
    found: dict[str, int] = {}
    for half in halves:
        for name, file in half.changes.items():
            path = f"{half.folder}/{name}" if half.folder else name
            if file is None:
                found.pop(path, None)
            else:
                found[path] = file
    return found
