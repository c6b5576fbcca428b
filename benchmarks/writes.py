"""The workloads that change a store: single saves, savers at once, batches, updates, deletes, imports, growth.

They judge nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.stage import Cell, Metric, Stage

GROWTH_STEPS = (0, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
UPDATE_PIECE = 256
# What one turn of savers takes at least, by the rate of a short one before.
SAVERS_SECONDS = 0.5
BATCH_TURNS = 3

Ask = Callable[[Cell, int], Sequence[float]]


def save(stage: Stage) -> None:
    """Single durable saves, one after the other, into an empty store and into full ones."""
    with stage.cells("save", (0, *stage.options.sizes)) as cells:
        ready = _make(stage, "save", cells, stage.scale.blocks * stage.scale.block)
        settled: dict[Cell, list[list[float]]] = {}
        saving = _saving(stage, settled)
        for cell in stage.measure("save", ready, stage.scale.blocks, saving, Metric("save")):
            stage.figures.add("save, settled", cell.contender, cell.size, "µs", settled[cell], scale=1e6)


def training(stage: Stage) -> None:
    """Single saves of a store that makes its index in the background, before, meanwhile and afterwards."""
    with stage.cells("training", stage.options.sizes, ("ours", "ours-8bit")) as cells:
        block, most = stage.scale.block, stage.scale.blocks * stage.scale.block
        for cell in _make(stage, "training", cells, 2 * most + 2 * most):
            usual = [cell.ask("save", name="new", count=block, budget=60)["samples"] for _ in range(stage.scale.blocks)]
            beside = cell.ask("save_beside_index", name="new", count=2 * most)["samples"]
            cell.ask("index")
            usual += [
                cell.ask("save", name="new", count=block, budget=60)["samples"] for _ in range(stage.scale.blocks)
            ]
            for name, blocks in (("save, usual", usual), ("save beside training", [beside])):
                stage.figures.add(name, cell.contender, cell.size, "µs", blocks, scale=1e6)


def savers(stage: Stage) -> None:
    """Single saves from many loops at once."""
    with stage.cells("savers", stage.options.sizes[:1]) as cells:
        counts: dict[Cell, int] = {}

        def ask(cell: Cell, turn: int) -> list[float]:
            if turn == 0:
                counts[cell] = _savers_count(stage, cell)
            cell.ask("make", name="many", prefix=f"many{turn}", first=0, count=counts[cell], seed=0)
            answer = cell.ask("save_together", name="many", count=counts[cell], savers=stage.scale.savers)
            return _rates(answer, counts[cell])

        _add_rates(stage, "savers", stage.take_turns("savers", cells, stage.scale.repeats, ask))


def batch(stage: Stage) -> None:
    """One batch into an empty store, a new store for each turn."""
    count = stage.scale.batch

    def ask(cell: Cell, _: int) -> list[float]:
        return _rates(cell.ask("save_batch", name="new", count=count), count)

    merged: dict[str, tuple[Cell, list[list[float]]]] = {}
    for _ in range(BATCH_TURNS):
        with stage.cells("batch", (0,)) as cells:
            ready = _make(stage, "batch", cells, count)
            for cell, blocks in stage.take_turns("batch", ready, 1, ask).items():
                merged.setdefault(cell.contender, (cell, []))[1].extend(blocks)
    _add_rates(stage, "batch", dict(merged.values()))


def update(stage: Stage) -> None:
    """The same memories in several rounds, one by one."""

    def ask(cell: Cell, _: int) -> list[float]:
        return cell.ask("update", name="new", count=UPDATE_PIECE, budget=stage.scale.budget)["samples"]

    _rounds(stage, "update", ask)


def update_batch(stage: Stage) -> None:
    """The same memories in several rounds, in batches; the time of each memory, until files are written."""
    piece = min(UPDATE_PIECE, stage.scale.updated)

    def ask(cell: Cell, _: int) -> list[float]:
        return [cell.ask("update_batch", name="new", count=piece)["settled_seconds"] / piece]

    _rounds(stage, "update-batch", ask)


def delete(stage: Stage) -> None:
    """Single durable deletes."""
    size = stage.options.sizes[0]
    with stage.cells("delete", (size,)) as cells:
        part = max(1, min(stage.scale.block, size // stage.scale.blocks) // 2)
        numbers = random.Random(3).sample(range(size), stage.scale.blocks * part)

        def ask(cell: Cell, turn: int) -> list[float]:
            mine = numbers[turn * part : (turn + 1) * part]
            return cell.ask("delete", numbers=mine, budget=stage.scale.budget)["samples"]

        stage.measure("delete", cells, stage.scale.blocks, ask, Metric("delete"))


def lag(stage: Stage) -> None:
    """How late another task of the same event loop wakes during an import into an empty store."""
    count = stage.scale.batch

    with stage.cells("lag", (0,)) as cells:
        rates: dict[Cell, float] = {}

        def ask(cell: Cell, _: int) -> list[float]:
            answer = cell.ask("lag", prefix="import", count=count, chunk=min(1000, count))
            rates[cell] = count / answer["seconds"]
            return answer["samples"]

        for cell in stage.measure("lag", cells, 1, ask, Metric("event-loop lag", "ms", 1e3)):
            stage.figures.add("import", cell.contender, cell.size, "/s", [[rates[cell]]])


def growth(stage: Stage) -> None:
    """Saves, loads and searches in a store that grows."""
    largest = max(stage.options.sizes)
    before = 0
    with stage.cells("growth", (0,)) as cells:
        growing = cells
        for step in [step for step in GROWTH_STEPS if step < largest] + [largest]:
            growing = [cell for cell in growing if stage.takes(cell.contender, step)]
            growing = stage.ask_all("growth", growing, "fill", start=before, size=step)
            for cell in growing:
                cell.size = step
            growing = _measure_step(stage, growing, step)
            stage.say(f"growth: measured at {step}")
            before = step


def _measure_step(stage: Stage, cells: Sequence[Cell], step: int) -> list[Cell]:
    scale = stage.scale
    turns = max(2, scale.blocks // 4)

    def loading(cell: Cell, turn: int) -> list[float]:
        numbers = random.Random(turn).choices(range(step), k=scale.block)
        return cell.ask("load", numbers=numbers, budget=scale.budget, again=False)["samples"]

    def searching(cell: Cell, turn: int) -> list[float]:
        topics = [None] * scale.block
        return cell.ask("search", first=turn * scale.block, count=scale.block, topics=topics, budget=scale.budget)[
            "samples"
        ]

    left = _make(stage, "growth", cells, turns * scale.block, prefix=f"at{step}")
    left = stage.measure("growth", left, turns, _saving(stage, {}), Metric("save while growing"))
    if step:
        left = stage.measure("growth", left, turns, loading, Metric("load while growing"))
        stage.measure("growth", left, turns, searching, Metric("search while growing"))
    stage.measure(
        "growth", left, 1, lambda cell, _: [cell.ask("usage")["disk_mb"]], Metric("disk while growing", "MB", 1)
    )
    return left


def _rounds(stage: Stage, workload: str, ask: Ask) -> None:
    count = stage.scale.updated
    with stage.cells(workload, (count,)) as cells:
        left = cells
        for number in range(1, stage.scale.rounds + 1):
            left = _make(stage, workload, left, count, prefix="base", seed=number)
            turns = -(-count // UPDATE_PIECE)
            left = stage.measure(workload, left, turns, ask, Metric(f"{workload} round {number}"))


def _make(
    stage: Stage, workload: str, cells: Sequence[Cell], count: int, *, prefix: str = "new", seed: int = 0
) -> list[Cell]:
    return stage.ask_all(workload, cells, "make", name="new", prefix=prefix, first=0, count=count, seed=seed)


def _saving(stage: Stage, settled: dict[Cell, list[list[float]]]) -> Ask:
    def ask(cell: Cell, _: int) -> list[float]:
        answer = cell.ask("save", name="new", count=stage.scale.block, budget=stage.scale.budget)
        settled.setdefault(cell, []).append([answer["settled"]])
        return answer["samples"]

    return ask


def _savers_count(stage: Stage, cell: Cell) -> int:
    """So many saves that a turn is neither a moment nor minutes."""
    once = stage.scale.savers
    cell.ask("make", name="few", prefix="few", first=0, count=once, seed=0)
    answer = cell.ask("save_together", name="few", count=once, savers=once)
    each = SAVERS_SECONDS / max(answer["seconds"], 1e-6)
    return once * max(1, min(stage.scale.block, round(each)))


def _rates(answer: dict[str, float], count: int) -> list[float]:
    """Acknowledged, and finished with all that was left to do."""
    return [count / answer["seconds"], count / answer["settled_seconds"]]


def _add_rates(stage: Stage, metric: str, found: dict[Cell, list[list[float]]]) -> None:
    for cell, blocks in found.items():
        names = (metric, f"{metric}, settled")
        for position, name in enumerate(names):
            stage.figures.add(name, cell.contender, cell.size, "/s", [[block[position]] for block in blocks])
