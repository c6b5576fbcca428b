"""From a file of lines to answers, and back to the same bytes."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
from command_lines import ASSEMBLIES, FEW, FIXTURES, MEMORIES, SAMPLE, Called, Program, write_lines

from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.maintenance.configuration import load_configuration


def test_import_search_export_as_a_stranger_would(program: Program) -> None:
    script = [str(Path(sys.executable).with_name("synthians-memory"))]
    imported = program("--store", "demo", "import", SAMPLE, "--embed", command=script)
    assert imported.code == 0, imported
    assert (imported.json["imported"], imported.json["problem_count"]) == (478, 0)
    found = program("--store", "demo", "search", "when are annotations evaluated", command=script)
    assert found.code == 0
    assert found.json["hits"][0]["metadata"]["title"] == "Postponed Evaluation of Annotations"
    assert (imported.err, found.err) == ("", "")


def test_export_import_export_gives_the_same_bytes(program: Program, sample_store: Path) -> None:
    first = program("--store", sample_store, "export")
    assert first.code == 0
    copied = program("--store", "copy", "import", "-", given=first.out.encode())
    assert (copied.code, copied.json["imported"]) == (0, len(FEW))
    assert program("--store", "copy", "export").out == first.out
    ids = [(line["kind"] == "assembly", line.get("memory_id") or line["assembly_id"]) for line in first.lines]
    assert ids == sorted(ids)


def test_export_to_a_compressed_file(call: Called, store: Path, tmp_path: Path) -> None:
    plain = call("export").out
    target = tmp_path / "all.jsonl.gz"
    report = call("export", target)
    counts = {"memories": MEMORIES, "assemblies": ASSEMBLIES, "damaged": 0, "expired_left_out": 0}
    assert report.json == {"file": str(target), **counts}
    assert gzip.decompress(target.read_bytes()).decode() == plain
    copy = call.on(tmp_path / "copy")
    assert copy("import", target).json["imported"] == len(FEW)
    assert copy("export").out == plain


def test_importing_again_stores_nothing_twice(call: Called, store: Path) -> None:
    again = call("import", "-", "--embed", given=b"\n".join(FEW))
    assert (again.code, again.json["imported"], again.json["skipped"]) == (0, 0, len(FEW))


def test_titles_find_their_assembly(call: Called) -> None:
    assert call("import", SAMPLE, "--embed").code == 0
    queries = [json.loads(line) for line in (FIXTURES / "peps_sample_queries.jsonl").read_text().splitlines()][1::6]
    for query in queries:
        hits = call("search", query["query"]).json["hits"]
        assert query["assembly_id"] in {hit["metadata"]["assembly_id"] for hit in hits}


def test_conditions_are_json_or_text(call: Called, store: Path) -> None:
    for condition in (
        "pep=563",
        "title=Postponed Evaluation of Annotations",
        'title="Postponed Evaluation of Annotations"',
    ):
        hits = call("search", "zen", "-k", 100, "--where", condition).json["hits"]
        assert hits
        assert {hit["metadata"]["pep"] for hit in hits} == {563}
    both = call("search", "zen", "--where", "pep=563", "--where", "section=Abstract").json["hits"]
    assert {hit["metadata"]["section"] for hit in both} == {"Abstract"}
    assert call("search", "zen", "--where", 'pep="563"').json["hits"] == []


def test_search_by_a_vector_of_ones_own(call: Called, tmp_path: Path) -> None:
    lines = [
        {"id": "east", "content": "east", "embedding": [1, 0]},
        {"id": "north", "content": "north", "embedding": [0, 1]},
        {"assembly_id": "all", "name": "All", "members": ["east", "north"], "composite_embedding": [0.7, 0.7]},
    ]
    assert call("import", write_lines(tmp_path / "lines.jsonl", lines)).code == 0
    query = tmp_path / "query.json"
    query.write_text("[0.9, 0.1]")
    hits = call("search", "--vector", query).json["hits"]
    assert [hit["id"] for hit in hits] == ["east", "north"]
    assert hits[0] == {"id": "east", "score": hits[0]["score"], "kind": "memory", "content": "east", "metadata": {}}
    assemblies = call("search", "--vector", query, "--assemblies").json["hits"]
    assert [(hit["id"], hit["kind"], hit["name"]) for hit in assemblies] == [("all", "assembly", "All")]


def test_a_copy_is_searched_with_the_embedder_that_is_named(call: Called, store: Path, tmp_path: Path) -> None:
    exported = call("export").out
    copy = call.on(tmp_path / "copy")
    copy("import", "-", given=exported.encode())
    copy("search", "zen").failed(2, "names no embedder", "--embedder NAME")
    assert copy("search", "zen", "--embedder", "default").json == call("search", "zen").json


def test_nothing_to_find_says_why(call: Called, store: Path) -> None:
    outcome = call("search", "zen", "--assemblies")
    assert (outcome.code, outcome.json) == (0, {"hits": []})
    assert "No assembly in the store has a vector" in outcome.err


def test_get_gives_the_line_of_export(call: Called, store: Path) -> None:
    exported = call("export").out.splitlines()
    assert call("get", "pep-0020-001").out.rstrip("\n") in exported
    assert call("get", "pep-0020", "--assembly").out.rstrip("\n") in exported


def test_list_gives_every_id_in_order(call: Called, store: Path) -> None:
    memories = [line["id"] for line in call("list").lines]
    assert len(memories) == MEMORIES
    assert memories == sorted(memories)
    assert [line["id"] for line in call("list", "--limit", 3).lines] == memories[:3]
    zen = call("list", "--assemblies", "--limit", 1).lines[0]
    assert (zen["id"], zen["name"], zen["members"]) == ("pep-0020", "The Zen of Python", 2)


def test_delete_takes_what_is_there_and_names_the_rest(call: Called, store: Path) -> None:
    outcome = call("delete", "pep-0020-000", "nowhere", "pep-0020-000")
    outcome.failed(3, "no memory 'nowhere'", "`list` shows")
    assert outcome.json == {"kind": "memory", "deleted": ["pep-0020-000"], "missing": ["nowhere"]}
    call("get", "pep-0020-000").failed(3, "no memory 'pep-0020-000'")
    assert call("delete", "pep-0020", "pep-0257", "--assembly").code == 0
    assert call("stats").json["assemblies"] == ASSEMBLIES - 2
    assert call("get", "pep-0020-001").code == 0


def test_ids_may_begin_with_a_dash(call: Called, tmp_path: Path) -> None:
    call("import", write_lines(tmp_path / "lines.jsonl", [{"id": "-k", "content": "x"}]))
    assert call("get", "--", "-k").json["memory_id"] == "-k"
    assert call("delete", "--", "-k").json["deleted"] == ["-k"]


def test_init_fixes_what_is_wanted_and_is_idempotent(call: Called) -> None:
    first = call("init", "--dimension", 3, "--metric", "ip")
    assert first.code == 0
    assert (first.json["created"], first.json["embedding_dimension"], first.json["metric"]) == (True, 3, "ip")
    again = call("init", "--dimension", 3)
    assert (again.code, again.json["created"], again.json["store_id"]) == (0, False, first.json["store_id"])
    call("init", "--dimension", 4).failed(2, "3 numbers, not 4", "--dimension")
    call("init", "--metric", "l2").failed(2, "ip, not l2")


def test_init_records_the_embedder(call: Called) -> None:
    made = call("init", "--embedder", "default").json
    assert (made["embedder"], made["embedding_dimension"]) == ("wordllama:l2_supercat_256", 256)


def test_init_refuses_to_promise_what_the_store_does_not_hold(call: Called) -> None:
    call("init")
    call("init", "--dimension", 3).failed(2, "exists, and its embedding_dimension is None, not 3")


async def test_a_command_searches_exactly_and_trains_nothing(store: Path) -> None:
    async with Place(load_configuration(store, {}, {"exact_below": 256, "target_recall": 0.9})).reading() as opened:
        assert opened.config.target_recall == 1
        await opened.search(np.ones(256))
        assert opened.stats()["vector_search"] == {"index": "exact", "training": False}


def test_stats_and_checkpoint(call: Called, store: Path) -> None:
    stats = call("stats").json
    assert (stats["memories"], stats["assemblies"], stats["embedding_dimension"]) == (MEMORIES, ASSEMBLIES, 256)
    assert call("checkpoint").json["memories"] == MEMORIES


def test_text_is_utf_8_whatever_the_locale_says(program: Program) -> None:
    program.environment |= {"PYTHONIOENCODING": "ascii"}
    line = json.dumps({"id": "ä", "content": "größer ∞"}, ensure_ascii=False).encode()
    assert program("--store", "s", "import", "-", given=line).code == 0
    assert program("--store", "s", "get", "ä").json["content"] == "größer ∞"


def test_version(program: Program) -> None:
    outcome = program("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("synthians-memory ")


def test_completion_script_and_its_answers(program: Program) -> None:
    program.environment |= {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = program("--show-completion", "bash")
    assert script.code == 0
    assert "_SYNTHIANS_MEMORY_COMPLETE" in script.out
    asked = {"_SYNTHIANS_MEMORY_COMPLETE": "complete_bash", "COMP_WORDS": "synthians-memory ch", "COMP_CWORD": "1"}
    program.environment |= asked
    assert program().out.split() == ["check", "checkpoint"]
