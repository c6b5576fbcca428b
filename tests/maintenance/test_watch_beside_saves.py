"""A watch beside the program's own saves on the same open store: none of them is taken for somebody else's."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from watched_stores import QUICK, SWEEPING, edited, memory, quarantined, sealed_file, watched

from synthians_memory.errors import ConflictError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.watch import Watcher, watch

MODES: list[dict[str, Any]] = [
    {},
    {"durability": "interval"},
    {"write_mode": "behind"},
    {"write_mode": "behind", "durability": "interval"},
]


@pytest.mark.parametrize("settings", MODES, ids=json.dumps)
async def test_own_writes_are_not_seen(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options={**SWEEPING, "notify": None}, **settings) as seen:
        for turn in range(15):
            await seen.store.save_memories_batch([memory(i, f"turn {turn}") for i in "abcdefgh"])
            await seen.store.delete_memory("h")
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert seen.told == []
        assert seen.store.stats()["since_open"]["saves"] == 3 + 15 * 8
        assert await seen.problems() == []


@pytest.mark.parametrize("settings", MODES, ids=json.dumps)
async def test_in_every_mode_what_changes_outside_is_adopted(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options={**SWEEPING}, **settings) as seen:
        await seen.store.flush()
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        seen.path("b").unlink()
        await seen.of("a")
        await seen.of("b")
        assert (await seen.loaded("a")).content == "by hand"
        assert await seen.store.list_memories() == ["a", "c"]
        await seen.store.flush()
        assert await seen.problems() == []
    assert quarantined(tmp_path / "s") == []
    async with MemoryPersistence(tmp_path / "s", startup_check="full") as store:
        assert [f for f in store.opening_report.findings if f.severity != "note"] == []


async def test_an_acknowledged_save_wins_and_the_other_version_is_kept(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options={**QUICK, "settle": 0.5}) as seen:
        foreign = edited(seen.path("a"), "text of a", "by hand")
        seen.path("a").write_bytes(foreign)
        await seen.store.save_memory(memory("a", "by the program"))
        change = await seen.of("a")
        assert (change.outcome, change.code) == ("left", "conflict")
        assert "quarantine/" in change.message
        assert (await seen.loaded("a")).content == "by the program"
        assert foreign in quarantined(seen.root)
        assert await seen.problems() == []


async def test_a_save_after_the_adoption_sees_it(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        before = await seen.loaded("a")
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        await seen.of("a")
        with pytest.raises(ConflictError):
            await seen.store.save_memory(memory("a", "later"), expected_updated_at=before.updated_at)
        await seen.store.save_memory(memory("a", "later"))
        assert (await seen.loaded("a")).content == "later"
        assert [change.outcome for change in seen.told] == ["adopted"]
    assert quarantined(tmp_path / "s") == []


async def test_what_was_written_outside_is_adopted_or_kept_and_saves_win(tmp_path: Path) -> None:
    rng = random.Random(11)
    async with watched(tmp_path / "s", options={**QUICK, "settle": 0.05}) as seen:
        outside: list[bytes] = []
        for turn in range(12):
            # So that the file is not just being written while it is changed.
            await seen.store.flush()
            foreign = sealed_file(memory("a", f"outside {turn}"))
            seen.path("a").write_bytes(foreign)
            outside.append(foreign)
            await asyncio.sleep(rng.choice((0.0, 0.06, 0.1, 0.2, 0.3)))
            await seen.store.save_memory(memory("a", f"inside {turn}"))
            assert (await seen.loaded("a")).content == f"inside {turn}"
        conflicts = [data for data in quarantined(seen.root) if data in outside]
        await seen.until(lambda: len(seen.told) == 12)
        adopted = [change for change in seen.told if change.outcome == "adopted"]
        assert len(adopted) + len(conflicts) == len(outside)
        assert {change.code for change in seen.told} <= {"conflict", "file_replaced"}
        assert (await seen.loaded("a")).content == "inside 11"
        assert await seen.problems() == []


async def test_two_adoptions_at_once(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memories_batch([memory(f"m{n}") for n in range(40)])
        for number in range(40):
            path = tmp_path / "s" / "memories" / f"m{number}.json"
            path.write_bytes(edited(path, f"text of m{number}", f"by hand {number}"))

        async def adopted_by_a_watch() -> int:
            return len([change async for change in watch(store, once=True, settle=0.01)])

        passes = [adopted_by_a_watch() for _ in range(3)]
        single = [store.adopt(f"m{n}") for n in range(0, 40, 7)]
        counts = await asyncio.gather(*passes, store.verify_and_repair_consistency(), *single)
        assert sum(count for count in counts if isinstance(count, int)) <= 40
        for number in range(40):
            entry = await store.load_memory(f"m{number}")
            assert entry is not None
            assert entry.content == f"by hand {number}"
        assert [f for f in await store.verify_consistency("full") if f.severity != "note"] == []
        assert store.stats()["since_open"]["conflicts"] == 0
    assert quarantined(tmp_path / "s") == []


async def test_saves_go_on_while_much_is_adopted(tmp_path: Path) -> None:
    ids = [f"m{n:03}" for n in range(300)]
    async with watched(tmp_path / "s", ids="", options=QUICK) as seen:
        await seen.store.save_memories_batch([memory(i) for i in ids])
        for entity_id in ids:
            seen.path(entity_id).write_bytes(edited(seen.path(entity_id), f"text of {entity_id}", "by hand"))
        saved = 0
        while len(seen.told) < len(ids):
            await seen.store.save_memory(memory("own", f"save {saved}"))
            saved += 1
        assert {change.outcome for change in seen.told} == {"adopted"}
        assert (await seen.loaded("own")).content == f"save {saved - 1}"
        assert await seen.problems() == []


async def test_more_names_than_are_kept_are_found_by_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthians_memory.maintenance.pending_keys._MOST", 5)
    ids = [f"m{n:03}" for n in range(40)]
    async with watched(tmp_path / "s", ids="", options=QUICK) as seen:
        # The first sweep is over then.
        seen.path("first").write_bytes(sealed_file(memory("first")))
        await seen.of("first")
        for entity_id in ids:
            seen.path(entity_id).write_bytes(sealed_file(memory(entity_id)))
        await seen.until(lambda: len(seen.told) == 1 + len(ids))
        assert await seen.store.list_memories() == ["first", *ids]


async def test_without_watchfiles_it_sweeps_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthians_memory.maintenance.notifications._LIBRARY", "no_such_library")
    async with MemoryPersistence(tmp_path / "s") as store:
        assert not Watcher(store).notified
        with pytest.raises(Exception, match=r"synthians-memory\[ops\]"):
            Watcher(store, notify=True)


async def test_notifications_that_end_are_told_and_sweeps_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthians_memory.maintenance.notifications._folders_of", lambda _: {"/no/such": "memory"})
    async with watched(tmp_path / "s", options={"settle": 0.05, "interval": 0.1}) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        await seen.of("a")
        assert (await seen.loaded("a")).content == "by hand"
        await seen.until(lambda: len(seen.told) == 2)
        (deaf,) = [change for change in seen.told if change.outcome == "failed"]
        assert "found by sweeps alone" in deaf.message
