"""What the next life of a volume finds after a power cut or the death of its process.

It decides nothing about when that happens; the volume it is given stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal, TypeAlias

from synthians_memory.testing.inodes import File, Folder, NameChange
from synthians_memory.testing.volume import ROOT, Volume

__all__ = ["POWER_CUTS", "Policy", "next_life"]

# Of what was not synced: "killed" keeps it in the cache, still unsynced, as the death of the process does. A power cut
# loses all, nothing, only bytes of files ("lose_content"), only changes of names ("lose_names"), or what is drawn.
Policy: TypeAlias = Literal["killed", "lose_all", "keep_all", "lose_content", "lose_names", "sampled"]
POWER_CUTS: tuple[Policy, ...] = ("lose_all", "keep_all", "lose_content", "lose_names", "sampled")


def next_life(volume: Volume, policy: Policy, seed: int) -> Volume:
    """What the next start finds; after a power cut, all of that is durable.

    Any writes to a file may be missing, one be torn, and its size be that after any of them. Any
    changes of names may be missing, with three exceptions: changes that concern one name keep their
    order, a rename within a folder changes both names in one step, and a rename between folders
    adds the new name first, unless only the old folder was synced.

    Args:
        volume: the disk at that moment.
        policy: what happens to what was not synced.
        seed: the state "sampled" depends on it and on the history of the volume only.
    """
    volume = volume.copy()
    if policy == "killed":
        return volume
    rng = Random(seed) if policy == "sampled" else None  # noqa: S311 - repeatable, not secret
    landed = _sampled(volume, rng) if rng is not None else _kept(volume, policy)
    files, folders = dict(volume.files), dict(volume.folders)
    for inode in sorted(volume.pending):
        if inode in files:
            files[inode] = files[inode].after_cut(landed, rng)
        else:
            folders[inode] = folders[inode].after_cut(landed)
    files, folders = _reachable(files, folders)
    return Volume(volume.tick_ns, volume.now_ns, files, folders, sequence=volume.sequence)


def _kept(volume: Volume, policy: Policy) -> set[int]:
    """Sequences of the changes that reached the disk."""
    content = {inode for inode in volume.pending if inode in volume.files}
    kept: dict[Policy, set[int]] = {
        "keep_all": volume.pending,
        "lose_content": volume.pending - content,
        "lose_names": content,
    }
    return {change.sequence for inode in kept.get(policy, ()) for change in _node(volume, inode).pending()}


def _sampled(volume: Volume, rng: Random) -> set[int]:
    """As `_kept`, drawn."""
    groups = [[change.sequence for change in _node(volume, inode).pending()] for inode in sorted(volume.pending)]
    everything = sorted(sequence for group in groups for sequence in group)
    if everything and rng.random() < 0.25:
        # All up to one moment: what a disk with one ordered journal leaves.
        last = rng.choice(everything)
        return _closed(volume, {sequence for sequence in everything if sequence <= last})
    return _closed(volume, {sequence for group in groups for sequence in _some(group, rng)})


def _node(volume: Volume, inode: int) -> File | Folder:
    return volume.files[inode] if inode in volume.files else volume.folders[inode]


def _some(items: Sequence[int], rng: Random) -> Sequence[int]:
    """None of them, all, a beginning, or any."""
    match rng.randrange(4):
        case 0:
            return ()
        case 1:
            return items
        case 2:
            return items[: rng.randrange(len(items) + 1)]
        case _:
            return [item for item in items if rng.random() < 0.5]


def _closed(volume: Volume, chosen: set[int]) -> set[int]:
    """`chosen` without what cannot land because something before it did not."""
    missing: set[int] = set()
    names: set[tuple[int, str]] = set()
    folders: set[int] = set()
    for change, folder in _name_changes(volume):
        concerned = {(folder, name) for name in change.names}
        # A folder is not removed before the names in it are.
        impossible = change.after in missing or change.replaced in folders or not names.isdisjoint(concerned)
        if impossible or change.sequence not in chosen:
            missing.add(change.sequence)
            names |= concerned
            folders.add(folder)
    return chosen - missing


def _name_changes(volume: Volume) -> list[tuple[NameChange, int]]:
    folders = [inode for inode in volume.pending if inode in volume.folders]
    changes = [(change, inode) for inode in folders for change in volume.folders[inode].pending()]
    return sorted(changes, key=lambda found: found[0].sequence)


def _reachable(files: dict[int, File], folders: dict[int, Folder]) -> tuple[dict[int, File], dict[int, Folder]]:
    """Only what has a name; a folder that a move left under two names keeps the first, as fsck has it."""
    found_files: dict[int, File] = {}
    found_folders = {ROOT: folders[ROOT]}
    waiting = [ROOT]
    for folder in waiting:
        second_names = set()
        for name, inode in folders[folder].durable.items():
            if inode in files:
                found_files[inode] = files[inode]
            elif inode in found_folders:
                second_names.add(name)
            else:
                found_folders[inode] = folders[inode]
                waiting.append(inode)
        if second_names:
            found_folders[folder] = folders[folder].without(second_names)
    return found_files, found_folders
