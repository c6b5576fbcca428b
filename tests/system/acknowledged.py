"""What a workload was told to be stored, line by line, and the states in which a crash may leave that.

The lines come from `workload`; each task changes entities of its own, one operation after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from editions import Change, State, task_of

# An operation that failed with one of these may have been written; no other may.
_MAY_BE_WRITTEN = {"JournalFailedError"}


@dataclass
class _Task:
    """The states of what one task changes, in order; `certain` and later ones are possible."""

    states: list[State]
    visible: int = 0
    certain: int = 0
    begun: int | None = None
    failed: bool = False


@dataclass
class Acknowledged:
    """The history of one store, as far as its lines were read.

    Args:
        durable: whether what is acknowledged must survive at once, and not just after the next flush.

    Attributes:
        operations: how many were acknowledged.
        refusals: how often each error of the library was met.
        lives: how often the store was opened.
    """

    durable: bool = True
    operations: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    _tasks: dict[int, _Task] = field(default_factory=dict)
    _flushing: dict[int, dict[int, int]] = field(default_factory=dict)

    def note(self, line: Mapping[str, Any]) -> None:
        """Take in one line; AssertionError where it tells of a broken promise."""
        for word in ("begin", "done", "refused", "flush", "flushed", "open", "failed"):
            if word in line:
                getattr(self, f"_{word}")(line)

    def note_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take in many."""
        for line in lines:
            self.note(line)

    def _begin(self, line: Mapping[str, Any]) -> None:
        task = self._task(line["task"])
        assert task.begun is None, "a task began two operations at once"
        task.begun = len(task.states)
        task.states.append(_after(task.states[task.visible], [(k, i, e) for k, i, e in line["changes"]]))

    def _done(self, line: Mapping[str, Any]) -> None:
        task = self._task(line["task"])
        assert task.begun is not None
        assert not task.failed, "something was acknowledged after the journal had failed"
        before = task.states[task.visible]
        was = line.get("was")
        if was is not None:
            wanted = sum((kind, entity_id) in before for kind, entity_id in line["asked"])
            assert was == wanted, f"{line['asked']}: {was} were there, not {wanted}"
        task.visible, task.begun = task.begun, None
        if self.durable:
            task.certain = task.visible
        self.operations += 1

    def _refused(self, line: Mapping[str, Any]) -> None:
        task = self._task(line["task"])
        name = line["error"]
        self._failed(line)
        task.begun = None
        if name in _MAY_BE_WRITTEN:
            task.failed = True
        else:
            task.states.pop()

    def _failed(self, line: Mapping[str, Any]) -> None:
        self.refusals[line["error"]] = self.refusals.get(line["error"], 0) + 1

    def _flush(self, line: Mapping[str, Any]) -> None:
        # Flushes of several tasks overlap, and each vouches for what came before itself.
        self._flushing[line["flush"]] = {number: task.visible for number, task in self._tasks.items()}

    def _flushed(self, line: Mapping[str, Any]) -> None:
        for number, visible in self._flushing.pop(line["flushed"]).items():
            self._tasks[number].certain = max(self._tasks[number].certain, visible)
        self.operations += 1

    def _open(self, line: Mapping[str, Any]) -> None:
        """A life began; what it found is durable from now on."""
        self.settle({(kind, entity_id): edition for kind, entity_id, edition in line["open"]})
        self.lives += 1

    def _task(self, number: int) -> _Task:
        return self._tasks.setdefault(number, _Task([{}]))

    def settle(self, observed: State) -> None:
        """What a store holds is the one possible state from now on; AssertionError where it may not be left."""
        parts: dict[int, State] = {number: {} for number in self._tasks}
        for (kind, entity_id), edition in observed.items():
            parts.setdefault(task_of(entity_id), {})[kind, entity_id] = edition
        for number, part in parts.items():
            _require_possible(self._task(number), part)
            self._tasks[number] = _Task([part])

    def copy(self) -> Acknowledged:
        """A history of its own with the same past."""
        tasks = {
            number: _Task(list(task.states), task.visible, task.certain, task.begun, task.failed)
            for number, task in self._tasks.items()
        }
        return Acknowledged(self.durable, self.operations, dict(self.refusals), self.lives, tasks, dict(self._flushing))

    @property
    def last(self) -> State:
        """What was acknowledged last."""
        return {key: edition for task in self._tasks.values() for key, edition in task.states[task.visible].items()}


class Notes:
    """A report that goes straight into the history: of a workload in this process."""

    def __init__(self, history: Acknowledged) -> None:
        self._history = history

    def say(self, **line: Any) -> None:
        """Take in one line."""
        assert "wrong" not in line, line
        self._history.note(line)


def _after(state: State, changes: Iterable[Change]) -> State:
    changed = dict(state)
    for kind, entity_id, edition in changes:
        if edition is None:
            changed.pop((kind, entity_id), None)
        else:
            changed[kind, entity_id] = edition
    return changed


def _require_possible(task: _Task, part: State) -> None:
    possible = task.states[task.certain :]
    if part in possible:
        return
    wanted = possible[0]
    keys = sorted(key for key in wanted.keys() | part.keys() if wanted.get(key) != part.get(key))
    differences = ", ".join(f"{key}: edition {part.get(key)}, not {wanted.get(key)}" for key in keys)
    raise AssertionError(
        f"what is there is none of {len(possible)} possible states; against the oldest of them: {differences}"
    )
