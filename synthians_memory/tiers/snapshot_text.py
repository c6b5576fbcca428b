"""A snapshot of the operational tier as lines of text, for a model to read; the most important first.

It measures nothing: how many of the lines there is room for, the assembly of context says.
"""

from __future__ import annotations

import json
from typing import Final

from synthians_memory.tiers.operational import ActiveTask, SystemSnapshot
from synthians_memory.tiers.records import Event
from synthians_memory.times import from_micros

__all__ = ["snapshot_lines"]

_MICROS: Final = 1_000_000
_EVENTS: Final = 20
_CRITICAL: Final = 5
_TASKS: Final = 20
_METRICS: Final = 30
_LINE: Final = 240


def snapshot_lines(snapshot: SystemSnapshot) -> list[str]:
    """The state in lines, each of bounded length and without a line break in it; the same lines for the same snapshot.

    Critical events, then active tasks, metrics, and the latest events, newest first.
    """
    critical = [event for event in snapshot.events if event.critical][:_CRITICAL]
    others = [event for event in snapshot.events[:_EVENTS] if event not in critical]
    tasks, metrics = snapshot.active_tasks, snapshot.metrics
    held = snapshot.counts["events"]
    told = f"{held} events, {len(tasks)} active tasks, {len(metrics)} metrics"
    lines = [f"System state at {_moment(snapshot.taken_at)}: {told}"]
    lines += [f"critical {_event(event)}" for event in critical]
    lines += [_task(task) for task in tasks[:_TASKS]]
    lines += [f"metric {key} = {value:g}" for key, value in list(metrics.items())[:_METRICS]]
    lines += [f"event {_event(event)}" for event in others]
    return [_one_line(line) for line in lines]


def _event(event: Event) -> str:
    told = json.dumps(event.data, ensure_ascii=False, sort_keys=True) if event.data else ""
    return f"{_moment(event.timestamp or 0)} {event.category} from {event.source} {told}"


def _task(task: ActiveTask) -> str:
    who = f" by {task.agent}" if task.agent else ""
    return f"active task {task.id} [{task.status}]{who} since {_moment(task.started_at)}: {task.description}"


def _moment(seconds: int) -> str:
    return from_micros(seconds * _MICROS).isoformat(timespec="seconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    joined = " ".join(text[: 4 * _LINE].split())
    return joined if len(joined) <= _LINE else joined[: _LINE - 1] + "…"
