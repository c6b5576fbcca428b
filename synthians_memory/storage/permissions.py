"""Who may read and write what is below a directory: owners and modes of all its entries, links never followed.

It changes no permission.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from synthians_memory.errors import disk_error

if sys.platform != "win32":
    import pwd

__all__ = ["Permissions", "owner_of", "survey_permissions"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWN_FILE = stat.S_IRUSR | stat.S_IWUSR
_OWN_FOLDER = stat.S_IRWXU
_MOST_NAMED = 5


@dataclass(slots=True)
class Permissions:
    """What was seen; the paths are the first few, relative to the directory, which is "" itself.

    Attributes:
        owner: of the directory, as `sudo -u` takes a user.
        is_own: whether that is the user of this process.
        entries: how many files and folders there are, the directory itself included.
        root_open: whether other users may enter the directory.
        refused, named_refused: those that their owner may not read and write, or that cannot be looked at.
        foreign, named_foreign: those that have another owner than the directory.
        open, named_open: those below it that other users may use by their mode; of no consequence where they may not enter it.
    """

    owner: str = ""
    is_own: bool = True
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
    found.owner, found.is_own = _user_name(top.st_uid), _is_own(top)
    found.root_open = bool(top.st_mode & _OTHERS)
    _judge(found, "", top, top.st_uid)
    for path, entry in _below(found, root):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:
            _unseen(found, path)
            continue
        _judge(found, path, status, top.st_uid)
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
            _unseen(found, folder)
            continue
        for entry in listed:
            path = os.path.join(folder, entry.name)
            with suppress(OSError):  # whoever asks for its mode learns the same
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
            yield path, entry


def _judge(found: Permissions, path: str, status: os.stat_result, owner: int) -> None:
    found.entries += 1
    if stat.S_ISLNK(status.st_mode):  # its own mode means nothing, and where it leads is not the store's
        return
    if path and status.st_mode & _OTHERS:
        found.open += 1
        _name(found.named_open, path)
    if status.st_uid != owner:
        found.foreign += 1
        _name(found.named_foreign, path)
    if not _may_use(status):
        _refuse(found, path)


def _unseen(found: Permissions, path: str) -> None:
    """Count what cannot be looked at; where that is the owner's alone, it is as it should be."""
    if found.is_own:
        _refuse(found, path)


def _refuse(found: Permissions, path: str) -> None:
    found.refused += 1
    _name(found.named_refused, path)


def _name(paths: list[str], path: str) -> None:
    if len(paths) < _MOST_NAMED and path not in paths:
        paths.append(path)


def _may_use(status: os.stat_result) -> bool:
    """Whether the owner may read and write; a superuser may in any case, and a file system that is read-only is another matter."""
    own = _OWN_FOLDER if stat.S_ISDIR(status.st_mode) else _OWN_FILE
    return status.st_mode & own == own


def owner_of(directory: str | os.PathLike[str]) -> str | None:
    """Who owns `directory`, as `sudo -u` takes a user, where that is another user than this process's; else None.

    Raises:
        DiskError: it cannot be looked at.
    """
    try:
        status = os.stat(directory)
    except OSError as error:
        raise disk_error(error, "examine", os.fspath(directory)) from error
    return None if _is_own(status) else _user_name(status.st_uid)


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _user_name(uid: int) -> str:
    if sys.platform == "win32":
        return str(uid)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of another machine, or of a container
        return f"#{uid}"
