"""A disk in memory on which content and names are durable only once each was synced, as strict as POSIX allows.

It draws nothing at random, fails no call that a healthy disk would admit, and is not thread-safe.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import dataclass, field

from synthians_memory.storage.backend import EntryStat
from synthians_memory.testing.inodes import File, Folder, NameChange, Write
from synthians_memory.testing.pages import Pages

__all__ = ["ROOT", "Volume", "refusal"]

ROOT = 1
# The clock of a new disk: an arbitrary moment, so that times in tests neither move nor look like zero.
_START_NS = 1_700_000_000_000_000_000


def refusal(number: int) -> OSError:
    """What the operating system raises for errno `number`."""
    return OSError(number, os.strerror(number))


@dataclass
class Volume:
    """Inodes and the names that lead to them.

    Paths are as in `Backend`, refusals are plain OSError. Other modules read the attributes and
    change them through the methods only.

    Attributes:
        tick_ns: how far the clock moves with each change; 0 makes all changes look simultaneous.
        now_ns: the clock, nanoseconds since the epoch.
        files: by inode; `folders` likewise, the store itself is ROOT.
        pending: inodes of which a power cut may undo something.
        sequence: of the last change.
        opened: how many handles are open for writing, by inode.
    """

    tick_ns: int = 1_000
    now_ns: int = _START_NS
    files: dict[int, File] = field(default_factory=dict)
    folders: dict[int, Folder] = field(default_factory=lambda: {ROOT: Folder.clean({}, _START_NS)})
    pending: set[int] = field(default_factory=set)
    sequence: int = ROOT
    opened: Counter[int] = field(default_factory=Counter)
    # Inodes are shared with copies of this volume; only these may be changed in place.
    _owned: set[int] = field(default_factory=set)

    def copy(self) -> Volume:
        """The same disk after the death of its process: all of the cache is there, no handle is.

        Cheap: an inode is copied when one of the two changes it.
        """
        self._owned.clear()
        return Volume(self.tick_ns, self.now_ns, dict(self.files), dict(self.folders), set(self.pending), self.sequence)

    # Looking

    def find(self, path: str) -> int | None:
        """The inode at `path`; None where nothing is, ENOTDIR below a file."""
        inode = ROOT
        for name in path.split("/") if path else ():
            if inode in self.files:
                raise refusal(errno.ENOTDIR)
            below = self.folders[inode].cached.get(name)
            if below is None:
                return None
            inode = below
        return inode

    def find_file(self, path: str) -> int | None:
        """The inode of the file at `path`; None where nothing is, EISDIR where a folder is."""
        inode = self.find(path)
        if inode in self.folders:
            raise refusal(errno.EISDIR)
        return inode

    def find_folder(self, path: str) -> int:
        """The inode of the folder at `path`; ENOENT where nothing is, ENOTDIR where a file is."""
        inode = self.find(path)
        if inode is None:
            raise refusal(errno.ENOENT)
        if inode in self.files:
            raise refusal(errno.ENOTDIR)
        return inode

    def stat(self, inode: int) -> EntryStat:
        """Kind, size and time as reads see them."""
        file = self.files.get(inode)
        if file is None:
            return EntryStat("folder", 0, self.folders[inode].mtime_ns)
        return EntryStat("file", len(file.cached), file.mtime_ns)

    def entries(self, folder: int) -> list[tuple[str, EntryStat]]:
        """Name and stat of each entry."""
        return [(name, self.stat(inode)) for name, inode in self.folders[folder].cached.items()]

    def read(self, file: int, offset: int, length: int | None) -> bytes:
        """Bytes from `offset`, at most `length`."""
        end = None if length is None else offset + length
        return self.files[file].cached.read(offset, end)

    def used_bytes(self) -> int:
        """Size of all files that have a name or an open handle."""
        named = {inode for folder in self._folders_in_use() for inode in self.folders[folder].cached.values()}
        in_use = named.union(inode for inode, handles in self.opened.items() if handles)
        return sum(len(self.files[inode].cached) for inode in in_use if inode in self.files)

    def _folders_in_use(self) -> list[int]:
        found = [ROOT]
        for folder in found:
            found += [inode for inode in self.folders[folder].cached.values() if inode in self.folders]
        return found

    # Changing

    def create(self, path: str) -> int:
        """Make an empty file and return its inode; EEXIST where the name is taken."""
        folder, name = self._place(path)
        if name in self.folders[folder].cached:
            raise refusal(errno.EEXIST)
        inode = self._next()
        self.files[inode] = File.clean(Pages(), self._tick())
        self._change(folder, put=name, inode=inode)
        return inode

    def write(self, file: int, offset: int, data: bytes) -> None:
        """Write at `offset`, visible at once; a gap before it reads as zeros."""
        self._own_file(file).write(Write(self._next(), offset, data), self._tick())
        self.pending.add(file)

    def replace(self, source: str, target: str) -> None:
        """Rename; where both names lead to one file nothing happens, as POSIX has it."""
        old_folder, old_name = self._place(source)
        folder, name = self._place(target)
        inode = self.folders[old_folder].cached.get(old_name)
        replaced = self.folders[folder].cached.get(name)
        if inode is None:
            raise refusal(errno.ENOENT)
        if inode == replaced:
            return
        self._check_replaceable(inode, source, replaced, target)
        if folder == old_folder:
            self._change(folder, put=name, dropped=old_name, inode=inode, replaced=replaced)
        else:
            first = self._change(folder, put=name, inode=inode, replaced=replaced)
            self._change(old_folder, dropped=old_name, after=first)

    def _check_replaceable(self, inode: int, source: str, replaced: int | None, target: str) -> None:
        if inode in self.folders and target.startswith(f"{source}/"):
            raise refusal(errno.EINVAL)
        if inode in self.folders and replaced in self.files:
            raise refusal(errno.ENOTDIR)
        if inode in self.files and replaced in self.folders:
            raise refusal(errno.EISDIR)
        if replaced in self.folders and self.folders[replaced].cached:
            raise refusal(errno.ENOTEMPTY)

    def unlink(self, path: str) -> bool:
        """Remove the name of a file; False where nothing is, EISDIR where a folder is."""
        inode = self.find_file(path)
        if inode is None:
            return False
        folder, name = self._place(path)
        self._change(folder, dropped=name, replaced=inode)
        return True

    def make_folder(self, path: str) -> bool:
        """Make a folder; False where one is, EEXIST where a file is."""
        folder, name = self._place(path)
        present = self.folders[folder].cached.get(name)
        if present in self.files:
            raise refusal(errno.EEXIST)
        if present is not None:
            return False
        inode = self._next()
        self.folders[inode] = Folder.clean({}, self._tick())
        self._change(folder, put=name, inode=inode)
        return True

    def remove_folder(self, path: str) -> bool:
        """Remove an empty folder; False where nothing is, ENOTEMPTY or ENOTDIR where it cannot be."""
        if self.find(path) is None:
            return False
        inode = self.find_folder(path)
        folder, name = self._place(path)
        if self.folders[inode].cached:
            raise refusal(errno.ENOTEMPTY)
        self._change(folder, dropped=name, replaced=inode)
        return True

    def sync(self, inode: int, share: float = 1.0) -> bool:
        """Make the first `share` of what is dirty of an inode durable; see `File.sync` and `Folder.sync`."""
        if inode not in self.pending:
            return False
        node = self._own(inode)
        misleading = node.sync(share)
        if not node.pending():
            self.pending.discard(inode)
        return misleading

    def lose(self, inode: int) -> None:
        """A sync of it failed: what is dirty now stays readable, and no later sync makes it durable."""
        if inode in self.pending:
            self._own(inode).lose()

    def _place(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        if not name:
            raise refusal(errno.EBUSY)
        return self.find_folder(folder), name

    def _change(
        self,
        folder: int,
        *,
        put: str | None = None,
        dropped: str | None = None,
        inode: int = 0,
        replaced: int | None = None,
        after: int | None = None,
    ) -> int:
        change = NameChange(self._next(), put, dropped, inode, replaced, after)
        self._own_folder(folder).change(change, self._tick())
        self.pending.add(folder)
        return change.sequence

    # Inodes are numbered by the sequence too: no number serves twice.
    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def _tick(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns

    def _own(self, inode: int) -> File | Folder:
        return self._own_file(inode) if inode in self.files else self._own_folder(inode)

    def _own_file(self, inode: int) -> File:
        if inode not in self._owned:
            self.files[inode] = self.files[inode].copy()
            self._owned.add(inode)
        return self.files[inode]

    def _own_folder(self, inode: int) -> Folder:
        if inode not in self._owned:
            self.folders[inode] = self.folders[inode].copy()
            self._owned.add(inode)
        return self.folders[inode]
