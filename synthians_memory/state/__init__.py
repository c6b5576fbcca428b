"""The state of a workflow, in four JSON files: where the system stands, what was decided and why, how it is built, what happened.

It is no memory store: it needs none, and knows nothing of entities, journal or views.
"""

from __future__ import annotations

from synthians_memory.state.architecture import MapChange
from synthians_memory.state.directory import StateDirectory, Written
from synthians_memory.state.logs import Decision, TelemetryEvent
from synthians_memory.state.opening import open_state, rehydrate
from synthians_memory.state.part import StatePart
from synthians_memory.state.rehydration import Context
from synthians_memory.state.system import StateChange
from synthians_memory.state.values import EventType, MadeBy, Phase

__all__ = [
    "Context",
    "Decision",
    "EventType",
    "MadeBy",
    "MapChange",
    "Phase",
    "StateChange",
    "StateDirectory",
    "StatePart",
    "TelemetryEvent",
    "Written",
    "open_state",
    "rehydrate",
]
