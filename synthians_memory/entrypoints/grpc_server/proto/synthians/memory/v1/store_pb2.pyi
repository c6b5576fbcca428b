from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_MEMORY: _ClassVar[Kind]
    KIND_ASSEMBLY: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_MEMORY: Kind
KIND_ASSEMBLY: Kind

class Memory(_message.Message):
    __slots__ = ("memory_id", "content", "created_at", "quickrecal_score", "quickrecal_updated", "tags", "metadata_json", "access_count", "last_access_time", "expires_at", "extra_json", "hyperbolic_embedding", "embedding", "updated_at", "content_hash")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    QUICKRECAL_SCORE_FIELD_NUMBER: _ClassVar[int]
    QUICKRECAL_UPDATED_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ACCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ACCESS_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_JSON_FIELD_NUMBER: _ClassVar[int]
    HYPERBOLIC_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    content: str
    created_at: int
    quickrecal_score: float
    quickrecal_updated: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    metadata_json: bytes
    access_count: int
    last_access_time: int
    expires_at: int
    extra_json: bytes
    hyperbolic_embedding: _containers.RepeatedScalarFieldContainer[float]
    embedding: _containers.RepeatedScalarFieldContainer[float]
    updated_at: int
    content_hash: str
    def __init__(self, memory_id: _Optional[str] = ..., content: _Optional[str] = ..., created_at: _Optional[int] = ..., quickrecal_score: _Optional[float] = ..., quickrecal_updated: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., metadata_json: _Optional[bytes] = ..., access_count: _Optional[int] = ..., last_access_time: _Optional[int] = ..., expires_at: _Optional[int] = ..., extra_json: _Optional[bytes] = ..., hyperbolic_embedding: _Optional[_Iterable[float]] = ..., embedding: _Optional[_Iterable[float]] = ..., updated_at: _Optional[int] = ..., content_hash: _Optional[str] = ...) -> None: ...

class Assembly(_message.Message):
    __slots__ = ("assembly_id", "name", "description", "members", "keywords", "tags", "topics", "metadata_json", "created_at", "last_access_time", "last_activation", "activation_level", "activation_count", "access_count", "emotion_profile_json", "is_active", "merged_from", "vector_index_updated_at", "extra_json", "hyperbolic_embedding", "composite_embedding", "updated_at", "content_hash")
    ASSEMBLY_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_ACCESS_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_LEVEL_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    EMOTION_PROFILE_JSON_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    MERGED_FROM_FIELD_NUMBER: _ClassVar[int]
    VECTOR_INDEX_UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_JSON_FIELD_NUMBER: _ClassVar[int]
    HYPERBOLIC_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    assembly_id: str
    name: str
    description: str
    members: _containers.RepeatedScalarFieldContainer[str]
    keywords: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    topics: _containers.RepeatedScalarFieldContainer[str]
    metadata_json: bytes
    created_at: int
    last_access_time: int
    last_activation: int
    activation_level: float
    activation_count: int
    access_count: int
    emotion_profile_json: bytes
    is_active: bool
    merged_from: _containers.RepeatedScalarFieldContainer[str]
    vector_index_updated_at: int
    extra_json: bytes
    hyperbolic_embedding: _containers.RepeatedScalarFieldContainer[float]
    composite_embedding: _containers.RepeatedScalarFieldContainer[float]
    updated_at: int
    content_hash: str
    def __init__(self, assembly_id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., keywords: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., topics: _Optional[_Iterable[str]] = ..., metadata_json: _Optional[bytes] = ..., created_at: _Optional[int] = ..., last_access_time: _Optional[int] = ..., last_activation: _Optional[int] = ..., activation_level: _Optional[float] = ..., activation_count: _Optional[int] = ..., access_count: _Optional[int] = ..., emotion_profile_json: _Optional[bytes] = ..., is_active: _Optional[bool] = ..., merged_from: _Optional[_Iterable[str]] = ..., vector_index_updated_at: _Optional[int] = ..., extra_json: _Optional[bytes] = ..., hyperbolic_embedding: _Optional[_Iterable[float]] = ..., composite_embedding: _Optional[_Iterable[float]] = ..., updated_at: _Optional[int] = ..., content_hash: _Optional[str] = ...) -> None: ...

