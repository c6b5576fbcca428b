"""The page about a store: what stands in it for every kind of store, and what never does."""

from __future__ import annotations

import asyncio
import json
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import Node, parsed, require_self_contained
from test_doctor import everything

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.errors import InvalidValueError, NotAStoreError
from synthians_memory.maintenance.report.charts import bins_of
from synthians_memory.maintenance.report.facts import ReportFacts, SizeOf, shown_text
from synthians_memory.maintenance.report.logs import Event, Pass, Traces
from synthians_memory.maintenance.report.memory_map import (
    OTHERS,
    Group,
    MapPoint,
    MemoryMap,
    projected,
    spread_sample,
    with_groups,
)
from synthians_memory.maintenance.report.page import page_of
from synthians_memory.maintenance.report.writing import report_page, write_report
from synthians_memory.reports import Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import to_micros

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
SECTIONS = ["health", "growth", "sizes", "timeline", "map", "about"]
HOSTILE = {
    "script": "</script><script>alert(1)</script></title></svg><img src=http://planted.invalid/x onerror=alert(2)>",
    "entities": "&lt;b&gt; &amp;amp; \" ' ]]> <!-- <style>*{display:none}</style>",
    "rtl": "\u202eevil\u202c שלום עולם مرحبا \u2067x",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈 \U0001f600 é̂ ",
    "long": "x" * 100_000,
    "lines": "one\ntwo\r\n\tthree\x00\x07\x9b31m",
}


def clock() -> ManualClock:
    return ManualClock(to_micros(NOW))


def page(path: Path, **settings: Any) -> Node:
    """The page about a store, of which nothing was changed by making it."""
    before = everything(path)
    found = parsed(report_page(path, clock=clock(), **settings))
    assert everything(path) == before
    require_self_contained(found)
    assert [node.attributes["aria-labelledby"] for node in found.all("section")] == SECTIONS
    return found


def points(found: Node) -> list[str]:
    """The titles of the points on the map."""
    drawings = [node for node in found.all("svg") if node.attributes.get("id") == "memories"]
    return [node.all("title")[0].text for node in drawings for node in node.children if node.tag in ("circle", "path")]


