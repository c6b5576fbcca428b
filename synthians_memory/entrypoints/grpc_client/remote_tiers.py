"""RemoteTiers: the tiers of a store in another process, with the names of `tiers.Tiers`.

It keeps nothing but its connection, and migrates nothing: the service takes care of what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from synthians_memory.entrypoints.grpc_client.connection import Connection
from synthians_memory.entrypoints.grpc_client.remote import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import json_bytes
from synthians_memory.entrypoints.grpc_server.tier_records import (
    context_from,
    fill,
    record_from,
    results_from,
    snapshot_from,
)
from synthians_memory.errors import EntityNotFoundError, InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue, checked_object
from synthians_memory.models import random_id
from synthians_memory.tiers.collections import SearchResult
from synthians_memory.tiers.context import MAX_TOKENS, TIERS, AssembledContext
from synthians_memory.tiers.operational import SystemSnapshot
from synthians_memory.tiers.records import (
    AgentState,
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    Knowledge,
    Pattern,
    Procedure,
    Record,
    Task,
    ToolCall,
)

__all__ = ["RemoteLongTerm", "RemoteOperational", "RemoteTiers", "RemoteWorking"]

R = TypeVar("R", bound=Record)

_MOST: Final = 2**31 - 1


def _request(kind: Any, **fields: Any) -> Any:
    """A request with these fields. Raises InvalidTypeError, InvalidValueError for what it cannot carry."""
    try:
        return kind(**fields)
    except TypeError as error:
        raise InvalidTypeError(f"{kind.__name__.removesuffix('Request')} cannot be asked like this: {error}") from error
    except ValueError as error:
        raise InvalidValueError(
            f"{kind.__name__.removesuffix('Request')} cannot be asked like this: {error}"
        ) from error


def _bounded(tokens: object) -> Any:
    """A budget as the service takes it; one beyond is as good as none."""
    return min(tokens, _MOST) if isinstance(tokens, int) else tokens


async def _store(connection: Connection, call: str, field: str, record: R, kind: type[R]) -> R:
    """Store one record; safe to repeat, since its id is drawn here."""
    if not isinstance(record, kind):
        raise InvalidTypeError(f"{field} must be a {kind.__name__}, not {type(record).__name__}")
    known: Any = record
    sent: R = replace(known, id=random_id()) if known.id is None else record
    message = fill(getattr(wire, kind.__name__)(), sent.to_dict())
    response = await connection.ask(call, _request(getattr(wire, f"{call}Request"), **{field: message}), repeat=True)
    return record_from(getattr(response, field), kind)


class RemoteOperational:
    """What happens now, in the process of the service: `OperationalMemory`, awaited. Active tasks are those stored there.

    Args:
        connection: to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def recent(self, count: int = 100, category: str | None = None, source: str | None = None) -> list[Event]:
        """As `OperationalMemory.recent`."""
        request = _request(wire.GetRecentEventsRequest, count=count, category=category, source=source)
        response = await self._connection.ask("GetRecentEvents", request, repeat=True)
        return [record_from(event, Event) for event in response.events]

    async def update_metric(self, key: str, value: float) -> None:
        """As `OperationalMemory.update_metric`; not repeated, since each time counts for the mean of the hour."""
        await self._connection.ask(
            "UpdateMetric", _request(wire.UpdateMetricRequest, key=key, value=value), repeat=False
        )

    async def metric(self, key: str) -> float | None:
        """As `OperationalMemory.metric`."""
        try:
            response = await self._connection.ask("GetMetric", _request(wire.GetMetricRequest, key=key), repeat=True)
        except EntityNotFoundError:
            return None
        return float(response.value)

    async def snapshot(self) -> SystemSnapshot:
        """As `OperationalMemory.snapshot`, with the latest 100 events."""
        return snapshot_from(
            await self._connection.ask("GetSystemSnapshot", wire.GetSystemSnapshotRequest(), repeat=True)
        )


