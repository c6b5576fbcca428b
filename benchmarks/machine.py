"""Facts of the machine and of one process: what the figures depend on, memory held, disk used.

It measures no contender.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def machine(folder: Path) -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "file_system": _file_system(folder),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    found, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, its_kind = line.split()[:3]
        if folder.resolve().is_relative_to(place) and len(place) >= len(found):
            found, kind = place, its_kind
    return kind


def memory_megabytes() -> dict[str, float]:
    """Resident memory of this process now, and the most it ever held."""
    names = {"VmRSS": "resident_mb", "VmHWM": "peak_mb"}
    rows = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {names[row[0][:-1]]: round(int(row[1]) / 1024, 1) for row in rows if row and row[0][:-1] in names}


def disk_megabytes(folder: Path) -> dict[str, float]:
    """What a folder takes on the disk in blocks, and the bytes of its files."""
    blocks = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(place, name))
            blocks, size = blocks + found.st_blocks * 512, size + found.st_size
    return {"disk_mb": round(blocks / 2**20, 1), "file_bytes_mb": round(size / 2**20, 1)}


def forget_pages(folder: Path, *, drop_caches: bool, written: bool) -> None:
    """Put the files of a folder out of the page cache.

    Args:
        folder: of the store.
        drop_caches: all else of the machine as well.
        written: nothing was changed since the last time, so that every page is on the disk.
    """
    if drop_caches:
        os.sync()
        DROP_CACHES.write_text("3\n")
        return
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
            if not written:
                os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def new_folder(root: Path, name: str) -> Path:
    """A folder that was never there before: freed inodes of a deleted one would be measured instead."""
    for number in range(10_000):
        path = root / f"{name}-{number:04d}"
        if not path.exists():
            path.mkdir(parents=True)
            return path
    raise SystemExit(f"{root} is full of old benchmark folders: remove them, wait some minutes, and try again")