async def stored(path: Path, entries: list[MemoryEntry]) -> Path:
    async with MemoryPersistence(path, clock=clock()) as store:
        await store.save_memories_batch(entries)
    return path


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store of forty memories with two kinds of tags."""
    rng = np.random.default_rng(7)
    return await stored(
        tmp_path / "store",
        [
            MemoryEntry(
                memory_id=f"m{n}",
                content=f"number {n}",
                embedding=(rng.normal(size=8) + 9 * (n % 2)).tolist(),
                tags=["odd" if n % 2 else "even"],
                created_at=NOW - timedelta(days=n),
            )
            for n in range(40)
        ],
    )


# Kinds of stores


async def test_an_empty_store(tmp_path: Path) -> None:
    found = page(await stored(tmp_path / "store", []))
    assert "There are no memories yet" in found.text
    assert "No memory has an embedding" in found.text
    assert points(found) == []


async def test_a_store_without_embeddings(tmp_path: Path) -> None:
    found = page(await stored(tmp_path / "store", [MemoryEntry(content="x", created_at=NOW)]))
    assert "1 memory of" in found.text
    assert "No memory has an embedding" in found.text


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_few_memories(count: int, tmp_path: Path) -> None:
    entries = [MemoryEntry(memory_id=f"m{n}", content="x", embedding=[n, 1.0], created_at=NOW) for n in range(count)]
    assert len(points(page(await stored(tmp_path / "store", entries)))) == count


async def test_equal_embeddings(tmp_path: Path) -> None:
    entries = [MemoryEntry(content="x", embedding=[1.0, 1.0]) for _ in range(5)]
    assert len(points(page(await stored(tmp_path / "store", entries)))) == 5


async def test_memories_of_all_times(tmp_path: Path) -> None:
    times = [datetime(1, 1, 1, tzinfo=UTC), NOW, datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]
    entries = [MemoryEntry(content="x", embedding=[n, 1.0], created_at=at) for n, at in enumerate(times)]
    assert "3 memories of" in page(await stored(tmp_path / "store", entries)).text


async def test_what_it_shows_of_a_store(store: Path) -> None:
    found = page(store)
    assert len(points(found)) == 40
    assert "m7: number 7" in points(found)
    assert "Colour and form by tag." in found.text
    legend = [node.text for node in found.all("bdi")]
    assert legend == ["even", "odd"]
    assert "New memories per day" in found.text
    assert str(store) in found.text
    # Each drawing says what it shows, to those who do not see it.
    for drawing in found.all("svg"):
        if drawing.attributes.get("aria-hidden") != "true":
            title, desc, *_ = drawing.children
            assert (title.tag, desc.tag) == ("title", "desc")
            assert drawing.attributes["aria-labelledby"] == f"{title.attributes['id']} {desc.attributes['id']}"
            assert title.text
            assert desc.text
    names = [node.attributes["id"] for node in found.everything() if "id" in node.attributes]
    assert len(names) == len(set(names))


async def test_equal_stores_give_equal_pages(store: Path) -> None:
    assert report_page(store, clock=clock()) == report_page(store, clock=clock())


async def test_beside_a_writer(store: Path) -> None:
    async with MemoryPersistence(store) as opened:
        saving = asyncio.create_task(_save(opened))
        for _ in range(3):
            found = parsed(await asyncio.to_thread(report_page, store))
            assert len(points(found)) >= 40
            assert "Could not be read" not in found.text
        saving.cancel()


async def _save(opened: MemoryPersistence) -> None:
    number = 0
    while True:
        await opened.save_memory(MemoryEntry(memory_id=f"n{number % 30}", content=str(number), embedding=[1.0] * 8))
        number += 1


async def test_what_is_damaged_is_told_and_not_shown(store: Path) -> None:
    file = store / "memories" / "m3.json"
    file.write_bytes(file.read_bytes().replace(b"number 3", b"number four"))
    found = page(store)
    assert "file_damaged" in found.text
    assert len(points(found)) == 39


async def test_what_has_expired_is_counted_and_not_shown(tmp_path: Path) -> None:
    entries = [
        MemoryEntry(content=f"word{n}", embedding=[n, 1.0], created_at=NOW, expires_at=NOW - timedelta(days=n))
        for n in (-1, 1)
    ]
    found = page(await stored(tmp_path / "store", entries))
    assert "1 of them expired" in found.text
    assert "word-1" in found.text
    assert "word1" not in found.text


def test_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(NotAStoreError):
        report_page(tmp_path / "store")


# Contents


async def test_contents_are_text_and_nothing_else(tmp_path: Path) -> None:
    entries = [
        MemoryEntry(
            memory_id=f"{name} <i>&", content=text, embedding=[n, 1.0], tags=["<b>&tag", text[:60].replace("\x00", "")]
        )
        for n, (name, text) in enumerate(HOSTILE.items())
    ]
    found = page(await stored(tmp_path / "store", entries))
    titles = {title.partition(" <i>&: ")[0]: title.partition(" <i>&: ")[2] for title in points(found)}
    assert set(titles) == set(HOSTILE)
    assert titles["script"] == HOSTILE["script"][:79] + "…"
    assert titles["entities"] == HOSTILE["entities"].strip()
    assert titles["rtl"] == "evil שלום עולם مرحبا x"
    assert titles["emoji"] == HOSTILE["emoji"].strip()
    assert titles["long"] == "x" * 79 + "…"
    assert titles["lines"] == "one two three 31m" or titles["lines"].split() == ["one", "two", "three", "31m"]
    assert "<b>&tag" in [node.text for node in found.all("bdi")]


async def test_no_content(tmp_path: Path) -> None:
    entry = MemoryEntry(memory_id="an-id", content="a secret word", embedding=[1.0], metadata={"m": "private metadata"})
    path = await stored(tmp_path / "store", [entry])
    assert b"secret" in report_page(path)
    found = report_page(path, contents=False)
    assert b"secret" not in found
    assert b"private" not in found
    assert points(parsed(found)) == ["an-id"]


@given(st.text(max_size=400), st.integers(2, 90))
def test_what_is_shown_of_a_text(text: str, most: int) -> None:
    found = shown_text(text, most)
    assert len(found) <= most
    assert all(c.isprintable() or c in "\u200c\u200d" for c in found)
    assert not set(found) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert found == found.strip() or "…" in found or not text.isprintable()


def test_short_texts_are_shown_whole() -> None:
    assert shown_text("as it is", 8) == "as it is"
    assert shown_text("a bit longer", 8) == "a bit l…"
    assert shown_text("👩‍👩‍👧 x", 4) == "👩‍👩…"


# How large a page is


def facts(**changes: Any) -> ReportFacts:
    fields: dict[str, Any] = {
        "location": "/a store", "made_at": NOW, "about": (("store", "x"),), "memories": 0, "assemblies": 0, "vectors": 0,
        "expired": 0, "created": (), "updated": (), "sizes": (), "findings": (), "passes": (), "events": (), "snapshots": (),
        "map": MemoryMap(), "problems": (),
    }  # fmt: skip
    return ReportFacts(**{**fields, **changes})


def test_the_largest_page_is_bounded() -> None:
    now = to_micros(NOW)
    times = tuple(range(now - 100_000 * 600_000_000, now, 600_000_000))
    title = "&" * 40 + ": " + "<" * 79 + "…"
    kinds = ("repair", "restore", "purge", "failure")
    large = facts(
        memories=100_000,
        created=tuple((micros, 5_000) for micros in times),
        updated=times,
        sizes=tuple(SizeOf(f"part {n}", n * 1_000_000, n) for n in range(16)),
        findings=tuple(Finding("file_damaged", "<" * 1_000, "x") for _ in range(5_000)),
        passes=tuple(
            Pass(NOW - timedelta(hours=n), "failed", (("<" * 500, 5),), ("&" * 500,) * 20) for n in range(1_000)
        ),
        events=tuple(Event(NOW - timedelta(hours=n), kinds[n % 4], "&" * 1_000) for n in range(1_600)),  # type: ignore[arg-type]
        map=MemoryMap(
            tuple(MapPoint(n % 50 / 50, n / 2_000, n % 8, title) for n in range(2_000)),
            tuple(Group("&" * 40, 250) for _ in range(8)),
            "tag",
            100_000,
            0.5,
        ),
        problems=("&" * 1_000,) * 10,
    )
    made = page_of(large)
    require_self_contained(parsed(made))
    assert len(made) < 3_000_000


def test_a_usual_large_page_is_smaller() -> None:
    now = to_micros(NOW)
    times = tuple(range(now - 100_000 * 600_000_000, now, 600_000_000))
    words = "The usual memory has some eighty characters that are shown of what it remembers"
    usual = facts(
        created=tuple((micros, 5_000) for micros in times),
        updated=times,
        passes=tuple(Pass(NOW - timedelta(hours=n), "healthy") for n in range(1_000)),
        map=MemoryMap(
            tuple(MapPoint(n % 50 / 50, n / 2_000, n % 8, words) for n in range(2_000)), (Group("x", 2_000),) * 8, "tag"
        ),
    )
    assert len(page_of(usual)) < 1_000_000


@pytest.mark.long
async def test_a_hundred_thousand_memories(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    async with MemoryPersistence(tmp_path / "store", durability="interval") as opened:
        for start in range(0, 100_000, 5_000):
            await opened.save_memories_batch(
                [
                    MemoryEntry(memory_id=f"m{n}", content=f"memory {n} " * 30, embedding=vector, tags=[f"t{n % 12}"])
                    for n, vector in enumerate(rng.normal(size=(5_000, 64)).astype(np.float32), start)
                ]
            )
    found = report_page(tmp_path / "store")
    assert len(found) < 3_000_000
    assert len(points(parsed(found))) == 2_000


# The map


def test_the_map_is_that_of_the_two_largest_singular_values() -> None:
    rng = np.random.default_rng(11)
    for shape in ((50, 7), (7, 50), (30, 30), (2, 5), (1, 3)):
        vectors = (rng.normal(size=shape) * np.linspace(5, 1, shape[1])).astype(np.float32)
        places, explained = projected(vectors)
        centred = vectors.astype(float) - vectors.astype(float).mean(axis=0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        wanted = u[:, :2] * s[:2]
        assert explained == pytest.approx((s[:2] ** 2).sum() / (s**2).sum() if shape[0] > 1 else 1.0)
        # Up to signs, and to where and how large: distances stay in one proportion.
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        others = np.linalg.norm(wanted[:, None] - wanted[None], axis=2)
        extent = float((wanted.max(axis=0) - wanted.min(axis=0)).max())
        assert np.allclose(distances * (extent if shape[0] > 1 else 1.0), others, atol=1e-6 * max(extent, 1))
        assert places.min() >= 0
        assert places.max() <= 1


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.zeros((1, 4)), np.ones((6, 4)), np.ones((3, 9)) * 1e-20])
def test_maps_of_nothing_and_of_one_place(vectors: Any) -> None:
    places, explained = projected(vectors.astype(np.float32))
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
    assert 0 <= explained <= 1


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("direction", [[1.0, 2.0, 2.0], [-1.0, 0.5, 3.0, 0.0], [1.0, -2.0, 4.0, 0.0, 0.5, 0.25]])
def test_vectors_on_a_line_have_one_dimension_and_one_direction(count: int, direction: list[float]) -> None:
    places, explained = projected(np.outer(np.arange(count), direction).astype(np.float32))
    assert explained == pytest.approx(1)
    assert np.allclose(places[:, 1], 0.5, atol=1e-6)
    # What is largest in the direction grows from left to right.
    assert (np.diff(places[:, 0]) > 0).all()


@given(st.lists(st.integers(), max_size=50), st.integers(1, 20))
def test_a_sample_is_spread_and_in_order(items: list[int], most: int) -> None:
    found = spread_sample(list(enumerate(items)), most)
    assert len(found) == min(most, len(items))
    assert found == sorted(found)
    if items:
        assert found[0] == (0, items[0])


def test_groups_are_the_most_frequent_labels() -> None:
    labels = [[letter] for n, letter in enumerate(string.ascii_lowercase[:10]) for _ in range(20 - n)] + [
        [],
        ["j", "a"],
    ]
    numbers, groups = with_groups(labels)
    assert [group.name for group in groups] == [*"abcdefg", OTHERS]
    assert groups[0].count == 21
    assert numbers[-2:] == [7, 0]
    assert groups[7].count == 13 + 12 + 11 + 1
    assert with_groups([[], []]) == ([0, 0], (Group(OTHERS, 2),))


async def test_what_colours_stand_for(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as opened:
        await opened.save_memories_batch(
            [MemoryEntry(memory_id=f"m{n}", content="x", embedding=[n, 1.0]) for n in range(4)]
        )
        await opened.save_assembly(MemoryAssembly(assembly_id="a", name="The first", members=["m0", "m1"]))
    found = page(tmp_path / "store")
    assert "Colour and form by assembly." in found.text
    assert [node.text for node in found.all("bdi")] == ["The first", "others"]
    async with MemoryPersistence(tmp_path / "store") as opened:
        await opened.save_memory(
            MemoryEntry(memory_id="m3", content="x", embedding=[3, 1.0], metadata={"conversation_id": "c"})
        )
    assert "Colour and form by conversation." in page(tmp_path / "store").text


# Time


@given(st.integers(-6_0000_0000_000_000, 6_0000_0000_000_000), st.integers(0, 9_000_000_000_000_000))
def test_pieces_of_time(first: int, span: int) -> None:
    bins = bins_of(first, first + span)
    assert 1 <= bins.count <= 121
    assert bins.of(first) == 0
    assert bins.of(first + span) == bins.count - 1
    assert bins.start <= first


@pytest.mark.parametrize(
    ("span", "unit"),
    [
        (timedelta(hours=20), "hour"),
        (timedelta(days=9), "day"),
        (timedelta(weeks=50), "week"),
        (timedelta(days=3650), "40 days"),
    ],
)
def test_people_count_in_pieces_of_that_length(span: timedelta, unit: str) -> None:
    assert bins_of(to_micros(NOW - span), to_micros(NOW)).unit == unit


# History


def logged(**fields: Any) -> str:
    return json.dumps({"at": "2026-11-20T12:00:00.000000Z", **fields}) + "\n"


async def test_the_history_of_a_store(store: Path) -> None:
    async with MemoryPersistence(store) as opened:
        await opened.backup()
        await opened.delete_memory("m1")
        await opened.purge(["m2"])
    logs = store / "logs"
    (logs / "health.log.1").write_text(
        logged(
            outcome="healthy",
            memories=5,
            sizes={"memories": 1024},
            seconds=1.25,
            backup={"name": "20261101_000000_000000"},
        )
    )
    (logs / "health.log").write_text(
        "torn\n"
        + logged(outcome="restored", findings={"file_damaged": 3}, done=["brought it back"])
        + logged()
        + '{"at": 5}\n[]\n'
    )
    (logs / "failures.log").write_text(logged(summary="the disk failed") + logged(code="without summary"))
    quarantine = store / "quarantine" / "20261119_120000_000000"
    quarantine.mkdir()
    (quarantine / "reason.json").write_text('{"path": "memories/m9.json", "reason": "it was damaged"}')
    replaced = store / "quarantine" / "20261119_130000_000000"
    replaced.mkdir()
    (replaced / "reason.json").write_text('{"path": "store", "reason": "x"}')
    (store / "quarantine" / "something else").mkdir()
    found = page(store)
    assert "3 passes of the health monitor" in found.text
    for words in (
        "brought it back",
        "the disk failed",
        "memories/m9.json was set aside: it was damaged",
        "manual snapshot of 40 memories",
    ):
        assert words in found.text
    lanes = {
        node.attributes["id"]: len(node.all("line"))
        for node in found.all("svg")
        if "lane" in str(node.attributes.get("class"))
    }
    assert lanes == {
        "lane-saves": lanes["lane-saves"], "lane-backup": 2, "lane-health-pass": 3, "lane-repair": 1, "lane-restore": 1,
        "lane-purge": 1, "lane-failure": 1,
    }  # fmt: skip
    assert lanes["lane-saves"] >= 1


def test_logs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "health.log").symlink_to("/etc/hostname")
    backend = LocalBackend(tmp_path)
    traces = Traces(backend)
    assert traces.passes() == []
    assert traces.events() == []
    assert len(traces.problems) == 1
    assert "health.log" in traces.problems[0]
    backend.close()


def test_a_store_without_logs_has_no_history() -> None:
    traces = Traces(MemoryBackend())
    assert (traces.passes(), traces.events(), traces.problems) == ([], [], [])


# The file


async def test_the_file_appears_whole(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    size = await write_report(store, out, clock=clock())
    assert out.stat().st_size == size
    assert out.read_bytes() == report_page(store, clock=clock()) + b"\n"


@pytest.mark.parametrize("name", ["store/page.html", "store/memories/page.html", "link/page.html"])
async def test_nothing_is_written_into_the_store(name: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    with pytest.raises(InvalidValueError, match="lies in the store"):
        await write_report(store, tmp_path / name)
    assert not (tmp_path / name).exists()
