"""What the memory of each kind of row says."""

from __future__ import annotations

import pytest

from synthians_memory.errors import InvalidTypeError, UsageError
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.records import Decision, Goal, Incident, Knowledge, Procedure

AT = 1_700_000_000


def test_each_kind_of_row_tells_what_it_is_about() -> None:
    decision = Decision(id="d", context="disk full", options=["a", "b"], chosen="a", reasoning="cheap", timestamp=AT)
    incident = Incident(id="i", description="down", symptoms=["slow", "red"], root_cause="cache", timestamp=AT)
    procedure = Procedure(id="p", name="deploy", description="ship it", steps=["build", {"run": 1}], created_at=AT)
    knowledge = Knowledge(id="k", title="Disks", content="They fill.", source="wiki", tags=("ops",), created_at=AT)
    told = [row_memory(record) for record in (decision, incident, procedure, knowledge)]
    assert [memory.memory_id for memory in told] == ["decisions-d", "incidents-i", "procedures-p", "knowledge-k"]
    assert [memory.text for memory in told] == [
        "disk full\nChosen: a\nReasoning: cheap",
        "down\nSymptoms: slow; red\nCause: cache",
        'deploy: ship it\nSteps: build; {"run":1}',
        "Disks\nThey fill.",
    ]
    assert {memory.created_at for memory in told} == {AT}
    assert told[0].metadata["intelligence_level"] == "operational"
    assert told[3].metadata["tags"] == ["ops"]


def test_a_record_without_an_id_or_a_collection_has_no_memory() -> None:
    with pytest.raises(UsageError):
        row_memory(Knowledge(title="", content=""))
    with pytest.raises(InvalidTypeError):
        row_memory(Goal(id="g", description=""))
