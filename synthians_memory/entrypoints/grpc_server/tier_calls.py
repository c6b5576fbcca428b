"""The calls of MemoryService, tier by tier.

They are not the tiers: each call is one of theirs, between a message and a message.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import json_from
from synthians_memory.entrypoints.grpc_server.tier_records import (
    context_message,
    fill,
    optional_json,
    result_messages,
    sent_record,
    snapshot_message,
)
from synthians_memory.errors import EntityNotFoundError
from synthians_memory.tiers.context import MAX_TOKENS, TIERS
from synthians_memory.tiers.records import (
    FINAL_STATUSES,
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    Knowledge,
    Pattern,
    Procedure,
    Task,
    ToolCall,
)
from synthians_memory.tiers.tiers import Tiers

__all__ = ["LongTermCalls", "OperationalCalls", "WorkingCalls"]

_RECENT = 100
_FOUND = 5
_KNOWN = 2


class OperationalCalls:
    """Calls about what happens now, and the one that assembles context.

    Args:
        tiers: open; their event loop is that of the calls.
    """

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers

    async def PushEvent(self, request: wire.PushEventRequest, _context: Any) -> wire.PushEventResponse:
        """Add an event; raises as `push_event`."""
        pushed = await self.tiers.push_event(sent_record(request, "event", Event))
        return wire.PushEventResponse(event=fill(wire.Event(), pushed.to_dict()))

    async def GetRecentEvents(
        self, request: wire.GetRecentEventsRequest, _context: Any
    ) -> wire.GetRecentEventsResponse:
        """The latest events; raises as `recent`."""
        events = self.tiers.operational.recent(
            request.count if request.HasField("count") else _RECENT,
            request.category if request.HasField("category") else None,
            request.source if request.HasField("source") else None,
        )
        return wire.GetRecentEventsResponse(events=[fill(wire.Event(), event.to_dict()) for event in events])

    async def UpdateMetric(self, request: wire.UpdateMetricRequest, _context: Any) -> wire.UpdateMetricResponse:
        """Set the value of a metric; raises as `update_metric`."""
        self.tiers.operational.update_metric(request.key, request.value)
        return wire.UpdateMetricResponse()

    async def GetMetric(self, request: wire.GetMetricRequest, _context: Any) -> wire.GetMetricResponse:
        """The latest value of a metric. Raises EntityNotFoundError."""
        value = self.tiers.operational.metric(request.key)
        if value is None:
            raise EntityNotFoundError(f"no value was given for the metric {request.key[:80]!r}")
        return wire.GetMetricResponse(value=value)

    async def GetSystemSnapshot(
        self, _request: wire.GetSystemSnapshotRequest, _context: Any
    ) -> wire.GetSystemSnapshotResponse:
        """How things stand."""
        return snapshot_message(self.tiers.operational.snapshot(_RECENT))

    async def AssembleContext(
        self, request: wire.AssembleContextRequest, _context: Any
    ) -> wire.AssembleContextResponse:
        """What is relevant to a task; raises as `assemble_context`."""
        budget = request.max_tokens if request.HasField("max_tokens") else MAX_TOKENS
        return context_message(await self.tiers.assemble_context(request.task, budget, request.tiers or TIERS))


class WorkingCalls:
    """Calls about what is worked on.

    Args:
        tiers: as for `OperationalCalls`.
    """

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers

    async def StoreGoal(self, request: wire.StoreGoalRequest, _context: Any) -> wire.StoreGoalResponse:
        """Store a goal; raises as `store_goal`."""
        stored = await self.tiers.working.store_goal(sent_record(request, "goal", Goal))
        return wire.StoreGoalResponse(goal=fill(wire.Goal(), stored.to_dict()))

    async def UpdateGoal(self, request: wire.UpdateGoalRequest, _context: Any) -> wire.UpdateGoalResponse:
        """Set status and result of a goal; raises as `update_goal`."""
        result = optional_json(request, "result_json")
        changed = await self.tiers.working.update_goal(request.id, request.status, result)
        return wire.UpdateGoalResponse(goal=fill(wire.Goal(), changed.to_dict()))

    async def GetActiveGoals(self, _request: wire.GetActiveGoalsRequest, _context: Any) -> wire.GetActiveGoalsResponse:
        """The goals that are not done, the most urgent first."""
        goals = await self.tiers.working.get_active_goals()
        return wire.GetActiveGoalsResponse(goals=[fill(wire.Goal(), goal.to_dict()) for goal in goals])

    async def StoreTask(self, request: wire.StoreTaskRequest, _context: Any) -> wire.StoreTaskResponse:
        """Store a task, and note whether it is worked on now; raises as `store_task`."""
        stored = await self.tiers.working.store_task(sent_record(request, "task", Task))
        self._note_activity(stored)
        return wire.StoreTaskResponse(task=fill(wire.Task(), stored.to_dict()))

    def _note_activity(self, task: Task) -> None:
        operational = self.tiers.operational
        if task.status == "pending" or task.status in FINAL_STATUSES:
            with suppress(EntityNotFoundError):
                operational.finish_task(task.key)
            return
        try:
            operational.update_task(task.key, status=task.status)
        except EntityNotFoundError:
            operational.start_task(task.key, task.description, agent=task.agent)
            operational.update_task(task.key, status=task.status)

    async def GetTasksForGoal(
        self, request: wire.GetTasksForGoalRequest, _context: Any
    ) -> wire.GetTasksForGoalResponse:
        """The tasks of a goal; raises as `get_tasks_for_goal`."""
        tasks = await self.tiers.working.get_tasks_for_goal(request.goal_id)
        return wire.GetTasksForGoalResponse(tasks=[fill(wire.Task(), task.to_dict()) for task in tasks])

    async def StoreToolCall(self, request: wire.StoreToolCallRequest, _context: Any) -> wire.StoreToolCallResponse:
        """Store the use of a tool; raises as `store_tool_call`."""
        stored = await self.tiers.working.store_tool_call(sent_record(request, "tool_call", ToolCall))
        return wire.StoreToolCallResponse(tool_call=fill(wire.ToolCall(), stored.to_dict()))

    async def StoreDecision(self, request: wire.StoreDecisionRequest, _context: Any) -> wire.StoreDecisionResponse:
        """Store a decision; raises as `log_decision`."""
        stored = await self.tiers.working.log_decision(sent_record(request, "decision", Decision))
        return wire.StoreDecisionResponse(decision=fill(wire.Decision(), stored.to_dict()))

    async def StorePattern(self, request: wire.StorePatternRequest, _context: Any) -> wire.StorePatternResponse:
        """Store a pattern; raises as `store_pattern`."""
        stored = await self.tiers.working.store_pattern(sent_record(request, "pattern", Pattern))
        return wire.StorePatternResponse(pattern=fill(wire.Pattern(), stored.to_dict()))

    async def FindPattern(self, request: wire.FindPatternRequest, _context: Any) -> wire.FindPatternResponse:
        """The best pattern for a trigger. Raises EntityNotFoundError, and as `find_pattern`."""
        found = await self.tiers.working.find_pattern(request.trigger, request.min_success_rate)
        if found is None:
            raise EntityNotFoundError(
                f"no pattern contains {request.trigger[:80]!r} with a success rate of at least {request.min_success_rate:g}"
            )
        return wire.FindPatternResponse(pattern=fill(wire.Pattern(), found.to_dict()))

    async def UpdatePatternStats(
        self, request: wire.UpdatePatternStatsRequest, _context: Any
    ) -> wire.UpdatePatternStatsResponse:
        """Count one more use of a pattern; raises as `update_pattern_stats`."""
        changed = await self.tiers.working.update_pattern_stats(request.id, request.success)
        return wire.UpdatePatternStatsResponse(pattern=fill(wire.Pattern(), changed.to_dict()))

    async def StoreAgentState(
        self, request: wire.StoreAgentStateRequest, _context: Any
    ) -> wire.StoreAgentStateResponse:
        """Store the state of an agent; raises as `store_agent_state`."""
        state: Any = json_from(request.state_json, "state_json")
        stored = await self.tiers.working.store_agent_state(request.agent_name, state)
        return wire.StoreAgentStateResponse(agent_state=fill(wire.AgentState(), stored.to_dict()))

    async def GetAgentState(self, request: wire.GetAgentStateRequest, _context: Any) -> wire.GetAgentStateResponse:
        """The last state of an agent. Raises EntityNotFoundError."""
        found = await self.tiers.working.get_agent_state(request.agent_name)
        if found is None:
            raise EntityNotFoundError(f"the agent {request.agent_name[:80]!r} has stored no state")
        return wire.GetAgentStateResponse(agent_state=fill(wire.AgentState(), found.to_dict()))


class LongTermCalls:
    """Calls about what was once learned.

    Args:
        tiers: as for `OperationalCalls`.
    """

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers

    async def SemanticSearch(self, request: wire.SemanticSearchRequest, _context: Any) -> wire.SemanticSearchResponse:
        """What is near in meaning; raises as `semantic_search`."""
        found = await self.tiers.longterm.semantic_search(
            request.query,
            list(request.collections) or None,
            request.n_results if request.HasField("n_results") else _FOUND,
            request.min_relevance,
        )
        return wire.SemanticSearchResponse(results=result_messages(found))

    async def StoreProcedure(self, request: wire.StoreProcedureRequest, _context: Any) -> wire.StoreProcedureResponse:
        """Store a procedure; raises as `store_procedure`."""
        stored = await self.tiers.longterm.store_procedure(sent_record(request, "procedure", Procedure))
        return wire.StoreProcedureResponse(procedure=fill(wire.Procedure(), stored.to_dict()))

    async def StoreIncident(self, request: wire.StoreIncidentRequest, _context: Any) -> wire.StoreIncidentResponse:
        """Store an incident; raises as `store_incident`."""
        stored = await self.tiers.longterm.store_incident(sent_record(request, "incident", Incident))
        return wire.StoreIncidentResponse(incident=fill(wire.Incident(), stored.to_dict()))

    async def StoreConfigChange(
        self, request: wire.StoreConfigChangeRequest, _context: Any
    ) -> wire.StoreConfigChangeResponse:
        """Store a change of a configuration; raises as `store_config_change`."""
        stored = await self.tiers.longterm.store_config_change(sent_record(request, "config_change", ConfigChange))
        return wire.StoreConfigChangeResponse(config_change=fill(wire.ConfigChange(), stored.to_dict()))

    async def SearchKnowledge(
        self, request: wire.SearchKnowledgeRequest, _context: Any
    ) -> wire.SearchKnowledgeResponse:
        """What of the knowledge is near in meaning; raises as `search_knowledge`."""
        found = await self.tiers.longterm.search_knowledge(
            request.query, request.n_results if request.HasField("n_results") else _KNOWN
        )
        return wire.SearchKnowledgeResponse(results=result_messages(found))

    async def AddKnowledge(self, request: wire.AddKnowledgeRequest, _context: Any) -> wire.AddKnowledgeResponse:
        """Store a piece of knowledge; raises as `add_knowledge`."""
        stored = await self.tiers.longterm.add_knowledge(sent_record(request, "knowledge", Knowledge))
        return wire.AddKnowledgeResponse(knowledge=fill(wire.Knowledge(), stored.to_dict()))
