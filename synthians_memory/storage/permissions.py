"""Who may read and write what is below a directory: owners and modes of all its entries, links never followed.

It changes no permission.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from synthians_memory.errors import disk_error

__all__ = ["Permissions", "survey_permissions"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWN_FILE = stat.S_IRUSR | stat.S_IWUSR
_OWN_FOLDER = stat.S_IRWXU
_MOST_NAMED = 5


@dataclass(slots=True)
class Permissions:
    """What was seen; the paths are the first few, relative to the directory, which is "" itself.

    Attributes:
        entries: how many files and folders there are, the directory itself included.
        root_open: whether other users may enter the directory.
        refused, named_refused: those that this user cannot read and write.
        foreign, named_foreign: those that have another owner than the directory.
        open, named_open: those that other users may use by their mode; of no consequence where they may not enter the directory.
    """

    entries: int = 0
    root_open: bool = False
    refused: int = 0
    foreign: int = 0
    open: int = 0
    named_refused: list[str] = field(default_factory=list)
    named_foreign: list[str] = field(default_factory=list)
    named_open: list[str] = field(default_factory=list)


def survey_permissions(directory: str | os.PathLike[str]) -> Permissions:
    """Look at `directory` and all below it. Raises DiskError where the directory itself cannot be looked at."""
    root = os.fspath(directory)
    found = Permissions()
    try:
        top = os.stat(root)
    except OSError as error:
        raise disk_error(error, "examine", root) from error
    found.root_open = bool(top.st_mode & _OTHERS)
    _judge(found, "", root, top, top.st_uid)
    for path, entry in _below(found, root):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:
            _refuse(found, path)
            continue
        _judge(found, path, entry.path, status, top.st_uid)
    return found


def _below(found: Permissions, root: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry with its path relative to `root`; what cannot be listed is counted as refused."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                listed = list(entries)
        except OSError:
            _refuse(found, folder)
            continue
        for entry in listed:
            path = os.path.join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            yield path, entry


def _judge(found: Permissions, path: str, full: str, status: os.stat_result, owner: int) -> None:
    found.entries += 1
    if stat.S_ISLNK(status.st_mode):  # its own mode means nothing, and where it leads is not the store's
        return
    if status.st_mode & _OTHERS:
        found.open += 1
        _name(found.named_open, path)
    if status.st_uid != owner:
        found.foreign += 1
        _name(found.named_foreign, path)
    if not _may_use(full, status):
        _refuse(found, path)


def _refuse(found: Permissions, path: str) -> None:
    found.refused += 1
    _name(found.named_refused, path)


def _name(paths: list[str], path: str) -> None:
    if len(paths) < _MOST_NAMED and path not in paths:
        paths.append(path)


def _may_use(full: str, status: os.stat_result) -> bool:
    """Whether this user may read and write; a superuser may whatever the mode says, but a program run as the owner may not."""
    is_folder = stat.S_ISDIR(status.st_mode)
    own = _OWN_FOLDER if is_folder else _OWN_FILE
    if hasattr(os, "getuid") and status.st_uid == os.getuid() and status.st_mode & own != own:
        return False
    return os.access(full, os.R_OK | os.W_OK | (os.X_OK if is_folder else 0))
