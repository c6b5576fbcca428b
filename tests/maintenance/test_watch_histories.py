"""Random histories of saves, changes from outside and looks at them, against a dictionary."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from watched_stores import NOON, without_seal

from synthians_memory.codec import encode
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.layout import QUARANTINE, entity_path
from synthians_memory.maintenance.outside_files import Candidate, OutsideFiles
from synthians_memory.maintenance.watched_change import WatchedChange
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import delete, observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, memory
from synthians_memory.testing.stored_files import all_files

IDS = ("a", "b", "c")
ACTIONS = ("save", "delete", "edit", "replace", "remove", "damage", "look", "reopen")
Action = tuple[str, str]


class History:
    """A store, what it has to hold, and what stands in its folder instead."""

    def __init__(self) -> None:
        self.disk = FaultyDisk()
        self.clock = ManualClock()
        self.store = self.opened()
        self.held: dict[str, str] = {}
        # Id -> content that was put there from outside and waits to be adopted; None for a file that is gone.
        self.outside: dict[str, str | None] = {}
        self.kept: list[bytes] = []
        self.edition = 0

    def opened(self) -> Store:
        config = SMALL_STORE.with_overrides(auto_repair=False, startup_check="off")
        return Store.open(FaultyBackend(self.disk), config, self.clock)

    @property
    def backend(self) -> Backend:
        return self.store.state.backend

    def act(self, action: str, entity_id: str) -> None:
        self.edition += 1
        self.clock.advance(1.0)
        getattr(self, action)(entity_id)

    def commit(self, batch: Batch, entity_id: str) -> None:
        standing = self.backend.read(entity_path("memory", entity_id))
        self.store.commit([batch])
        assert batch.error is None
        waiting = self.outside.pop(entity_id, None)
        if waiting is not None and standing is not None and (batch.outcomes[0] is not False):
            self.kept.append(standing)

    def save(self, entity_id: str) -> None:
        entry = memory(entity_id, self.edition)
        self.commit(Batch([save(entry)]), entity_id)
        self.held[entity_id] = entry.content

    def delete(self, entity_id: str) -> None:
        if self.held.pop(entity_id, None) is not None:
            self.commit(Batch([delete(("memory", entity_id))]), entity_id)

    def put(self, entity_id: str, data: bytes) -> None:
        path = entity_path("memory", entity_id)
        self.backend.unlink(path)
        file = self.backend.create(path)
        file.write(data)
        file.close()

    def version(self, entity_id: str) -> tuple[MemoryEntry, bytes]:
        entry = memory(entity_id, self.edition)
        return entry, encode(entry).stamp(NOON + self.edition).data

    def edit(self, entity_id: str) -> None:
        entry, data = self.version(entity_id)
        self.put(entity_id, without_seal(data))
        self.outside[entity_id] = entry.content

    def replace(self, entity_id: str) -> None:
        entry, data = self.version(entity_id)
        self.put(entity_id, data)
        self.outside[entity_id] = entry.content

    def remove(self, entity_id: str) -> None:
        self.backend.unlink(entity_path("memory", entity_id))
        self.outside.pop(entity_id, None)
        if entity_id in self.held:
            self.outside[entity_id] = None

    def damage(self, entity_id: str) -> None:
        """Nobody adopts it; what it stood for is not served, and comes back with the next save."""
        if entity_id in self.held and entity_id not in self.outside:
            data = self.backend.read(entity_path("memory", entity_id)) or b""
            self.put(entity_id, data[: len(data) // 2])
            self.look(entity_id)
            self.put(entity_id, data)

    def look(self, _: str) -> None:
        files = OutsideFiles(self.store, adopt_damaged=False)
        keys: list[Key] = [("memory", entity_id) for entity_id in IDS]
        examined = files.examine(list(files.look(keys)))
        recorded = files.record([one for one in examined if isinstance(one, Candidate)])
        adopted = {change.entity_id for change in recorded if isinstance(change, WatchedChange)}
        assert adopted == set(self.outside)
        for entity_id, content in self.outside.items():
            if content is None:
                del self.held[entity_id]
            else:
                self.held[entity_id] = content
        self.outside.clear()

    def reopen(self, entity_id: str) -> None:
        self.look(entity_id)
        self.store.close()
        self.store = self.opened()

    def end(self) -> None:
        self.look("")
        entries = {i: e.content for (_, i), e in observe(self.store).items() if isinstance(e, MemoryEntry)}
        assert entries == self.held
        assert [f for f in self.store.check("full") if f.severity != "note"] == []
        quarantined = [data for path, data in all_files(self.backend).items() if path.startswith(QUARANTINE)]
        assert all(data in quarantined for data in self.kept)
        for entity_id in self.held:
            entry = self.store.load(("memory", entity_id))
            assert entry is not None
            assert entry.vector is not None
            assert self.store.search(entry.vector, 1, "memory")[0].memory_id == entity_id
        self.store.close()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(IDS)), max_size=25))
def test_every_history_ends_with_what_was_said_last(actions: Sequence[Action]) -> None:
    history = History()
    for action, entity_id in actions:
        history.act(action, entity_id)
    history.end()
