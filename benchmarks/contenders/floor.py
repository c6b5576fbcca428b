"""The floor: the same bytes and the same promise with the fewest system calls, in one thread, and nothing else.

It is not a store: no locks, no recovery, no checks, no index but a bare FAISS one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.contender import BlockingContender
from benchmarks.contenders.ours import entry_of
from benchmarks.records import DIMENSION, TOPICS, Record, Vector, topic
from synthians_memory.codec import encode

FRAME_BYTES = 48
# Room for deletes, beyond what was prepared.
SPARE_BYTES = 2**20
READ_BYTES = 64 * 2**10

# The file's name and its bytes.
Item = tuple[str, bytes]


class Store(BlockingContender):
    durability = "journal synced before the acknowledgement, in groups: survives a power cut"
    packages = ("numpy", "faiss-cpu")

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        faiss.omp_set_num_threads(1)
        self._ids: list[str] = []
        self._vectors: list[Vector] = []
        self._room, self._used, self._promised = SPARE_BYTES, 0, 0

    async def open(self) -> None:
        (self.folder / "memories").mkdir(exist_ok=True)
        self._files = os.open(self.folder / "memories", os.O_RDONLY | os.O_DIRECTORY)
        if (self.folder / "ids.txt").exists():
            self._ids = (self.folder / "ids.txt").read_text().splitlines()
            self._vectors = [np.load(self.folder / "vectors.npy")]
        self._build_index()
        self._journal = self._new_segment()

    async def close(self) -> None:
        (self.folder / "ids.txt").write_text("\n".join(self._ids))
        np.save(self.folder / "vectors.npy", np.vstack([np.empty((0, DIMENSION), np.float32), *self._vectors]))
        os.close(self._files)
        os.close(self._journal)

    def prepare(self, records: Sequence[Record]) -> list[Item]:
        items = _items(records)
        self._promised += sum(FRAME_BYTES + len(data) for _, data in items)
        if self._used + self._promised > self._room:
            self._next_segment()
        return items

    async def fill(self, records: Sequence[Record]) -> None:
        self._write_files(_items(records))
        self._ids += [record.record_id for record in records]
        self._vectors.append(np.array([record.vector for record in records]))

    async def settle(self) -> None:
        if self._index.ntotal != len(self._ids):
            self._build_index()

    def put(self, items: Sequence[Item]) -> None:
        self._append([data for _, data in items])
        self._write_files(items)

    async def save_together(self, items: Sequence[Item], savers: int) -> None:
        for first in range(0, len(items), savers):
            self.put(items[first : first + savers])

    def get(self, record_id: str) -> bytes:
        descriptor = os.open(record_id + ".json", os.O_RDONLY, dir_fd=self._files)
        data = os.read(descriptor, READ_BYTES)
        os.close(descriptor)
        return data

    def remove(self, record_id: str) -> None:
        self._append([record_id.encode()])
        os.unlink(record_id + ".json", dir_fd=self._files)

    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        query = (vector / np.linalg.norm(vector)).reshape(1, -1)
        _, found = self._index.search(query, k, params=self._parameters(topic))
        return [self._ids[row] for row in found[0] if row >= 0]

    def _parameters(self, topic: str | None) -> Any:
        return None if topic is None else faiss.SearchParameters(sel=self._selectors[topic])

    async def search_many(self, vectors: Sequence[Vector], k: int) -> list[list[str]]:
        many = np.array(vectors)
        _, found = self._index.search(many / np.linalg.norm(many, axis=1, keepdims=True), k)
        return [[self._ids[row] for row in rows if row >= 0] for rows in found]

    async def check(self, level: str) -> int:
        with os.scandir(self._files) as entries:
            names = [(entry.name, entry.stat().st_size) for entry in entries]
        if level == "full":
            digests = {hashlib.sha256(self.get(name[:-5])).digest() for name, _ in names}
            return len(names) - len(digests)
        return 0

    def _append(self, records: Sequence[bytes]) -> None:
        frames = b"".join(bytes(FRAME_BYTES) + record for record in records)
        os.pwrite(self._journal, frames, self._used)
        os.fdatasync(self._journal)
        self._used += len(frames)
        self._promised -= len(frames)

    def _next_segment(self) -> None:
        """A file of zeros that are on the disk, so that no later sync has to commit its metadata; never measured."""
        os.close(self._journal)
        self._room, self._used = self._promised + SPARE_BYTES, 0
        self._journal = self._new_segment()

    def _new_segment(self) -> int:
        path = self.folder / f"{len(list(self.folder.glob('*.wal'))):06d}.wal"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        zeros = bytes(2**20)
        for offset in range(0, self._room, len(zeros)):
            os.pwrite(descriptor, zeros, offset)
        os.fsync(descriptor)
        return descriptor

    def _write_files(self, items: Sequence[Item]) -> None:
        for name, data in items:
            descriptor = os.open("next", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._files)
            os.write(descriptor, data)
            os.close(descriptor)
            os.rename("next", name, src_dir_fd=self._files, dst_dir_fd=self._files)

    def _build_index(self) -> None:
        self._index = faiss.IndexFlatIP(DIMENSION)
        for part in self._vectors:
            self._index.add(part / np.linalg.norm(part, axis=1, keepdims=True))
        numbers = [int(record_id.rpartition("-")[2]) for record_id in self._ids]
        self._selectors = {topic(n): _selector([number % TOPICS == n for number in numbers]) for n in range(TOPICS)}


def _items(records: Sequence[Record]) -> list[Item]:
    return [(record.record_id + ".json", encode(entry_of(record)).stamp(0).data) for record in records]


def _selector(chosen: Sequence[bool]) -> Any:
    bits = np.packbits(np.array(chosen, dtype=bool), bitorder="little")
    return faiss.IDSelectorBitmap(bits)
