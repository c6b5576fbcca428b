"""remember and recall: what was said is found again, by words and by vectors, and shown with its words highlighted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_lines import MEMORIES, Called, Program, write_lines

from synthians_memory.engine.text_marks import matched_spans

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIGHLIGHTED = re.compile(r"\x1b\[1;33m(.+?)\x1b\[0m")


def files_of(store: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


# remember


def test_what_is_remembered_is_recalled(call: Called, store: Path) -> None:
    options = ["--tag", "todo", "--tag", "shop", "--importance", 0.9, "--metadata", "n=4", "--metadata", "of=Ada"]
    remembered = call("remember", "buy", "oat milk", *options)
    assert (remembered.code, remembered.err, remembered.json["embedded"]) == (0, "", True)
    (hit,) = call("recall", "who buys milks", "-k", 1).json["hits"]
    assert (hit["id"], hit["content"], hit["mode"]) == (remembered.json["id"], "buy oat milk", "hybrid")
    assert (hit["tags"], hit["metadata"]) == (["todo", "shop"], {"n": 4, "of": "Ada"})
    assert hit["parts"]["importance"] == 0.9
    assert hit["parts"]["vector"] > 0
    assert call("check").json["clean"]


def test_a_text_from_standard_input(call: Called, store: Path) -> None:
    remembered = call("remember", "-", given="Zeile eins\nZeile zwei: Öl\n\n".encode())
    assert call("get", remembered.json["id"]).json["content"] == "Zeile eins\nZeile zwei: Öl"
    call("remember", "-", given=b"\xff").failed(2, "no UTF-8 text", "UTF-8")


def test_without_an_embedder_it_is_saved_and_says_so(call: Called) -> None:
    remembered = call("remember", "hello world")
    assert (remembered.code, remembered.json["embedded"]) == (0, False)
    assert "Saved without an embedding, since the store names no embedder" in remembered.err
    assert "`reembed` gives everything one" in remembered.err
    found = call("recall", "hello")
    assert [(hit["content"], hit["mode"]) for hit in found.json["hits"]] == [("hello world", "text")]
    assert "by words alone" in found.err
    assert call("recall", "hello", "--mode", "text").err == ""
    call("recall", "hello", "--mode", "vector").failed(2, "names no embedder", "--embedder NAME")


@pytest.mark.parametrize("text", ["", "  "])
def test_without_a_word_neither_recall_nor_search_asks(text: str, call: Called, store: Path) -> None:
    for command in ("recall", "search"):
        call(command, text).failed(2, "the text is empty", "some words")


def test_the_embedder_that_is_named_is_the_store_s_from_then_on(call: Called) -> None:
    assert call("remember", "hello world", "--embedder", "default").json["embedded"]
    assert call("remember", "good morning").json["embedded"]
    assert len(call("recall", "greeting", "--mode", "vector").json["hits"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remember", " "], "the text is empty"),
        (["remember", "x", "--metadata", "topic"], "--metadata 'topic' is no KEY=VALUE"),
        (["remember", "x", "--metadata", "a=1", "--metadata", "a=2"], "'a' twice"),
        (["remember", "x", "--importance", 2], "--importance"),
        (["recall", "x", "--mode", "magic"], "--mode"),
        (["recall", "x", "-k", 0], "-k"),
        (["recall", "x", "--where", '{"n": 3'], "begins like JSON and is none"),
        (["recall", "x", "--where", '{"n": {"$near": 3}}'], "unknown operator '$near'"),
        (["recall"], "Missing argument"),
    ],
)
def test_what_cannot_be(arguments: list[object], message: str, call: Called, store: Path) -> None:
    call(*arguments).failed(2, message)
    assert call("stats").json["memories"] == MEMORIES


def test_there_is_nothing_to_recall_where_there_is_no_store(call: Called) -> None:
    call("recall", "x").failed(3, "holds no store", "init")
    assert not call.store.exists()


# recall


def test_modes_and_scores(call: Called, store: Path) -> None:
    for mode in ("hybrid", "text", "vector"):
        hits = call("recall", "when are annotations evaluated", "--mode", mode).json["hits"]
        assert hits[0]["metadata"]["pep"] == 563
        assert {hit["mode"] for hit in hits} == {mode}
        least = hits[2]["score"]
        again = call("recall", "when are annotations evaluated", "--mode", mode, "--min-score", least).json["hits"]
        assert [hit["id"] for hit in again] == [hit["id"] for hit in hits if hit["score"] >= least]


def test_any_text_is_a_question(call: Called, store: Path) -> None:
    for text in ('"', "AND OR NOT", "a:b (", "*", "x' --", "\N{SNOWMAN}", '"complex is better'):
        assert call("recall", "--", text).code == 0
    (hit,) = call("recall", '"Beautiful is better than ugly"', "--mode", "text", "-k", 1).json["hits"]
    assert hit["id"] == "pep-0020-001"


@pytest.mark.parametrize("command", ["search", "recall"])
def test_filters_are_pairs_or_json(command: str, call: Called, store: Path) -> None:
    for written in (
        ["pep=563"],
        ['pep={"$gt": 300}'],
        ['{"pep": {"$gt": 300}}'],
        ['{"$or": [{"pep": 563}, {"pep": 1}]}'],
        ['{"pep": {"$gt": 1}}', '{"pep": {"$gt": 300}}', "pep=563"],
    ):
        options = [part for text in written for part in ("--where", text)]
        hits = call(command, "docstring", *options).json["hits"]
        assert len(hits) == 10
        assert {hit["metadata"]["pep"] for hit in hits} == {563}


def test_time_is_limited(call: Called, store: Path) -> None:
    call("recall", "zen", "--timeout", 0).failed(124, "no answer within", "--timeout")


@pytest.mark.parametrize("name", ["ask", "find", "query"])
def test_other_names_of_recall(name: str, call: Called, store: Path) -> None:
    found, expected = (call(word, "better", "--where", "pep=20").json["hits"] for word in (name, "recall"))
    assert [(hit["id"], hit["score"]) for hit in found] == [(hit["id"], hit["score"]) for hit in expected]
    assert expected[0]["id"] == "pep-0020-001"


@pytest.mark.parametrize("name", ["add", "note", "save"])
def test_other_names_of_remember(name: str, call: Called, store: Path) -> None:
    assert call("get", call(name, "something").json["id"]).json["content"] == "something"


# The text index


def test_recall_changes_nothing_and_finds_the_index_ready(call: Called, store: Path) -> None:
    before = files_of(store)
    assert any("text_index" in path.parts for path in before)
    assert call("recall", "zen", "--where", "pep=20").json["hits"]
    assert files_of(store) == before


def test_a_checkpoint_makes_the_index_that_is_missing(call: Called, store: Path) -> None:
    for path in (store / "text_index").iterdir():
        path.unlink()
    assert call("recall", "zen").json["hits"]
    assert not list((store / "text_index").iterdir())
    assert call("checkpoint").code == 0
    assert (store / "text_index" / "seal.json").exists()


# For people


def test_matches_are_highlighted(call: Called, store: Path) -> None:
    shown = call.on_terminal("recall", "when are annotations evaluated", "-k", 2).out
    marked = {word.lower() for word in HIGHLIGHTED.findall(shown)}
    assert {"annotations", "evaluated"} <= marked
    assert marked <= {"when", "are", "annotation", "annotations", "evaluation", "evaluated", "evaluate"}
    plain = ESCAPES.sub("", shown)
    assert re.search(r"^1 +[01]\.\d{3} +pep-0563-\d{3} +Postponed Evaluation of Annotations", plain, re.MULTILINE)
    assert max(map(len, plain.splitlines())) <= 100


def test_what_is_shown_is_what_matches(call: Called, tmp_path: Path) -> None:
    lines = [{"id": "long", "content": "before " * 200 + "the needle is here" + " after" * 200, "tags": ["hay"]}]
    call("import", write_lines(tmp_path / "lines.jsonl", lines))
    shown = call.on_terminal("recall", "needles").out
    assert HIGHLIGHTED.findall(shown) == ["needle"]
    assert re.search(r"… before", ESCAPES.sub("", shown))
    assert "#hay" in shown


def test_an_explanation_shows_the_parts(call: Called, store: Path) -> None:
    shown = ESCAPES.sub("", call.on_terminal("recall", "ugly", "-k", 1, "--explain").out)
    assert re.search(r"score +text +near +vector +recent +weight +memory", shown)
    assert re.search(r"^1 +\d\.\d{3} +\d+\.\d\d +\d+\.\d\d +-?\d\.\d{3} +0\.00 +0\.50 +pep-0020", shown, re.MULTILINE)
    assert "near" not in ESCAPES.sub("", call.on_terminal("recall", "zen", "-k", 1).out).splitlines()[0]


def test_people_are_told_the_id_and_of_nothing(call: Called, store: Path) -> None:
    told = ESCAPES.sub("", call.on_terminal("remember", "a thing").out)
    assert re.fullmatch(r"remembered as [0-9a-f-]{36}\n", told)
    assert call.on_terminal("recall", "qqq", "--mode", "text").out == "nothing found\n"


def test_content_cannot_steer_the_terminal(call: Called) -> None:
    call("remember", "needle \x1b[2J \x07 [bold]z[/bold]")
    shown = call.on_terminal("recall", "needle").out
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "[bold]z[/bold]" in shown


def test_recall_goes_beside_a_writer_and_remember_is_refused(program: Program, store: Path) -> None:
    writer = program.start("--store", store, "import", "-")
    assert writer.stdin is not None
    writer.stdin.write(json.dumps({"id": "x", "content": "x"}).encode() + b"\n")
    writer.stdin.flush()
    for _ in range(50):
        locked = program("--store", store, "remember", "y", "--json")
        if locked.code == 4:
            break
    locked.failed(4, "", "recall")
    assert program("--store", store, "recall", "zen").json["hits"]


# Where words stand


def test_spans_are_those_of_the_index() -> None:
    texts = ["Running, he RAN; runs", "naïve naive \0 nai\N{COMBINING DIAERESIS}ve", "nothing", "", "\U000f0000 run"]
    spans = matched_spans(texts, "run naive")
    words = [[text[start:end] for start, end in found] for text, found in zip(texts, spans, strict=True)]
    assert words == [["Running", "runs"], ["naïve", "naive", "nai\N{COMBINING DIAERESIS}ve"], [], [], ["run"]]
    assert matched_spans(texts, "?!") == [[]] * 5
    (phrase,) = matched_spans(["to be or not to be"], '"not to be" o*')
    assert ["to be or not to be"[start:end] for start, end in phrase] == ["or", "not to be"]


# replay


def test_what_was_parked_is_stored_once(call: Called, store: Path) -> None:
    parked = '{"kind":"memory","memory_id":"parked","content":"the parked cello"}\n'
    (store / "logs").mkdir()
    (store / "logs" / "fallback.jsonl").write_text(parked + "\n" * 100)
    assert call("replay").json == {"stored": ["parked"], "waiting": [], "unreadable": []}
    assert call("replay").json == {"stored": [], "waiting": [], "unreadable": []}
    assert call("get", "parked").json["content"] == "the parked cello"
    (store / "logs" / "fallback.jsonl").write_text("torn\n")
    told = call("replay")
    assert (told.code, told.json["unreadable"]) == (1, ["torn"])
    assert "stay in logs/fallback.jsonl" in told.err


# capture


def test_a_significant_exchange_is_captured(call: Called) -> None:
    captured = call("capture", "May we release?", "Approved, the rust bug is gone.")
    assert captured.json["captured"]
    entry = call("get", captured.json["id"]).json
    assert (entry["tags"], entry["quickrecal_score"]) == (["rust", "bug"], 0.95)
    assert call("capture", "How are you?", "Fine.").json == {"id": None, "captured": False}
    explicit = call("capture", "How are you?", "Fine.", "--importance", 0.3, "--tag", "chat").json["id"]
    assert call("get", explicit).json["tags"] == ["chat"]


def test_a_damaged_memory_is_told_and_not_shown(call: Called, store: Path) -> None:
    tea = call("remember", "Ada drinks tea").json["id"]
    file = store / "memories" / f"{tea}.json"
    file.write_text(file.read_text().replace("drinks", "DRINKS"))
    found = call("recall", "tea", "--mode", "text")
    assert (found.code, found.json["hits"]) == (5, [])
    assert f"damaged: memories/{tea}.json" in found.err
