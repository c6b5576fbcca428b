"""A store whose memories lie under git: checkouts back and forth while it is open and watched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from watched_stores import QUICK, SWEEPING, Watched, embedder, memory, quarantined, watched

from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import MemoryEntry

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "by_hand.md"
WHO = {f"GIT_{role}_{what}": f"{role}@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(root: Path, *args: str) -> str:
    environment = {**os.environ, **WHO, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *args], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


def ignored() -> str:
    """The .gitignore that the docs recommend."""
    return DOCS.read_text(encoding="utf-8").partition("```gitignore\n")[2].partition("```")[0]


def put_under_git(root: Path) -> None:
    (root / ".gitignore").write_text(ignored(), encoding="utf-8")
    for folder in ("memories", "assemblies"):
        (root / folder / ".gitkeep").touch()
    git(root, "init", "-q", "-b", "main")


async def committed(seen: Watched, message: str) -> dict[str, MemoryEntry]:
    """Commit the store as it is; what it holds."""
    await seen.store.flush()
    git(seen.root, "add", "-A")
    git(seen.root, "commit", "-q", "-m", message)
    git(seen.root, "tag", message)
    return {entry.memory_id: entry async for entry in seen.store.iter_memories()}


async def checked_out(seen: Watched, tag: str, wanted: dict[str, MemoryEntry]) -> None:
    """Have git put the files of `tag` in place, and wait until the store holds them."""
    git(seen.root, "checkout", "-q", tag)

    async def held() -> dict[str, str | None]:
        return {entry.memory_id: entry.content_hash async for entry in seen.store.iter_memories(on_damaged=ignore)}

    hashes = {entry.memory_id: entry.content_hash for entry in wanted.values()}
    told = -1
    while await held() != hashes:
        await seen.until(lambda n=told: len(seen.told) > n)  # type: ignore[misc]
        told = len(seen.told)


def ignore(_: object) -> None:
    """What is between two versions is not there for the moment."""


@pytest.mark.parametrize("options", [QUICK, SWEEPING], ids=["notified", "sweeping"])
async def test_checkouts_back_and_forth(tmp_path: Path, options: dict[str, Any]) -> None:
    root = tmp_path / "s"
    async with watched(root, options=options, embedder=embedder()) as seen:
        put_under_git(root)
        first = await committed(seen, "first")
        await seen.store.save_memories_batch([memory("a", "second text"), memory("d"), memory("e")])
        await seen.store.delete_memory("b")
        second = await committed(seen, "second")
        await seen.store.save_memories_batch([memory("a", "third text"), memory("b", "again")])
        await seen.store.delete_memory("d")
        third = await committed(seen, "third")
        assert seen.told == []
        for tag, wanted in [("first", first), ("third", third), ("second", second), ("first", first)] * 2:
            await checked_out(seen, tag, wanted)
            assert {i: await seen.loaded(i) for i in wanted} == wanted
            assert await seen.store.list_memories() == sorted(wanted)
            # What a store had sealed is taken as it is: git sees no change, and no embedding is made.
            assert git(root, "status", "--porcelain") == ""
            assert await seen.nearest(wanted["a"].content) == "a"
            hits = await seen.store.recall(wanted["a"].content.split()[0], mode="text")
            assert "a" in [hit.entry.memory_id for hit in hits]
            assert await seen.problems() == []
        assert {change.outcome for change in seen.told} == {"adopted"}
        assert {change.embedding for change in seen.told} <= {"kept", None}
    assert quarantined(root) == []
    async with MemoryPersistence(root, startup_check="full") as store:
        assert [f for f in store.opening_report.findings if f.severity != "note"] == []
        assert await store.list_memories() == sorted(first)


async def test_only_what_a_person_reads_is_under_git(tmp_path: Path) -> None:
    root = tmp_path / "s"
    async with watched(root) as seen:
        put_under_git(root)
        await seen.store.recall("text", mode="text")
        await committed(seen, "first")
        tracked = git(root, "ls-files").split()
    assert sorted(tracked) == [
        ".gitignore",
        "assemblies/.gitkeep",
        "memories/.gitkeep",
        "memories/a.json",
        "memories/b.json",
        "memories/c.json",
        "store.json",
    ]
    assert git(root, "status", "--porcelain") == ""


async def test_a_clone_is_a_store(tmp_path: Path) -> None:
    root, other = tmp_path / "s", tmp_path / "other"
    async with watched(root) as seen:
        put_under_git(root)
        await committed(seen, "first")
    git(tmp_path, "clone", "-q", str(root), str(other))
    async with MemoryPersistence(other) as store:
        assert await store.list_memories() == ["a", "b", "c"]
        assert [f for f in await store.verify_consistency("full") if f.severity != "note"] == []


async def test_what_is_committed_and_what_is_saved_meanwhile(tmp_path: Path) -> None:
    """git refuses to overwrite what is not committed; with -f the program's version is gone as with any editor."""
    root = tmp_path / "s"
    async with watched(root) as seen:
        put_under_git(root)
        first = await committed(seen, "first")
        await seen.store.save_memory(memory("a", "second text"))
        await committed(seen, "second")
        await seen.store.save_memory(memory("a", "not committed"))
        await seen.store.flush()
        with pytest.raises(AssertionError, match="overwritten by checkout"):
            git(root, "checkout", "-q", "first")
        assert (await seen.loaded("a")).content == "not committed"
        git(root, "checkout", "-q", "-f", "first")
        await seen.of("a")
        assert await seen.loaded("a") == first["a"]


async def test_many_files_gone_by_a_checkout_are_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "s"
    async with watched(root, options=SWEEPING) as seen:
        put_under_git(root)
        await committed(seen, "few")
        await seen.store.save_memories_batch([memory(f"m{n}") for n in range(20)])
        await committed(seen, "many")
        git(root, "checkout", "-q", "few")
        await seen.until(lambda: seen.told)
        assert [change.code for change in seen.told] == ["repair_refused"]
        assert len(await seen.store.list_memories()) == 23
