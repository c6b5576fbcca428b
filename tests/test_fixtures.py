"""The sample data in storage_fixtures/ are whole: what README and examples import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parent.parent / "storage_fixtures"


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()]


def test_the_sample_is_whole() -> None:
    sample = lines("peps_sample.jsonl")
    memories = {line["id"]: line for line in sample if line["kind"] == "memory"}
    assemblies = {line["assembly_id"]: line for line in sample if line["kind"] == "assembly"}
    assert (len(memories), len(assemblies), len(sample)) == (458, 20, 478)
    members = [member for assembly in assemblies.values() for member in assembly["members"]]
    assert sorted(members) == sorted(memories)
    assert all(memories[member]["assembly_id"] in assemblies for member in members)


def test_every_query_has_its_assembly() -> None:
    assemblies = {
        line["assembly_id"]: line["name"] for line in lines("peps_sample.jsonl") if line["kind"] == "assembly"
    }
    assert {line["assembly_id"]: line["query"] for line in lines("peps_sample_queries.jsonl")} == assemblies
