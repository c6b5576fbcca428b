"""The budget of an assembled context holds for whatever the tiers say and however tokens are counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tier_samples import Row, Told, written_tokenizer

from synthians_memory.errors import DiskError, InvalidTypeError, InvalidValueError, MissingExtraError
from synthians_memory.tiers.context import TIERS, AssembledContext, assemble_context
from synthians_memory.tiers.records import Event
from synthians_memory.tiers.tokens import TokenizerFile, estimate_tokens, open_tokenizer

EMOJIS = "👩‍👩‍👧‍👦🏳️‍🌈🧑🏽‍🚀" * 40
texts = st.one_of(
    st.text(max_size=400),
    st.sampled_from(["", " ", "\n", EMOJIS, "x" * 1_000_000, "é" * 3000, "no space " * 200]),
)
rows = st.lists(
    st.builds(
        Row,
        text=texts,
        id=st.sampled_from(["1", "2", "3", "4"]),
        kind=st.sampled_from(["decision", "goal", "incident"]),
        relevance=st.floats(0, 1),
    ),
    max_size=9,
)
budgets = st.one_of(st.sampled_from([0, 1, 2, 10**9]), st.integers(0, 3000))


def words(text: str) -> int:
    return len(text.split())


def squares(text: str) -> int:
    # Not additive, and a longer text may count fewer.
    return (len(text) * len(text)) % 997


def nothing(text: str) -> int:
    return 0


def one_each(text: str) -> int:
    return 1


COUNTERS: list[Callable[[str], int]] = [estimate_tokens, len, words, squares, nothing, one_each]


def holds(context: AssembledContext, count: Callable[[str], int]) -> None:
    assert context.total_tokens == sum(chunk.tokens for chunk in context.chunks) <= context.max_tokens
    assert [chunk.tokens for chunk in context.chunks] == [count(chunk.content) for chunk in context.chunks]
    sources = [chunk.source for chunk in context.chunks]
    assert sources == sorted(sources, key=TIERS.index)
    assert all(sources.count(name) <= most for name, most in zip(TIERS, (1, 5, 3, 2), strict=True))
    assert len({chunk.id for chunk in context.chunks}) == len(context.chunks)
    assert len({chunk.content for chunk in context.chunks}) == len(context.chunks)
    assert all(chunk.content for chunk in context.chunks)


def filled(told: Told, events: list[str]) -> None:
    for number, text in enumerate(events):
        told.operational.push(Event(category="c", source="s", data={"text": text}, critical=number % 3 == 0))
        told.operational.update_metric(f"m{number}", number)
        told.operational.start_task(f"t{number}", text)


@given(rows, rows, rows, st.lists(texts, max_size=5), budgets, st.sampled_from(COUNTERS))
async def test_whatever_the_tiers_say_the_budget_holds(
    working: list[Row],
    longterm: list[Row],
    knowledge: list[Row],
    events: list[str],
    budget: int,
    count: Callable[[str], int],
) -> None:
    told = Told(working, longterm, knowledge)
    filled(told, events)
    context = await assemble_context(told.sources, "a task", budget, count_tokens=count)
    holds(context, count)
    again = await assemble_context(told.sources, "a task", budget, count_tokens=count)
    assert again == context


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TokenizerFile:
    return TokenizerFile(written_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


@given(rows, rows, st.lists(texts, max_size=3), budgets)
async def test_it_holds_with_the_tokenizer_of_a_model(
    tokenizer: TokenizerFile, working: list[Row], longterm: list[Row], events: list[str], budget: int
) -> None:
    short = [Row(row.text[:20_000], row.id, row.kind) for row in working]
    told = Told(short, [Row(row.text[:20_000], row.id, row.kind) for row in longterm])
    filled(told, events)
    holds(await assemble_context(told.sources, "a task", budget, count_tokens=tokenizer), tokenizer)


@pytest.mark.parametrize("count", [estimate_tokens, len])
async def test_every_budget_is_used_as_far_as_something_fits(count: Callable[[str], int]) -> None:
    told = Told([Row("a" * n, str(n)) for n in (40, 30, 20, 10, 4)])
    for budget in range(60):
        context = await assemble_context(told.sources, "t", budget, ["working"], count_tokens=count)
        holds(context, count)
        taken = {chunk.content for chunk in context.chunks}
        left = budget - context.total_tokens
        assert all(count(row.text) > left for row in told.working if row.text not in taken)


async def test_what_does_not_fit_is_skipped_and_smaller_ones_behind_it_enter() -> None:
    told = Told(
        [Row("a" * 400, "big"), Row("b" * 40, "small")], [Row("c" * 400, "big2", "incident"), Row("d" * 8, "s2")]
    )
    context = await assemble_context(told.sources, "t", 12, ["working", "longterm"])
    assert [chunk.id for chunk in context.chunks] == ["decision:small", "decision:s2"]
    assert context.total_tokens == 12


async def test_the_state_takes_about_500_and_is_cut_to_fit() -> None:
    told = Told([Row("w" * 40)])
    filled(told, ["something happened " * 20] * 60)
    sizes = []
    for budget in (10_000, 400, 100, 30, 3, 1):
        (state, *rest) = (await assemble_context(told.sources, "t", budget)).chunks
        assert (state.source, state.relevance, state.id) == ("operational", 1.0, "operational")
        assert "System state at 2023-11-14T22:13:20Z: 60 events".startswith(state.content[:40])
        sizes.append(state.tokens)
        assert bool(rest) is (budget - state.tokens >= 10)
    assert 430 <= sizes[0] <= 500
    assert all(size <= budget for size, budget in zip(sizes[1:], (400, 100, 30, 3, 1), strict=True))
    assert sizes[-2:] == [3, 1]


async def test_a_row_that_two_tiers_have_comes_once_and_others_take_its_place() -> None:
    told = Told(
        [Row("use tea", "7"), Row("same words", "8", "goal")],
        [Row("use tea (longer)", "7"), Row("same words", "9"), *(Row(f"r{n}", f"1{n}", "incident") for n in range(5))],
    )
    context = await assemble_context(told.sources, "t", tiers=["longterm", "working"])
    assert [chunk.id for chunk in context.chunks] == [
        "decision:7",
        "goal:8",
        "incident:10",
        "incident:11",
        "incident:12",
    ]


async def test_a_row_that_did_not_fit_in_one_tier_may_enter_from_another() -> None:
    told = Told([Row("u" * 400, "7")], [Row("use tea", "7")])
    context = await assemble_context(told.sources, "t", 20, ["longterm", "working"])
    assert [(chunk.source, chunk.id) for chunk in context.chunks] == [("longterm", "decision:7")]


async def test_only_the_tiers_that_are_named_are_asked() -> None:
    told = Told()
    for tiers in (["operational"], [], ["long_term"], ("knowledge", "working"), {"longterm": 1}):
        await assemble_context(told.sources, "t", tiers=tiers)
    assert told.asked == ["longterm", "working 5", "knowledge 2", "longterm"]


@pytest.mark.parametrize("count", COUNTERS)
@pytest.mark.parametrize("tiers", list(itertools.permutations(TIERS, 2)))
async def test_the_order_of_the_tiers_does_not_depend_on_how_they_are_named(
    tiers: tuple[str, str], count: Callable[[str], int]
) -> None:
    told = Told([Row("w")], [Row("l", "2")], [Row("k", "1", "knowledge")])
    context = await assemble_context(told.sources, "t", tiers=tiers, count_tokens=count)
    assert [chunk.source for chunk in context.chunks] == sorted(tiers, key=TIERS.index)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_tokens": -1}, InvalidValueError),
        ({"max_tokens": 1.5}, InvalidTypeError),
        ({"max_tokens": True}, InvalidTypeError),
        ({"max_tokens": None}, InvalidTypeError),
        ({"tiers": ["working", "longtime"]}, InvalidValueError),
        ({"tiers": [None]}, InvalidValueError),
        ({"tiers": [["working"]]}, InvalidValueError),
        ({"tiers": "working"}, InvalidTypeError),
        ({"tiers": None}, InvalidTypeError),
        ({"task": None}, InvalidTypeError),
        ({"task": "\ud800"}, InvalidValueError),
        ({"count_tokens": None}, InvalidTypeError),
        ({"count_tokens": lambda text: 1.0}, InvalidTypeError),
        ({"count_tokens": lambda text: True}, InvalidTypeError),
        ({"count_tokens": lambda text: -1}, InvalidValueError),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: dict[str, object], error: type[Exception]) -> None:
    given_arguments = {"task": "t", **arguments}
    with pytest.raises(error):
        await assemble_context(Told().sources, **given_arguments)  # type: ignore[arg-type]


# Counting


@given(st.text())
def test_the_estimate_is_a_quarter_of_the_bytes_rounded_up(text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    assert estimate_tokens(text) * 4 - 3 <= size <= estimate_tokens(text) * 4


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("👍", 1), ("é" * 3, 2)])
def test_the_estimate_of_a_few(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_a_tokenizer_counts_all_of_a_text_and_nothing_around_it(tokenizer: TokenizerFile) -> None:
    assert tokenizer("") == 0
    assert tokenizer("zzzz") == 4
    assert tokenizer("zzzz" * 1000) == 4000
    assert tokenizer("the the") < len("the the")
    assert tokenizer("z\ud800") == tokenizer("z?")


async def test_a_tokenizer_is_opened_off_the_loop(tmp_path: Path) -> None:
    counter = await open_tokenizer(written_tokenizer(tmp_path / "tokenizer.json"))
    assert counter("zz") == 2


def test_files_that_describe_no_tokenizer_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"model": 1}', encoding="utf-8")
    with pytest.raises(InvalidValueError, match=r"bad\.json describes no tokenizer"):
        TokenizerFile(tmp_path / "bad.json")
    with pytest.raises(DiskError, match=r"missing\.json"):
        TokenizerFile(tmp_path / "missing.json")
    with pytest.raises(DiskError):
        TokenizerFile(tmp_path)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        TokenizerFile(tmp_path / "tokenizer.json")
