"""Where a run takes place: its folder, its sizes, the processes of its contenders, and who failed and why.

It measures nothing itself.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.child import Child, ContenderError
from benchmarks.contenders import OURS
from benchmarks.figures import Figures

OWN = (*OURS, "floor", "floor-lists")


class Asked(Protocol):
    """What takes commands for one contender, as `Child` does."""

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        blocks, block: turns of each contender, and calls in a turn.
        budget: seconds after which a turn is over all the same.
        savers: loops at once.
        batch: memories in one batch, and in one import.
        repeats: turns where one call takes long.
        updated: memories that are updated.
        rounds: how often all of them are.
    """

    blocks: int = 20
    block: int = 50
    budget: float = 1.0
    savers: int = 64
    batch: int = 10_000
    repeats: int = 5
    updated: int = 4096
    rounds: int = 5


TINY = Scale(blocks=2, block=4, budget=0.5, savers=4, batch=40, repeats=2, updated=16, rounds=2)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    folder: Path
    contenders: tuple[str, ...]
    sizes: tuple[int, ...]
    peers_size: int
    pythons: dict[str, str]
    limit: float
    drop_caches: bool
    scale: Scale


@dataclass(frozen=True, slots=True)
class Metric:
    """The name and unit under which samples are kept, and what turns a sample into that unit."""

    name: str
    unit: str = "µs"
    scale: float = 1e6


@dataclass(slots=True, eq=False)
class Cell:
    """One contender with a store of one size, open in a process of its own."""

    contender: str
    size: int
    folder: Path
    child: Asked
    opened_seconds: float
    import_seconds: float

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """As `Child.ask`."""
        return self.child.ask(do, **arguments)


@dataclass(slots=True)
class Stage:
    """One run of workloads."""

    options: Options
    figures: Figures = field(default_factory=Figures)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    start_child: Callable[[str, str, Path, float], Asked] = Child
    _filled: dict[tuple[str, int], Path] = field(default_factory=dict)
    _folders: int = 0

    @property
    def scale(self) -> Scale:
        """How much is measured."""
        return self.options.scale

    def takes(self, contender: str, size: int) -> bool:
        """Whether a contender is measured at a size: peers up to theirs only."""
        return contender in OWN or size <= self.options.peers_size

    @contextmanager
    def cells(
        self, workload: str, sizes: Sequence[int], contenders: Sequence[str] | None = None, *, shared: bool = False
    ) -> Iterator[list[Cell]]:
        """A process for each contender and size that runs, with its store filled; closed at the end.

        Args:
            workload: for the report of those that do not run.
            sizes: memories in the store.
            contenders: default: all of the run.
            shared: the workload only reads: it gets one store with others that do.
        """
        found: list[Cell] = []
        try:
            for size in sizes:
                for name in self.options.contenders if contenders is None else contenders:
                    if name in self.options.contenders and self.takes(name, size):
                        found += self._cell(workload, name, size, shared=shared)
            yield found
        finally:
            for cell in found:
                self._record_usage(workload, cell)
                cell.child.end()

    def filled(self, workload: str, contender: str, size: int) -> Path | None:
        """The folder of a closed store that only readers share; None where it cannot be made."""
        key = (contender, size)
        if key not in self._filled:
            for cell in self._new_cell(workload, contender, size):
                self._filled[key] = cell.folder
                cell.child.end()
        return self._filled.get(key)

    def start(self, workload: str, contender: str, size: int, folder: Path, **settings: Any) -> Iterator[Cell]:
        """A new process with the store in `folder` open; nothing, and a note in the report, where that fails."""
        python = self.options.pythons.get(contender, sys.executable)
        try:
            child = self.start_child(contender, python, folder.with_suffix(".log"), self.options.limit)
        except ContenderError as error:
            self.failed(workload, contender, size, error)
            return
        try:
            answer = child.ask("open", folder=str(folder), settings=settings)
        except ContenderError as error:
            self.failed(workload, contender, size, error)
            child.end()
            return
        facts = {key: answer[key] for key in ("python", "versions", "durability", "note")}
        self.facts.setdefault(contender, facts)
        yield Cell(contender, size, folder, child, answer["seconds"], answer["import_seconds"])

    def take_turns(
        self, workload: str, cells: Sequence[Cell], turns: int, ask: Callable[[Cell, int], Sequence[float]]
    ) -> dict[Cell, list[list[float]]]:
        """The samples of each cell by turns; one that fails is left out and named.

        Each turn has its own seeded order, so that nobody always follows the same one.
        """
        samples: dict[Cell, list[list[float]]] = {cell: [] for cell in cells}
        for turn in range(turns):
            for cell in random.Random(turn).sample(list(samples), len(samples)):
                try:
                    samples[cell].append(list(ask(cell, turn)))
                except ContenderError as error:
                    self.failed(workload, cell.contender, cell.size, error)
                    del samples[cell]
        return samples

    def measure(
        self,
        workload: str,
        cells: Sequence[Cell],
        turns: int,
        ask: Callable[[Cell, int], Sequence[float]],
        metric: Metric,
    ) -> list[Cell]:
        """Take turns and keep the samples under a metric; returns the cells that did it."""
        found = self.take_turns(workload, cells, turns, ask)
        for cell, blocks in found.items():
            self.figures.add(metric.name, cell.contender, cell.size, metric.unit, blocks, scale=metric.scale)
        return list(found)

    def ask_all(self, workload: str, cells: Sequence[Cell], do: str, **arguments: Any) -> list[Cell]:
        """Give every cell the same command; returns those that did it."""
        return list(self.take_turns(workload, cells, 1, lambda cell, _: [bool(cell.ask(do, **arguments))]))

    def failed(self, workload: str, contender: str, size: int, error: ContenderError) -> None:
        """Name in the report what does not run, and why."""
        failure = {"workload": workload, "contender": contender, "size": size, "reason": str(error)}
        if failure in self.failures:
            return
        self.failures.append(failure)
        self.say(f"{workload}: {contender} at {size} does not run: {error}")

    def say(self, text: str) -> None:
        """Tell on stderr what goes on."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def new_path(self, workload: str, contender: str, size: int) -> Path:
        """A place for a store; each is used once."""
        self._folders += 1
        return self.options.folder / f"{self._folders:04d}-{workload}-{contender}-{size}"

    def _cell(self, workload: str, contender: str, size: int, *, shared: bool) -> list[Cell]:
        if not shared:
            return list(self._new_cell(workload, contender, size))
        folder = self.filled(workload, contender, size)
        return [] if folder is None else list(self.start(workload, contender, size, folder))

    def _new_cell(self, workload: str, contender: str, size: int) -> Iterator[Cell]:
        for cell in self.start(workload, contender, size, self.new_path(workload, contender, size)):
            begin = time.perf_counter()
            if self.ask_all(workload, [cell], "fill", start=0, size=size):
                self.say(f"{workload}: {contender} at {size} is ready after {time.perf_counter() - begin:.1f} s")
                yield cell
            else:
                cell.child.end()

    def _record_usage(self, workload: str, cell: Cell) -> None:
        try:
            used = cell.ask("usage")
        except ContenderError as error:
            self.failed(workload, cell.contender, cell.size, error)
            return
        self.usage.append({"workload": workload, "contender": cell.contender, "size": cell.size, **used})