class Expectation(_message.Message):
    __slots__ = ("updated_at", "absent")
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    updated_at: int
    absent: bool
    def __init__(self, updated_at: _Optional[int] = ..., absent: _Optional[bool] = ...) -> None: ...

class Stamp(_message.Message):
    __slots__ = ("kind", "id", "created_at", "updated_at", "content_hash")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    id: str
    created_at: int
    updated_at: int
    content_hash: str
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., id: _Optional[str] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ..., content_hash: _Optional[str] = ...) -> None: ...

class SaveMemoryRequest(_message.Message):
    __slots__ = ("memory", "expected")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    expected: Expectation
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., expected: _Optional[_Union[Expectation, _Mapping]] = ...) -> None: ...

class SaveMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class SaveMemoriesRequest(_message.Message):
    __slots__ = ("memories", "more")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[Memory]
    more: bool
    def __init__(self, memories: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class SaveMemoriesResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: _containers.RepeatedCompositeFieldContainer[Stamp]
    def __init__(self, stored: _Optional[_Iterable[_Union[Stamp, _Mapping]]] = ...) -> None: ...

class LoadMemoryRequest(_message.Message):
    __slots__ = ("memory_id",)
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    def __init__(self, memory_id: _Optional[str] = ...) -> None: ...

class LoadMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class LoadMemoriesRequest(_message.Message):
    __slots__ = ("memory_ids",)
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, memory_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class LoadMemoriesResponse(_message.Message):
    __slots__ = ("memories",)
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[Memory]
    def __init__(self, memories: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ...) -> None: ...

class DeleteMemoryRequest(_message.Message):
    __slots__ = ("memory_id", "expected")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    expected: Expectation
    def __init__(self, memory_id: _Optional[str] = ..., expected: _Optional[_Union[Expectation, _Mapping]] = ...) -> None: ...

class DeleteMemoryResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...

class DeleteMemoriesRequest(_message.Message):
    __slots__ = ("memory_ids",)
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, memory_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteMemoriesResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class ListMemoriesRequest(_message.Message):
    __slots__ = ("after", "ids_only", "expired", "skip_damaged")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    IDS_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    SKIP_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    after: str
    ids_only: bool
    expired: bool
    skip_damaged: bool
    def __init__(self, after: _Optional[str] = ..., ids_only: _Optional[bool] = ..., expired: _Optional[bool] = ..., skip_damaged: _Optional[bool] = ...) -> None: ...

class ListMemoriesResponse(_message.Message):
    __slots__ = ("memories", "memory_ids", "damaged")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[Memory]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    damaged: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    def __init__(self, memories: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ..., memory_ids: _Optional[_Iterable[str]] = ..., damaged: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ...) -> None: ...

class SaveAssemblyRequest(_message.Message):
    __slots__ = ("assembly", "expected")
    ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    assembly: Assembly
    expected: Expectation
    def __init__(self, assembly: _Optional[_Union[Assembly, _Mapping]] = ..., expected: _Optional[_Union[Expectation, _Mapping]] = ...) -> None: ...

class SaveAssemblyResponse(_message.Message):
    __slots__ = ("assembly",)
    ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    assembly: Assembly
    def __init__(self, assembly: _Optional[_Union[Assembly, _Mapping]] = ...) -> None: ...

class LoadAssemblyRequest(_message.Message):
    __slots__ = ("assembly_id",)
    ASSEMBLY_ID_FIELD_NUMBER: _ClassVar[int]
    assembly_id: str
    def __init__(self, assembly_id: _Optional[str] = ...) -> None: ...

class LoadAssemblyResponse(_message.Message):
    __slots__ = ("assembly",)
    ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    assembly: Assembly
    def __init__(self, assembly: _Optional[_Union[Assembly, _Mapping]] = ...) -> None: ...

class DeleteAssemblyRequest(_message.Message):
    __slots__ = ("assembly_id", "expected")
    ASSEMBLY_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    assembly_id: str
    expected: Expectation
    def __init__(self, assembly_id: _Optional[str] = ..., expected: _Optional[_Union[Expectation, _Mapping]] = ...) -> None: ...

class DeleteAssemblyResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...

class ListAssembliesRequest(_message.Message):
    __slots__ = ("after", "ids_only", "skip_damaged")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    IDS_ONLY_FIELD_NUMBER: _ClassVar[int]
    SKIP_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    after: str
    ids_only: bool
    skip_damaged: bool
    def __init__(self, after: _Optional[str] = ..., ids_only: _Optional[bool] = ..., skip_damaged: _Optional[bool] = ...) -> None: ...

class ListAssembliesResponse(_message.Message):
    __slots__ = ("assemblies", "assembly_ids", "damaged")
    ASSEMBLIES_FIELD_NUMBER: _ClassVar[int]
    ASSEMBLY_IDS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    assemblies: _containers.RepeatedCompositeFieldContainer[Assembly]
    assembly_ids: _containers.RepeatedScalarFieldContainer[str]
    damaged: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    def __init__(self, assemblies: _Optional[_Iterable[_Union[Assembly, _Mapping]]] = ..., assembly_ids: _Optional[_Iterable[str]] = ..., damaged: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("save_memory", "save_assembly", "delete_memory", "delete_assembly", "expected")
    SAVE_MEMORY_FIELD_NUMBER: _ClassVar[int]
    SAVE_ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    DELETE_MEMORY_FIELD_NUMBER: _ClassVar[int]
    DELETE_ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    save_memory: Memory
    save_assembly: Assembly
    delete_memory: str
    delete_assembly: str
    expected: Expectation
    def __init__(self, save_memory: _Optional[_Union[Memory, _Mapping]] = ..., save_assembly: _Optional[_Union[Assembly, _Mapping]] = ..., delete_memory: _Optional[str] = ..., delete_assembly: _Optional[str] = ..., expected: _Optional[_Union[Expectation, _Mapping]] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("changes", "complete")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    complete: bool
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., complete: _Optional[bool] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImportOptions(_message.Message):
    __slots__ = ("chunk", "embed", "overwrite", "stop_on_error")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    EMBED_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    STOP_ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    chunk: int
    embed: bool
    overwrite: bool
    stop_on_error: bool
    def __init__(self, chunk: _Optional[int] = ..., embed: _Optional[bool] = ..., overwrite: _Optional[bool] = ..., stop_on_error: _Optional[bool] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("options", "lines", "source_failed", "last")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FAILED_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    options: ImportOptions
    lines: _containers.RepeatedScalarFieldContainer[bytes]
    source_failed: bool
    last: bool
    def __init__(self, options: _Optional[_Union[ImportOptions, _Mapping]] = ..., lines: _Optional[_Iterable[bytes]] = ..., source_failed: _Optional[bool] = ..., last: _Optional[bool] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("imported", "skipped", "overwritten", "problems", "problem_count", "done", "wanted")
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    OVERWRITTEN_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    imported: int
    skipped: int
    overwritten: int
    problems: _containers.RepeatedCompositeFieldContainer[LineProblem]
    problem_count: int
    done: bool
    wanted: bool
    def __init__(self, imported: _Optional[int] = ..., skipped: _Optional[int] = ..., overwritten: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[LineProblem, _Mapping]]] = ..., problem_count: _Optional[int] = ..., done: _Optional[bool] = ..., wanted: _Optional[bool] = ...) -> None: ...

class LineProblem(_message.Message):
    __slots__ = ("line", "code", "reason")
    LINE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    line: int
    code: str
    reason: str
    def __init__(self, line: _Optional[int] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("text", "vector")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    text: str
    vector: Vector
    def __init__(self, text: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("query", "k", "where_json", "kind")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    WHERE_JSON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    query: Query
    k: int
    where_json: bytes
    kind: Kind
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., k: _Optional[int] = ..., where_json: _Optional[bytes] = ..., kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits",)
    HITS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[SearchHit]
    def __init__(self, hits: _Optional[_Iterable[_Union[SearchHit, _Mapping]]] = ...) -> None: ...

class SearchHit(_message.Message):
    __slots__ = ("id", "score", "kind")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    kind: Kind
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class SearchBatchRequest(_message.Message):
    __slots__ = ("queries", "k", "where_json", "kind")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    WHERE_JSON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    k: int
    where_json: bytes
    kind: Kind
    def __init__(self, queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., k: _Optional[int] = ..., where_json: _Optional[bytes] = ..., kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class RecallRequest(_message.Message):
    __slots__ = ("text", "k", "mode", "where_json", "min_score", "timeout_seconds", "fusion", "vector_weight", "neighbours", "recency", "half_life", "importance")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WHERE_JSON_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    RECENCY_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    text: str
    k: int
    mode: str
    where_json: bytes
    min_score: float
    timeout_seconds: float
    fusion: str
    vector_weight: float
    neighbours: float
    recency: float
    half_life: float
    importance: float
    def __init__(self, text: _Optional[str] = ..., k: _Optional[int] = ..., mode: _Optional[str] = ..., where_json: _Optional[bytes] = ..., min_score: _Optional[float] = ..., timeout_seconds: _Optional[float] = ..., fusion: _Optional[str] = ..., vector_weight: _Optional[float] = ..., neighbours: _Optional[float] = ..., recency: _Optional[float] = ..., half_life: _Optional[float] = ..., importance: _Optional[float] = ...) -> None: ...

class RecallResponse(_message.Message):
    __slots__ = ("hits", "damaged")
    HITS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[RecallHit]
    damaged: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    def __init__(self, hits: _Optional[_Iterable[_Union[RecallHit, _Mapping]]] = ..., damaged: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ...) -> None: ...

class RecallHit(_message.Message):
    __slots__ = ("memory", "score", "parts", "mode")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    score: float
    parts: RecallParts
    mode: str
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., score: _Optional[float] = ..., parts: _Optional[_Union[RecallParts, _Mapping]] = ..., mode: _Optional[str] = ...) -> None: ...

class RecallParts(_message.Message):
    __slots__ = ("text", "neighbours", "vector", "recency", "importance")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    RECENCY_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    text: float
    neighbours: float
    vector: float
    recency: float
    importance: float
    def __init__(self, text: _Optional[float] = ..., neighbours: _Optional[float] = ..., vector: _Optional[float] = ..., recency: _Optional[float] = ..., importance: _Optional[float] = ...) -> None: ...

class RememberRequest(_message.Message):
    __slots__ = ("text", "tags", "importance", "metadata_json")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    text: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    importance: float
    metadata_json: bytes
    def __init__(self, text: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., importance: _Optional[float] = ..., metadata_json: _Optional[bytes] = ...) -> None: ...

class RememberResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("level",)
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    level: str
    def __init__(self, level: _Optional[str] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("progress", "findings", "done")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    done: bool
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., done: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "total")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "message", "path", "kind", "entity_id", "severity", "action")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    path: str
    kind: Kind
    entity_id: str
    severity: str
    action: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., path: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., entity_id: _Optional[str] = ..., severity: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class RepairRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class RepairResponse(_message.Message):
    __slots__ = ("progress", "report")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    report: RepairReport
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., report: _Optional[_Union[RepairReport, _Mapping]] = ...) -> None: ...

class RepairReport(_message.Message):
    __slots__ = ("findings", "actions", "remaining", "quarantined", "dry_run")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    actions: _containers.RepeatedScalarFieldContainer[str]
    remaining: _containers.RepeatedCompositeFieldContainer[Finding]
    quarantined: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., actions: _Optional[_Iterable[str]] = ..., remaining: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., quarantined: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class AdoptRequest(_message.Message):
    __slots__ = ("id", "kind")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: Kind
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class AdoptResponse(_message.Message):
    __slots__ = ("memory", "assembly")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    assembly: Assembly
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., assembly: _Optional[_Union[Assembly, _Mapping]] = ...) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckpointResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SweepExpiredRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class SweepExpiredResponse(_message.Message):
    __slots__ = ("progress", "deleted")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    deleted: int
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., deleted: _Optional[int] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("stats_json", "opening_report")
    STATS_JSON_FIELD_NUMBER: _ClassVar[int]
    OPENING_REPORT_FIELD_NUMBER: _ClassVar[int]
    stats_json: bytes
    opening_report: RepairReport
    def __init__(self, stats_json: _Optional[bytes] = ..., opening_report: _Optional[_Union[RepairReport, _Mapping]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("type", "message", "hint", "path", "entity_id", "stored", "holder", "errno", "parked", "created_at")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    hint: str
    path: str
    entity_id: str
    stored: int
    holder: str
    errno: int
    parked: bool
    created_at: int
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., path: _Optional[str] = ..., entity_id: _Optional[str] = ..., stored: _Optional[int] = ..., holder: _Optional[str] = ..., errno: _Optional[int] = ..., parked: _Optional[bool] = ..., created_at: _Optional[int] = ...) -> None: ...
