"""What the history of a workload takes for durable."""

from __future__ import annotations

import pytest
from acknowledged import Acknowledged


def saved(task: int, number: int) -> list[dict[str, object]]:
    changes = [["memory", f"Task{task}-0", number]]
    return [{"begin": number, "task": task, "changes": changes}, {"done": number, "task": task}]


def history_of_overlapping_flushes(*ended: int) -> Acknowledged:
    """One save before both flushes, one between them, one after them; those of `ended` tasks end."""
    history = Acknowledged(durable=False)
    history.note({"open": []})
    history.note_all([*saved(0, 1), {"flush": 0}, *saved(0, 2), {"flush": 1}, *saved(0, 3)])
    history.note_all({"flushed": task} for task in ended)
    return history


@pytest.mark.parametrize(("ended", "oldest"), [((), None), ((0,), 1), ((1,), 2), ((0, 1), 2), ((1, 0), 2)])
def test_a_flush_vouches_for_what_was_acknowledged_before_it(ended: tuple[int, ...], oldest: int | None) -> None:
    for edition in (None, 1, 2, 3):
        state = {} if edition is None else {("memory", "Task0-0"): edition}
        history = history_of_overlapping_flushes(*ended)
        if (edition or 0) >= (oldest or 0):
            history.settle(state)
        else:
            with pytest.raises(AssertionError, match="none of"):
                history.settle(state)
