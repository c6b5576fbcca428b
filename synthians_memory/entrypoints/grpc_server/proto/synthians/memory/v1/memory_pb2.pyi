from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("id", "timestamp", "category", "source", "data_json", "critical")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    timestamp: int
    category: str
    source: str
    data_json: bytes
    critical: bool
    def __init__(self, id: _Optional[str] = ..., timestamp: _Optional[int] = ..., category: _Optional[str] = ..., source: _Optional[str] = ..., data_json: _Optional[bytes] = ..., critical: _Optional[bool] = ...) -> None: ...

class Goal(_message.Message):
    __slots__ = ("id", "description", "status", "priority", "created_at", "completed_at", "result_json", "metadata_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    description: str
    status: str
    priority: int
    created_at: int
    completed_at: int
    result_json: bytes
    metadata_json: bytes
    def __init__(self, id: _Optional[str] = ..., description: _Optional[str] = ..., status: _Optional[str] = ..., priority: _Optional[int] = ..., created_at: _Optional[int] = ..., completed_at: _Optional[int] = ..., result_json: _Optional[bytes] = ..., metadata_json: _Optional[bytes] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "goal_id", "description", "agent", "status", "input_json", "output_json", "started_at", "completed_at", "duration_ms", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    GOAL_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    goal_id: str
    description: str
    agent: str
    status: str
    input_json: bytes
    output_json: bytes
    started_at: int
    completed_at: int
    duration_ms: int
    error: str
    def __init__(self, id: _Optional[str] = ..., goal_id: _Optional[str] = ..., description: _Optional[str] = ..., agent: _Optional[str] = ..., status: _Optional[str] = ..., input_json: _Optional[bytes] = ..., output_json: _Optional[bytes] = ..., started_at: _Optional[int] = ..., completed_at: _Optional[int] = ..., duration_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ActiveTask(_message.Message):
    __slots__ = ("id", "description", "agent", "status", "data_json", "started_at", "updated_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    description: str
    agent: str
    status: str
    data_json: bytes
    started_at: int
    updated_at: int
    def __init__(self, id: _Optional[str] = ..., description: _Optional[str] = ..., agent: _Optional[str] = ..., status: _Optional[str] = ..., data_json: _Optional[bytes] = ..., started_at: _Optional[int] = ..., updated_at: _Optional[int] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("id", "task_id", "tool_name", "agent", "input_json", "output_json", "success", "duration_ms", "reason", "timestamp")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_id: str
    tool_name: str
    agent: str
    input_json: bytes
    output_json: bytes
    success: bool
    duration_ms: int
    reason: str
    timestamp: int
    def __init__(self, id: _Optional[str] = ..., task_id: _Optional[str] = ..., tool_name: _Optional[str] = ..., agent: _Optional[str] = ..., input_json: _Optional[bytes] = ..., output_json: _Optional[bytes] = ..., success: _Optional[bool] = ..., duration_ms: _Optional[int] = ..., reason: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "context", "options_json", "chosen", "reasoning", "intelligence_level", "model_used", "outcome", "timestamp")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    INTELLIGENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_USED_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    id: str
    context: str
    options_json: bytes
    chosen: str
    reasoning: str
    intelligence_level: str
    model_used: str
    outcome: str
    timestamp: int
    def __init__(self, id: _Optional[str] = ..., context: _Optional[str] = ..., options_json: _Optional[bytes] = ..., chosen: _Optional[str] = ..., reasoning: _Optional[str] = ..., intelligence_level: _Optional[str] = ..., model_used: _Optional[str] = ..., outcome: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class Pattern(_message.Message):
    __slots__ = ("id", "trigger", "action", "success_rate", "uses", "last_used", "created_from")
    ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    id: str
    trigger: str
    action: str
    success_rate: float
    uses: int
    last_used: int
    created_from: str
    def __init__(self, id: _Optional[str] = ..., trigger: _Optional[str] = ..., action: _Optional[str] = ..., success_rate: _Optional[float] = ..., uses: _Optional[int] = ..., last_used: _Optional[int] = ..., created_from: _Optional[str] = ...) -> None: ...

class AgentState(_message.Message):
    __slots__ = ("agent_name", "state_json", "updated_at")
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_JSON_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    agent_name: str
    state_json: bytes
    updated_at: int
    def __init__(self, agent_name: _Optional[str] = ..., state_json: _Optional[bytes] = ..., updated_at: _Optional[int] = ...) -> None: ...

class Procedure(_message.Message):
    __slots__ = ("id", "name", "description", "steps_json", "success_count", "fail_count", "avg_duration_ms", "tags_json", "created_at", "last_used")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_JSON_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAIL_COUNT_FIELD_NUMBER: _ClassVar[int]
    AVG_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TAGS_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    steps_json: bytes
    success_count: int
    fail_count: int
    avg_duration_ms: float
    tags_json: bytes
    created_at: int
    last_used: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., steps_json: _Optional[bytes] = ..., success_count: _Optional[int] = ..., fail_count: _Optional[int] = ..., avg_duration_ms: _Optional[float] = ..., tags_json: _Optional[bytes] = ..., created_at: _Optional[int] = ..., last_used: _Optional[int] = ...) -> None: ...

class Incident(_message.Message):
    __slots__ = ("id", "description", "symptoms_json", "root_cause", "resolution", "resolved_by", "prevention", "timestamp")
    ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SYMPTOMS_JSON_FIELD_NUMBER: _ClassVar[int]
    ROOT_CAUSE_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_BY_FIELD_NUMBER: _ClassVar[int]
    PREVENTION_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    id: str
    description: str
    symptoms_json: bytes
    root_cause: str
    resolution: str
    resolved_by: str
    prevention: str
    timestamp: int
    def __init__(self, id: _Optional[str] = ..., description: _Optional[str] = ..., symptoms_json: _Optional[bytes] = ..., root_cause: _Optional[str] = ..., resolution: _Optional[str] = ..., resolved_by: _Optional[str] = ..., prevention: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class ConfigChange(_message.Message):
    __slots__ = ("id", "file_path", "content", "changed_by", "reason", "timestamp")
    ID_FIELD_NUMBER: _ClassVar[int]
    FILE_PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    id: str
    file_path: str
    content: str
    changed_by: str
    reason: str
    timestamp: int
    def __init__(self, id: _Optional[str] = ..., file_path: _Optional[str] = ..., content: _Optional[str] = ..., changed_by: _Optional[str] = ..., reason: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class Knowledge(_message.Message):
    __slots__ = ("id", "title", "content", "source", "tags_json", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TAGS_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    content: str
    source: str
    tags_json: bytes
    created_at: int
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., content: _Optional[str] = ..., source: _Optional[str] = ..., tags_json: _Optional[bytes] = ..., created_at: _Optional[int] = ...) -> None: ...

class PushEventRequest(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class PushEventResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class GetRecentEventsRequest(_message.Message):
    __slots__ = ("count", "category", "source")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    count: int
    category: str
    source: str
    def __init__(self, count: _Optional[int] = ..., category: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class GetRecentEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class UpdateMetricRequest(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: float
    def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class UpdateMetricResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMetricRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class GetMetricResponse(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class GetSystemSnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSystemSnapshotResponse(_message.Message):
    __slots__ = ("events", "metrics", "active_tasks", "counts", "taken_at")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_TASKS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_AT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    metrics: _containers.ScalarMap[str, float]
    active_tasks: _containers.RepeatedCompositeFieldContainer[ActiveTask]
    counts: _containers.ScalarMap[str, int]
    taken_at: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., active_tasks: _Optional[_Iterable[_Union[ActiveTask, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ..., taken_at: _Optional[int] = ...) -> None: ...

class StoreGoalRequest(_message.Message):
    __slots__ = ("goal",)
    GOAL_FIELD_NUMBER: _ClassVar[int]
    goal: Goal
    def __init__(self, goal: _Optional[_Union[Goal, _Mapping]] = ...) -> None: ...

class StoreGoalResponse(_message.Message):
    __slots__ = ("goal",)
    GOAL_FIELD_NUMBER: _ClassVar[int]
    goal: Goal
    def __init__(self, goal: _Optional[_Union[Goal, _Mapping]] = ...) -> None: ...

class UpdateGoalRequest(_message.Message):
    __slots__ = ("id", "status", "result_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: str
    result_json: bytes
    def __init__(self, id: _Optional[str] = ..., status: _Optional[str] = ..., result_json: _Optional[bytes] = ...) -> None: ...

class UpdateGoalResponse(_message.Message):
    __slots__ = ("goal",)
    GOAL_FIELD_NUMBER: _ClassVar[int]
    goal: Goal
    def __init__(self, goal: _Optional[_Union[Goal, _Mapping]] = ...) -> None: ...

class GetActiveGoalsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetActiveGoalsResponse(_message.Message):
    __slots__ = ("goals",)
    GOALS_FIELD_NUMBER: _ClassVar[int]
    goals: _containers.RepeatedCompositeFieldContainer[Goal]
    def __init__(self, goals: _Optional[_Iterable[_Union[Goal, _Mapping]]] = ...) -> None: ...

class StoreTaskRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class StoreTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class GetTasksForGoalRequest(_message.Message):
    __slots__ = ("goal_id",)
    GOAL_ID_FIELD_NUMBER: _ClassVar[int]
    goal_id: str
    def __init__(self, goal_id: _Optional[str] = ...) -> None: ...

class GetTasksForGoalResponse(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ...) -> None: ...

class StoreToolCallRequest(_message.Message):
    __slots__ = ("tool_call",)
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    tool_call: ToolCall
    def __init__(self, tool_call: _Optional[_Union[ToolCall, _Mapping]] = ...) -> None: ...

class StoreToolCallResponse(_message.Message):
    __slots__ = ("tool_call",)
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    tool_call: ToolCall
    def __init__(self, tool_call: _Optional[_Union[ToolCall, _Mapping]] = ...) -> None: ...

class StoreDecisionRequest(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class StoreDecisionResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class StorePatternRequest(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: Pattern
    def __init__(self, pattern: _Optional[_Union[Pattern, _Mapping]] = ...) -> None: ...

class StorePatternResponse(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: Pattern
    def __init__(self, pattern: _Optional[_Union[Pattern, _Mapping]] = ...) -> None: ...

class FindPatternRequest(_message.Message):
    __slots__ = ("trigger", "min_success_rate")
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    MIN_SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    trigger: str
    min_success_rate: float
    def __init__(self, trigger: _Optional[str] = ..., min_success_rate: _Optional[float] = ...) -> None: ...

class FindPatternResponse(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: Pattern
    def __init__(self, pattern: _Optional[_Union[Pattern, _Mapping]] = ...) -> None: ...

class UpdatePatternStatsRequest(_message.Message):
    __slots__ = ("id", "success")
    ID_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    success: bool
    def __init__(self, id: _Optional[str] = ..., success: _Optional[bool] = ...) -> None: ...

class UpdatePatternStatsResponse(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: Pattern
    def __init__(self, pattern: _Optional[_Union[Pattern, _Mapping]] = ...) -> None: ...

class StoreAgentStateRequest(_message.Message):
    __slots__ = ("agent_name", "state_json")
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_JSON_FIELD_NUMBER: _ClassVar[int]
    agent_name: str
    state_json: bytes
    def __init__(self, agent_name: _Optional[str] = ..., state_json: _Optional[bytes] = ...) -> None: ...

class StoreAgentStateResponse(_message.Message):
    __slots__ = ("agent_state",)
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    agent_state: AgentState
    def __init__(self, agent_state: _Optional[_Union[AgentState, _Mapping]] = ...) -> None: ...

class GetAgentStateRequest(_message.Message):
    __slots__ = ("agent_name",)
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    agent_name: str
    def __init__(self, agent_name: _Optional[str] = ...) -> None: ...

class GetAgentStateResponse(_message.Message):
    __slots__ = ("agent_state",)
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    agent_state: AgentState
    def __init__(self, agent_state: _Optional[_Union[AgentState, _Mapping]] = ...) -> None: ...

class SemanticSearchRequest(_message.Message):
    __slots__ = ("query", "collections", "n_results", "min_relevance")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    N_RESULTS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELEVANCE_FIELD_NUMBER: _ClassVar[int]
    query: str
    collections: _containers.RepeatedScalarFieldContainer[str]
    n_results: int
    min_relevance: float
    def __init__(self, query: _Optional[str] = ..., collections: _Optional[_Iterable[str]] = ..., n_results: _Optional[int] = ..., min_relevance: _Optional[float] = ...) -> None: ...

class SemanticSearchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping]]] = ...) -> None: ...

class SearchResult(_message.Message):
    __slots__ = ("collection", "id", "content", "relevance", "metadata_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    id: str
    content: str
    relevance: float
    metadata_json: bytes
    def __init__(self, collection: _Optional[str] = ..., id: _Optional[str] = ..., content: _Optional[str] = ..., relevance: _Optional[float] = ..., metadata_json: _Optional[bytes] = ...) -> None: ...

class StoreProcedureRequest(_message.Message):
    __slots__ = ("procedure",)
    PROCEDURE_FIELD_NUMBER: _ClassVar[int]
    procedure: Procedure
    def __init__(self, procedure: _Optional[_Union[Procedure, _Mapping]] = ...) -> None: ...

class StoreProcedureResponse(_message.Message):
    __slots__ = ("procedure",)
    PROCEDURE_FIELD_NUMBER: _ClassVar[int]
    procedure: Procedure
    def __init__(self, procedure: _Optional[_Union[Procedure, _Mapping]] = ...) -> None: ...

class StoreIncidentRequest(_message.Message):
    __slots__ = ("incident",)
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    incident: Incident
    def __init__(self, incident: _Optional[_Union[Incident, _Mapping]] = ...) -> None: ...

class StoreIncidentResponse(_message.Message):
    __slots__ = ("incident",)
    INCIDENT_FIELD_NUMBER: _ClassVar[int]
    incident: Incident
    def __init__(self, incident: _Optional[_Union[Incident, _Mapping]] = ...) -> None: ...

class StoreConfigChangeRequest(_message.Message):
    __slots__ = ("config_change",)
    CONFIG_CHANGE_FIELD_NUMBER: _ClassVar[int]
    config_change: ConfigChange
    def __init__(self, config_change: _Optional[_Union[ConfigChange, _Mapping]] = ...) -> None: ...

class StoreConfigChangeResponse(_message.Message):
    __slots__ = ("config_change",)
    CONFIG_CHANGE_FIELD_NUMBER: _ClassVar[int]
    config_change: ConfigChange
    def __init__(self, config_change: _Optional[_Union[ConfigChange, _Mapping]] = ...) -> None: ...

class SearchKnowledgeRequest(_message.Message):
    __slots__ = ("query", "n_results")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    N_RESULTS_FIELD_NUMBER: _ClassVar[int]
    query: str
    n_results: int
    def __init__(self, query: _Optional[str] = ..., n_results: _Optional[int] = ...) -> None: ...

class SearchKnowledgeResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping]]] = ...) -> None: ...

class AddKnowledgeRequest(_message.Message):
    __slots__ = ("knowledge",)
    KNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    knowledge: Knowledge
    def __init__(self, knowledge: _Optional[_Union[Knowledge, _Mapping]] = ...) -> None: ...

class AddKnowledgeResponse(_message.Message):
    __slots__ = ("knowledge",)
    KNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    knowledge: Knowledge
    def __init__(self, knowledge: _Optional[_Union[Knowledge, _Mapping]] = ...) -> None: ...

class AssembleContextRequest(_message.Message):
    __slots__ = ("task", "max_tokens", "tiers")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    task: str
    max_tokens: int
    tiers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task: _Optional[str] = ..., max_tokens: _Optional[int] = ..., tiers: _Optional[_Iterable[str]] = ...) -> None: ...

class AssembleContextResponse(_message.Message):
    __slots__ = ("chunks", "total_tokens", "max_tokens")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[ContextChunk]
    total_tokens: int
    max_tokens: int
    def __init__(self, chunks: _Optional[_Iterable[_Union[ContextChunk, _Mapping]]] = ..., total_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class ContextChunk(_message.Message):
    __slots__ = ("source", "content", "tokens", "relevance", "id")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    source: str
    content: str
    tokens: int
    relevance: float
    id: str
    def __init__(self, source: _Optional[str] = ..., content: _Optional[str] = ..., tokens: _Optional[int] = ..., relevance: _Optional[float] = ..., id: _Optional[str] = ...) -> None: ...
