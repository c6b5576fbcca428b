"""The ways in which files rot: each a `Rot` of one sample, in an order that stays the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from rot_oracle import Rot
from rot_samples import FileImage, Sample, is_entity

from synthians_memory.layout import JOURNAL
from synthians_memory.storage.segment import HEADER_BLOCK

_TOUCHED_NS = 7_000_000_000
_TORN = 16


def is_segment(path: str) -> bool:
    return path.endswith(".wal")


def kind_of(path: str) -> str:
    """What may be taken for another file of the same: an entity, a segment, a log, or some other derived file."""
    if is_entity(path):
        return "entity"
    return path.rpartition(".")[2] if is_segment(path) or path.endswith(".log") else "derived"


def content_end(data: bytes) -> int:
    """Where the zeros begin that a file ends with."""
    return len(data.rstrip(b"\0"))


def offsets(sample: Sample, path: str) -> list[int]:
    """Every byte that means something, and some of the zeros behind it."""
    data = sample.image[path].data
    end = min(len(data), content_end(data) + 24)
    if not is_segment(path):
        return list(range(end))
    header = content_end(data[:HEADER_BLOCK])
    return [*range(min(header + 8, len(data))), *range(HEADER_BLOCK - 4, end), *range(end, len(data), 1024)]


def changed(sample: Sample, path: str, data: bytes, what: str, *, touched: bool = False) -> Rot:
    """`path` holds `data` now; its time stays unless `touched`."""
    file = sample.image[path]
    mtime_ns = file.mtime_ns + _TOUCHED_NS if touched else file.mtime_ns
    return Rot(f"{path} {what}, mtime {'changed' if touched else 'kept'}", {path: FileImage(data, mtime_ns)})


def flipped(sample: Sample, path: str, offset: int, mask: int, *, touched: bool = False) -> Rot:
    """The bits of `mask` are flipped in one byte."""
    data = bytearray(sample.image[path].data)
    data[offset] ^= mask
    return changed(sample, path, bytes(data), f"has byte {offset} xor {mask:#04x}", touched=touched)


def truncated(sample: Sample, path: str, length: int) -> Rot:
    """The file ends early."""
    data = sample.image[path].data
    rot = changed(sample, path, data[:length], f"is cut to {length} bytes", touched=length % 2 == 1)
    return _unnoticed(sample, rot, path)


def _unnoticed(sample: Sample, rot: Rot, path: str) -> Rot:
    """Nothing tells how far the newest segment reached."""
    return replace(rot, endless=path == newest_segment(sample))


def newest_segment(sample: Sample) -> str:
    """The path of the segment that was in use."""
    return max(path for path in sample.paths if is_segment(path))


def zeroed(sample: Sample, path: str) -> Iterator[Rot]:
    """Zeros in the place of all of the file, and of a sector of it."""
    data = sample.image[path].data
    rot = changed(sample, path, bytes(len(data)), "is all zeros")
    yield _unnoticed(sample, rot, path)
    end = content_end(data)
    for start in (0, end // 2, max(0, end - _TORN)):
        hole = data[:start] + bytes(_TORN) + data[start + _TORN :]
        yield changed(sample, path, hole[: len(data)], f"has zeros at {start}", touched=start > 0)


def extended(sample: Sample, path: str) -> Iterator[Rot]:
    """More than was written stands behind it."""
    data = sample.image[path].data
    for what, more in (("a byte", b"}"), ("zeros", bytes(4096)), ("garbage", bytes(range(256))), ("itself", data)):
        yield changed(sample, path, data + more, f"is followed by {what}", touched=what == "a byte")


def swapped(sample: Sample) -> Iterator[Rot]:
    """Two files of one kind have each other's content; or content and time, as after two renames."""
    groups: dict[str, list[str]] = {}
    for path in sample.paths:
        groups.setdefault(kind_of(path), []).append(path)
    for one, other in (pair for group in groups.values() for pair in pairwise(group)):
        first, second = sample.image[one], sample.image[other]
        what = f"{one} and {other} are swapped"
        yield Rot(what, {one: second, other: first})
        kept = {one: FileImage(second.data, first.mtime_ns), other: FileImage(first.data, second.mtime_ns)}
        yield Rot(f"{what}, not their times", kept)


def duplicated(sample: Sample, path: str) -> Iterator[Rot]:
    """The file stands there under another name as well."""
    file = sample.image[path]
    folder = path.rpartition("/")[0]
    others = ["copy.json", "COPY.json", f"{path.rpartition('/')[2]}~"]
    if folder == JOURNAL:
        others = ["0000000099.wal", "0000000001.wal", "99.wal", "0000000008.wal.bak"]
    for name in others:
        other = f"{folder}/{name}" if folder else name
        if other != path:
            yield Rot(f"{path} is copied to {other}", {other: file})


def deleted(sample: Sample, path: str) -> Rot:
    """It is gone."""
    return _unnoticed(sample, Rot(f"{path} is deleted", {path: None}), path)


def older(sample: Sample, path: str) -> Iterator[Rot]:
    """An earlier version of the file, with the time of the present one or another."""
    data = sample.older.get(path)
    if data is not None:
        for touched in (False, True):
            rot = changed(sample, path, data, "is an older version", touched=touched)
            yield _unnoticed(sample, rot, path)


def folder_in_place(path: str) -> Rot:
    """A folder stands where the file was."""
    return Rot(f"{path} is a folder", {}, (path,))


def coarse(sample: Sample) -> Iterator[Rot]:
    """Everything but single bytes and cuts."""
    for path in sample.paths:
        yield from zeroed(sample, path)
        yield from extended(sample, path)
        yield from duplicated(sample, path)
        yield deleted(sample, path)
        yield from older(sample, path)
        yield folder_in_place(path)
    yield from swapped(sample)