class RemoteWorking:
    """What is worked on: `WorkingMemory` behind a service.

    Args:
        connection: to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def store_goal(self, goal: Goal) -> Goal:
        """As `WorkingMemory.store_goal`."""
        return await _store(self._connection, "StoreGoal", "goal", goal, Goal)

    async def update_goal(self, id: str, status: str, result: JsonValue = None) -> Goal:  # noqa: A002 - the field's name
        """As `WorkingMemory.update_goal`."""
        sent = None if result is None else json_bytes(result)
        request = _request(wire.UpdateGoalRequest, id=id, status=status, result_json=sent)
        return record_from((await self._connection.ask("UpdateGoal", request, repeat=True)).goal, Goal)

    async def get_active_goals(self) -> list[Goal]:
        """As `WorkingMemory.get_active_goals`."""
        response = await self._connection.ask("GetActiveGoals", wire.GetActiveGoalsRequest(), repeat=True)
        return [record_from(goal, Goal) for goal in response.goals]

    async def store_task(self, task: Task) -> Task:
        """As `WorkingMemory.store_task`; the service notes whether it is worked on now."""
        return await _store(self._connection, "StoreTask", "task", task, Task)

    async def get_tasks_for_goal(self, goal_id: str) -> list[Task]:
        """As `WorkingMemory.get_tasks_for_goal`."""
        request = _request(wire.GetTasksForGoalRequest, goal_id=goal_id)
        response = await self._connection.ask("GetTasksForGoal", request, repeat=True)
        return [record_from(task, Task) for task in response.tasks]

    async def store_tool_call(self, call: ToolCall) -> ToolCall:
        """As `WorkingMemory.store_tool_call`."""
        return await _store(self._connection, "StoreToolCall", "tool_call", call, ToolCall)

    async def log_decision(self, decision: Decision) -> Decision:
        """As `WorkingMemory.log_decision`."""
        return await _store(self._connection, "StoreDecision", "decision", decision, Decision)

    async def store_pattern(self, pattern: Pattern) -> Pattern:
        """As `WorkingMemory.store_pattern`."""
        return await _store(self._connection, "StorePattern", "pattern", pattern, Pattern)

    async def find_pattern(self, trigger: str, min_success_rate: float = 0.0) -> Pattern | None:
        """As `WorkingMemory.find_pattern`."""
        request = _request(wire.FindPatternRequest, trigger=trigger, min_success_rate=min_success_rate)
        try:
            response = await self._connection.ask("FindPattern", request, repeat=True)
        except EntityNotFoundError:
            return None
        return record_from(response.pattern, Pattern)

    async def update_pattern_stats(self, id: str, success: bool) -> Pattern:  # noqa: A002 - the field's name
        """As `WorkingMemory.update_pattern_stats`; not repeated, since each time is one more use."""
        request = _request(wire.UpdatePatternStatsRequest, id=id, success=success)
        return record_from((await self._connection.ask("UpdatePatternStats", request, repeat=False)).pattern, Pattern)

    async def store_agent_state(self, agent_name: str, state: JsonObject) -> AgentState:
        """As `WorkingMemory.store_agent_state`."""
        sent = json_bytes(checked_object(state, "state"))
        request = _request(wire.StoreAgentStateRequest, agent_name=agent_name, state_json=sent)
        response = await self._connection.ask("StoreAgentState", request, repeat=True)
        return record_from(response.agent_state, AgentState)

    async def get_agent_state(self, agent_name: str) -> AgentState | None:
        """As `WorkingMemory.get_agent_state`."""
        request = _request(wire.GetAgentStateRequest, agent_name=agent_name)
        try:
            response = await self._connection.ask("GetAgentState", request, repeat=True)
        except EntityNotFoundError:
            return None
        return record_from(response.agent_state, AgentState)


class RemoteLongTerm:
    """What was once learned: `LongTermMemory` behind a service.

    Args:
        connection: to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def semantic_search(
        self, query: str, collections: Sequence[str] | None = None, n_results: int = 5, min_relevance: float = 0.0
    ) -> list[SearchResult]:
        """As `LongTermMemory.semantic_search`."""
        request = _request(
            wire.SemanticSearchRequest,
            query=query,
            collections=collections,
            n_results=n_results,
            min_relevance=min_relevance,
        )
        return results_from((await self._connection.ask("SemanticSearch", request, repeat=True)).results)

    async def store_procedure(self, procedure: Procedure) -> Procedure:
        """As `LongTermMemory.store_procedure`."""
        return await _store(self._connection, "StoreProcedure", "procedure", procedure, Procedure)

    async def store_incident(self, incident: Incident) -> Incident:
        """As `LongTermMemory.store_incident`."""
        return await _store(self._connection, "StoreIncident", "incident", incident, Incident)

    async def store_config_change(self, change: ConfigChange) -> ConfigChange:
        """As `LongTermMemory.store_config_change`."""
        return await _store(self._connection, "StoreConfigChange", "config_change", change, ConfigChange)

    async def search_knowledge(self, query: str, n_results: int = 2) -> list[SearchResult]:
        """As `LongTermMemory.search_knowledge`."""
        request = _request(wire.SearchKnowledgeRequest, query=query, n_results=n_results)
        return results_from((await self._connection.ask("SearchKnowledge", request, repeat=True)).results)

    async def add_knowledge(self, knowledge: Knowledge) -> Knowledge:
        """As `LongTermMemory.add_knowledge`."""
        return await _store(self._connection, "AddKnowledge", "knowledge", knowledge, Knowledge)


class RemoteTiers:
    """The tiers of the store behind a service. Its errors are those of `Tiers` and of `RemoteMemoryPersistence`.

    What is safe to repeat is repeated while the service is away, as by `RemoteMemoryPersistence`: reads, and the storing of
    records, whose ids are drawn here.

    Args:
        store: open; its connection is used.

    Attributes:
        operational: what happens now.
        working: what is worked on.
        longterm: what was once learned.
    """

    def __init__(self, store: RemoteMemoryPersistence) -> None:
        self._connection = store.connection
        self.operational = RemoteOperational(store.connection)
        self.working = RemoteWorking(store.connection)
        self.longterm = RemoteLongTerm(store.connection)

    async def push_event(self, event: Event) -> Event:
        """As `Tiers.push_event`; only a critical one is repeated, which is written once for its id."""
        if not isinstance(event, Event):
            raise InvalidTypeError(f"event must be an Event, not {type(event).__name__}")
        sent = event if event.id is not None else replace(event, id=random_id())
        request = _request(wire.PushEventRequest, event=fill(wire.Event(), sent.to_dict()))
        return record_from((await self._connection.ask("PushEvent", request, repeat=event.critical)).event, Event)

    async def assemble_context(
        self, task: str, max_tokens: int = MAX_TOKENS, tiers: Iterable[str] = TIERS
    ) -> AssembledContext:
        """As `Tiers.assemble_context`; the service counts the tokens."""
        asked = list(tiers)
        if not asked:
            # To the service no tier means all of them.
            return AssembledContext(chunks=(), total_tokens=0, max_tokens=max_tokens)
        request = _request(wire.AssembleContextRequest, task=task, max_tokens=_bounded(max_tokens), tiers=asked)
        return context_from(await self._connection.ask("AssembleContext", request, repeat=True))
