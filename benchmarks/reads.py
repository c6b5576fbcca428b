"""The workloads that only read: loads, searches, opening, checks. They share one filled store of each contender.

They judge nothing.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.contenders import OURS
from benchmarks.machine import forget_pages
from benchmarks.records import topic
from benchmarks.stage import Cell, Metric, Stage

COLD_TURNS = 4
# Source, and not what a search needs.
NOT_AN_INDEX = ("memories", "assemblies", "journal", "backups", "quarantine")

Numbers = Callable[[int], list[int]]


def load(stage: Stage) -> None:
    """Loads by id: cold, then with the files in the page cache, then from the store's own cache."""
    size, block = stage.options.sizes[0], min(stage.scale.block, stage.options.sizes[0] // 4)
    blocks = min(stage.scale.blocks, size // block - COLD_TURNS)
    order = random.Random(5).sample(range(size), (blocks + COLD_TURNS) * block)

    def part(turn: int) -> list[int]:
        return order[turn * block : (turn + 1) * block]

    with stage.cells("load", (size,), shared=True) as cells:
        left = stage.measure(
            "load", cells, COLD_TURNS, _loading(stage, lambda t: part(blocks + t), cold=True), Metric("load cold")
        )
        for cell in left:
            cell.ask("read", paths=files_below(cell.folder, memories=True))
        left = stage.measure("load", left, blocks, _loading(stage, part), Metric("load warm"))
        stage.measure("load", left, blocks, _loading(stage, part, again=True), Metric("load cached"))


def search(stage: Stage) -> None:
    """The ten nearest, of all, of one topic and for many queries at once; and how many of the exact ten a contender finds."""
    with stage.cells("search", stage.options.sizes, shared=True) as filled:
        cells = stage.measure(
            "search", filled, 1, lambda cell, _: [cell.ask("index")["seconds"]], Metric("making the index", "s", 1)
        )
        for metric, filtered in (("search", False), ("filtered search", True)):
            found: dict[Cell, list[list[list[str]]]] = {cell: [] for cell in cells}
            stage.measure(
                "search", cells, stage.scale.blocks, _searching(stage, found, filtered=filtered), Metric(metric)
            )
            _add_recall(stage, metric, found)
        many: dict[Cell, list[list[list[str]]]] = {cell: [] for cell in cells}
        stage.measure("search", cells, stage.scale.repeats, _searching_many(stage, many), Metric("batch search"))
        _add_recall(stage, "batch search", many)
        stage.measure(
            "search", cells, 1, lambda cell, _: [cell.ask("usage")["resident_mb"]], Metric("memory with index", "MB", 1)
        )


def open_store(stage: Stage) -> None:
    """From nothing to the first hit, each time in a new process; imports are done before the clock runs."""
    for size in stage.options.sizes:
        folders = {
            name: folder
            for name in stage.options.contenders
            if name != "floor" and stage.takes(name, size)
            for folder in [stage.filled("open", name, size)]
            if folder is not None
        }
        samples: dict[tuple[str, str, str], list[list[float]]] = {}
        for _ in range(stage.scale.repeats):
            for name, folder in folders.items():
                for metric, unit, value in _open_once(stage, name, size, folder):
                    samples.setdefault((metric, name, unit), []).append([value])
            if "floor" in stage.options.contenders and "ours" in folders:
                samples.setdefault(("open", "floor", "s"), []).append([_read_index(stage, size, folders["ours"])])
        for (metric, name, unit), blocks in samples.items():
            stage.figures.add(metric, name, size, unit, blocks)


def check(stage: Stage) -> None:
    """What looking for damage takes, of those that can."""
    with stage.cells("check", stage.options.sizes, ("ours", "floor", "sqlite-vec"), shared=True) as cells:
        for level in ("quick", "full"):
            stage.measure(
                "check",
                cells,
                min(3, stage.scale.repeats),
                lambda cell, _, level=level: [cell.ask("check", level=level)["seconds"]],  # type: ignore[misc]
                Metric(f"check {level}", "s", 1),
            )


def files_below(folder: Path, *, memories: bool) -> list[str]:
    """The files of a store; without its memories those that an index is read from."""
    return [
        str(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (memories or path.relative_to(folder).parts[0] not in NOT_AN_INDEX)
    ]


def _loading(
    stage: Stage, part: Numbers, *, cold: bool = False, again: bool = False
) -> Callable[[Cell, int], Sequence[float]]:
    def ask(cell: Cell, turn: int) -> list[float]:
        if cold:
            forget_pages(cell.folder, drop_caches=stage.options.drop_caches, written=turn > 0)
        return cell.ask("load", numbers=part(turn), budget=stage.scale.budget, again=again)["samples"]

    return ask


def _searching(
    stage: Stage, found: dict[Cell, list[list[list[str]]]], *, filtered: bool
) -> Callable[[Cell, int], Sequence[float]]:
    count = max(2, stage.scale.block // 2)

    def ask(cell: Cell, turn: int) -> list[float]:
        topics = [topic(number) if filtered else None for number in range(count)]
        answer = cell.ask("search", first=turn * count, count=count, topics=topics, budget=stage.scale.budget)
        found[cell].append(answer["found"])
        return answer["samples"]

    return ask


def _searching_many(stage: Stage, found: dict[Cell, list[list[list[str]]]]) -> Callable[[Cell, int], Sequence[float]]:
    def ask(cell: Cell, turn: int) -> list[float]:
        count = 2 * stage.scale.block
        answer = cell.ask("search_many", first=turn * count, count=count)
        found[cell].append(answer["found"])
        return answer["samples"]

    return ask


def _add_recall(stage: Stage, metric: str, found: dict[Cell, list[list[list[str]]]]) -> None:
    exact = {cell.size: hits for cell, hits in found.items() if cell.contender == "floor"}
    for cell, turns in found.items():
        shares = [
            [len(set(mine) & set(right)) / len(right) for mine, right in zip(turn, true, strict=False)]
            for turn, true in zip(turns, exact.get(cell.size, []), strict=False)
        ]
        means = [[statistics.fmean(turn)] for turn in shares if turn]
        stage.figures.add(f"recall@10 of {metric}", cell.contender, cell.size, "share", means)


def _open_once(stage: Stage, name: str, size: int, folder: Path) -> list[tuple[str, str, float]]:
    values: list[tuple[str, str, float]] = []
    for settings in ({}, {"startup_check": "off"}) if name in OURS else ({},):
        for cell in stage.start("open", name, size, folder, **settings):
            values += _first_search(stage, cell, checked=not settings)
            cell.child.end()
    return values


def _first_search(stage: Stage, cell: Cell, *, checked: bool) -> list[tuple[str, str, float]]:
    if not checked:
        return [("open without its check", "s", cell.opened_seconds)]
    values = [("open alone", "s", cell.opened_seconds), ("import of its modules", "s", cell.import_seconds)]
    searched = stage.take_turns("open", [cell], 1, _one_search).values()
    for blocks in searched:
        seconds = cell.opened_seconds + blocks[0][0]
        values += [("open", "s", seconds), ("open, imports included", "s", seconds + cell.import_seconds)]
    used = cell.ask("usage")
    return [*values, ("memory open", "MB", used["resident_mb"]), ("peak memory of an open", "MB", used["peak_mb"])]


def _one_search(cell: Cell, _: int) -> list[float]:
    return cell.ask("search", first=0, count=1, topics=[None], budget=60)["samples"]


def _read_index(stage: Stage, size: int, folder: Path) -> float:
    for cell in stage.start("open", "floor", size, stage.new_path("read", "floor", size)):
        seconds: float = cell.ask("read", paths=files_below(folder, memories=False))["seconds"]
        cell.child.end()
        return seconds
    return float("nan")
