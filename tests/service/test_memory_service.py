"""MemoryService over a real connection: every call, its values and its errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.grpc_server.memory_service import MemoryService, registration
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2 as wire
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2_grpc
from synthians_memory.entrypoints.grpc_server.server import Server
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings
from synthians_memory.entrypoints.grpc_server.tier_records import fill, record_from
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers import (
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
    Tiers,
    ToolCall,
)

ISSUED = [
    "PushEvent",
    "GetRecentEvents",
    "UpdateMetric",
    "GetMetric",
    "GetSystemSnapshot",
    "StoreGoal",
    "UpdateGoal",
    "GetActiveGoals",
    "StoreTask",
    "GetTasksForGoal",
    "StoreToolCall",
    "StoreDecision",
    "StorePattern",
    "FindPattern",
    "UpdatePatternStats",
    "StoreAgentState",
    "GetAgentState",
    "SemanticSearch",
    "StoreProcedure",
    "StoreIncident",
    "StoreConfigChange",
    "SearchKnowledge",
    "AddKnowledge",
    "AssembleContext",
]

FULL: list[tuple[Record, type[Message]]] = [
    (Event(id="e", timestamp=3, category="c", source="s", data={"ü": [1, None]}, critical=True), wire.Event),
    (
        Goal(
            id="g",
            description="d",
            status="completed",
            priority=-(2**40),
            created_at=1,
            completed_at=2,
            result=[1.5],
            metadata={"k": {}},
        ),
        wire.Goal,
    ),
    (
        Task(
            id="t",
            goal_id="g",
            description="d",
            agent="a",
            status="x",
            input={"i": 1},
            output=False,
            started_at=1,
            completed_at=2,
            duration_ms=3,
            error="e",
        ),
        wire.Task,
    ),
    (
        ToolCall(
            id="c",
            task_id="t",
            tool_name="grep",
            agent="a",
            input="i",
            output=["o"],
            success=True,
            duration_ms=0,
            reason="r",
            timestamp=9,
        ),
        wire.ToolCall,
    ),
    (
        Decision(
            id="d",
            context="c",
            options=["x", {"y": 1}],
            chosen="x",
            reasoning="r",
            intelligence_level="strategic",
            model_used="m",
            outcome="o",
            timestamp=4,
        ),
        wire.Decision,
    ),
    (
        Pattern(id="p", trigger="t", action="a", success_rate=0.1, uses=7, last_used=5, created_from="d"),
        wire.Pattern,
    ),
    (AgentState(agent_name="planner", state={"step": 3}, updated_at=8), wire.AgentState),
    (
        Procedure(
            id="p",
            name="n",
            description="d",
            steps=["s", 2],
            success_count=1,
            fail_count=2,
            avg_duration_ms=2.5,
            tags=("a", "b"),
            created_at=1,
            last_used=2,
        ),
        wire.Procedure,
    ),
    (
        Incident(
            id="i",
            description="d",
            symptoms=["s"],
            root_cause="c",
            resolution="r",
            resolved_by="b",
            prevention="p",
            timestamp=1,
        ),
        wire.Incident,
    ),
    (
        ConfigChange(id="c", file_path="/etc/x", content="a=1\n", changed_by="b", reason="r", timestamp=1),
        wire.ConfigChange,
    ),
    (Knowledge(id="k", title="t", content="c", source="s", tags=("x",), created_at=1), wire.Knowledge),
]
SPARE: list[tuple[Record, type[Message]]] = [
    (Event(category="c", source="s"), wire.Event),
    (Goal(description="d"), wire.Goal),
    (Task(goal_id="g", description="d"), wire.Task),
    (ToolCall(task_id="t", tool_name="grep", success=False), wire.ToolCall),
    (Decision(context="c", chosen="x"), wire.Decision),
    (Pattern(trigger="t", action="a"), wire.Pattern),
    (AgentState(agent_name="planner"), wire.AgentState),
    (Procedure(name="n"), wire.Procedure),
    (Incident(description="d"), wire.Incident),
    (ConfigChange(file_path="/etc/x", content=""), wire.ConfigChange),
    (Knowledge(title="t", content="c"), wire.Knowledge),
]
by_kind = pytest.mark.parametrize(
    ("record", "message"),
    FULL + SPARE,
    ids=[*(f"full-{m.__name__}" for _, m in FULL), *(f"spare-{m.__name__}" for _, m in SPARE)],
)


class Client:
    """Calls by name, with the fields of their requests."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = memory_pb2_grpc.MemoryServiceStub(channel)

    async def __call__(self, name: str, **fields: Any) -> Any:
        return await getattr(self._stub, name)(getattr(wire, f"{name}Request")(**fields), timeout=20)

    async def fails(self, code: grpc.StatusCode, words: str, name: str, **fields: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self(name, **fields)
        assert caught.value.code() == code
        assert words in (caught.value.details() or "")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def tiers(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Tiers]:
    async with MemoryPersistence(tmp_path / "store", clock=clock) as store, Tiers(store, clock=clock) as opened:
        opened.store = store  # type: ignore[attr-defined]
        yield opened


@pytest_asyncio.fixture
async def client(tiers: Any) -> AsyncIterator[Client]:
    async with (
        Server(tiers.store, ServiceSettings(port=0), register=[registration(tiers)]) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Client(channel)


def test_it_has_the_calls_that_it_shall_have_and_no_other() -> None:
    service = wire.DESCRIPTOR.services_by_name["MemoryService"]
    assert [method.name for method in service.methods] == ISSUED
    assert all(not method.client_streaming and not method.server_streaming for method in service.methods)
    assert all(name in dir(MemoryService) and getattr(MemoryService, name).__doc__ for name in ISSUED)


@by_kind
def test_a_record_travels_with_every_column_in_order(record: Record, message: type[Message]) -> None:
    sent = fill(message(), record.to_dict()).SerializeToString()
    received = message()
    received.ParseFromString(sent)
    assert record_from(received, type(record)) == record
    names = [field.name.removesuffix("_json") for field in message.DESCRIPTOR.fields]
    assert names == list(type(record).COLUMNS)
    assert [field.number for field in message.DESCRIPTOR.fields] == list(range(1, len(names) + 1))


async def test_events_metrics_and_the_snapshot(client: Client, clock: ManualClock) -> None:
    for n in range(3):
        await client("PushEvent", event=wire.Event(category="build", source=f"s{n % 2}", data_json=b'{"n": %d}' % n))
    critical = (await client("PushEvent", event=wire.Event(id="c1", category="disk", source="s0", critical=True))).event
    assert critical.id == "c1"
    assert critical.timestamp == clock.micros() // 1_000_000
    recent = (await client("GetRecentEvents", count=2, source="s0")).events
    assert next(event.id for event in recent) == "c1"
    assert json.loads(recent[1].data_json) == {"n": 2}
    assert len((await client("GetRecentEvents", category="build")).events) == 3
    await client("UpdateMetric", key="load", value=0.5)
    await client("UpdateMetric", key="load", value=0.75)
    assert (await client("GetMetric", key="load")).value == 0.75
    await client.fails(grpc.StatusCode.NOT_FOUND, "'none'", "GetMetric", key="none")
    snapshot = await client("GetSystemSnapshot")
    assert snapshot.metrics == {"load": 0.75}
    assert next(event.id for event in snapshot.events) == "c1"
    assert snapshot.counts["events"] == 4
    assert snapshot.counts["waiting"] == 0


async def test_goals_tasks_and_tool_calls(client: Client, tiers: Tiers) -> None:
    first = (await client("StoreGoal", goal=wire.Goal(description="ship it"))).goal
    assert (first.status, first.priority) == ("pending", 2)
    urgent = (await client("StoreGoal", goal=wire.Goal(id="u", description="mend it", priority=1))).goal
    assert [goal.id for goal in (await client("GetActiveGoals")).goals] == ["u", first.id]
    task = (await client("StoreTask", task=wire.Task(goal_id="u", description="find the cause", status="running"))).task
    active = (await client("GetSystemSnapshot")).active_tasks
    assert [(one.id, one.description, one.status) for one in active] == [(task.id, "find the cause", "running")]
    task.status = "completed"
    task.output_json = b'{"cause": "a full disk"}'
    done = (await client("StoreTask", task=task)).task
    assert done.HasField("completed_at")
    assert not (await client("GetSystemSnapshot")).active_tasks
    assert (await client("GetTasksForGoal", goal_id="u")).tasks == [done]
    call = wire.ToolCall(task_id=task.id, tool_name="df", success=True, output_json=b'"100%"', duration_ms=4)
    stored = (await client("StoreToolCall", tool_call=call)).tool_call
    assert (await tiers.working.get_tool_calls_for_task(task.id))[0].id == stored.id
    ended = (await client("UpdateGoal", id="u", status="completed", result_json=b'{"ok":true}')).goal
    assert ended.HasField("completed_at")
    assert json.loads(ended.result_json) == {"ok": True}
    assert [goal.id for goal in (await client("GetActiveGoals")).goals] == [first.id]
    assert urgent.id == "u"
    await client.fails(grpc.StatusCode.NOT_FOUND, "nobody", "UpdateGoal", id="nobody", status="failed")


async def test_decisions_patterns_and_agents(client: Client, tiers: Tiers) -> None:
    decision = wire.Decision(context="which queue", options_json=b'["a","b"]', chosen="a", reasoning="simple")
    stored = (await client("StoreDecision", decision=decision)).decision
    assert stored.intelligence_level
    assert [found.id for found in await tiers.working.find_similar_decisions("which queue")] == [stored.id]
    pattern = wire.Pattern(id="p", trigger="Disk FULL", action="delete caches", success_rate=0.8, uses=10)
    await client("StorePattern", pattern=pattern)
    assert (await client("FindPattern", trigger="disk full", min_success_rate=0.5)).pattern.id == "p"
    await client.fails(grpc.StatusCode.NOT_FOUND, "0.9", "FindPattern", trigger="disk full", min_success_rate=0.9)
    counted = (await client("UpdatePatternStats", id="p", success=True)).pattern
    assert counted.success_rate == pytest.approx(9 / 11)
    assert counted.uses == 11
    await client.fails(grpc.StatusCode.NOT_FOUND, "planner", "GetAgentState", agent_name="planner")
    await client("StoreAgentState", agent_name="planner", state_json=b'{"step":3}')
    assert json.loads((await client("GetAgentState", agent_name="planner")).agent_state.state_json) == {"step": 3}


async def test_what_was_learned_is_found_and_assembled(client: Client) -> None:
    procedure = wire.Procedure(name="rotate logs", description="rename, then signal", steps_json=b'["mv","kill -HUP"]')
    await client("StoreProcedure", procedure=procedure)
    await client("StoreIncident", incident=wire.Incident(description="the disk was full of logs"))
    await client("StoreConfigChange", config_change=wire.ConfigChange(file_path="/etc/logrotate.conf", content="daily"))
    knowledge = wire.Knowledge(title="logs", content="where logs are kept", tags_json=b'["ops"]')
    known = (await client("AddKnowledge", knowledge=knowledge)).knowledge
    found = (await client("SemanticSearch", query="logs")).results
    assert {result.collection for result in found} == {"procedures", "incidents"}
    assert all(0 <= result.relevance <= 1 for result in found)
    only = (await client("SemanticSearch", query="logs", collections=["incidents"], n_results=1)).results
    assert [result.collection for result in only] == ["incidents"]
    assert [result.id for result in (await client("SearchKnowledge", query="logs")).results] == [known.id]
    context = await client("AssembleContext", task="the logs fill the disk", max_tokens=300)
    assert {chunk.source for chunk in context.chunks} == {"operational", "longterm", "knowledge"}
    assert context.total_tokens == sum(chunk.tokens for chunk in context.chunks) <= 300 == context.max_tokens
    one = await client("AssembleContext", task="logs", tiers=["knowledge"])
    assert [chunk.source for chunk in one.chunks] == ["knowledge"]


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("PushEvent", {}, "no event"),
        ("PushEvent", {"event": wire.Event(category="c", source="s", data_json=b"[1]")}, "data"),
        ("PushEvent", {"event": wire.Event(category="c", source="s", data_json=b"{")}, "data_json"),
        ("GetRecentEvents", {"count": -1}, "-1"),
        ("UpdateMetric", {"key": "", "value": 1.0}, "key"),
        ("UpdateMetric", {"key": "k", "value": float("nan")}, "k"),
        ("StoreGoal", {"goal": wire.Goal(id="\n", description="d")}, "id"),
        ("StoreGoal", {"goal": wire.Goal(description="d", metadata_json=b"3")}, "metadata"),
        ("StoreTask", {"task": wire.Task(description="d")}, "goal_id"),
        ("StoreDecision", {"decision": wire.Decision(context="c")}, "chosen"),
        (
            "StoreDecision",
            {"decision": wire.Decision(context="c", chosen="x", intelligence_level="divine")},
            "intelligence_level",
        ),
        ("StorePattern", {"pattern": wire.Pattern(trigger="t", action="a", success_rate=1.5)}, "success_rate"),
        ("StoreAgentState", {"agent_name": "", "state_json": b"{}"}, "agent_name"),
        ("StoreAgentState", {"agent_name": "a", "state_json": b"{"}, "state_json"),
        ("SemanticSearch", {"query": "q", "collections": ["secrets"]}, "secrets"),
        ("SemanticSearch", {"query": "q", "n_results": 0}, "0"),
        ("AssembleContext", {"task": "t", "max_tokens": -1}, "-1"),
        ("AssembleContext", {"task": "t", "tiers": ["cloud"]}, "cloud"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(client: Client, name: str, fields: dict[str, Any], words: str) -> None:
    await client.fails(grpc.StatusCode.INVALID_ARGUMENT, words, name, **fields)


async def test_a_task_of_no_goal_is_not_found(client: Client) -> None:
    await client.fails(
        grpc.StatusCode.NOT_FOUND, "nowhere", "StoreTask", task=wire.Task(goal_id="nowhere", description="d")
    )
