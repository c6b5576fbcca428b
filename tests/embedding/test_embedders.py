"""open_embedder, functions as embedders, and models of a library that need not be there."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from synthians_memory import Embedder
from synthians_memory.embedding import (
    CallableEmbedder,
    SentenceTransformersEmbedder,
    WordLlamaEmbedder,
    open_embedder,
)
from synthians_memory.errors import InvalidTypeError, InvalidValueError, MissingExtraError

# Has the one class and the arguments of the library that are used; rows of its own kind tell who made them.
STAND_IN = """
import numpy as np
class SentenceTransformer:
    def __init__(self, model, device=None):
        if model == "missing":
            raise OSError("no such model")
        self.model, self.device = model, device
    def encode(self, texts, *, normalize_embeddings, show_progress_bar):
        assert isinstance(texts, list) and normalize_embeddings and not show_progress_bar
        return np.array([[len(text), len(self.model), 1] for text in texts], dtype=np.float64)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sentence_transformers.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)


# By name


@pytest.mark.parametrize("name", [None, "wordllama", "wordllama:l2_supercat_256"])
def test_the_default_has_three_names(name: str | None) -> None:
    embedder = open_embedder(name)
    assert isinstance(embedder, WordLlamaEmbedder)
    assert open_embedder(embedder.name).name == embedder.name


@pytest.mark.parametrize("name", ["wordllama:l3_supercat_1024", "WordLlama", "openai:small", "sentence-transformers"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"wordllama:l2_supercat_256.*sentence-transformers:MODEL") as raised:
        open_embedder(name)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize(("name", "kind"), [("", InvalidValueError), (5, InvalidTypeError)])
def test_what_is_no_name_is_refused(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="wordllama:l2_supercat_256"):
        open_embedder(name)


# sentence-transformers


@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match="pip install sentence-transformers"):
        open_embedder("sentence-transformers:all-MiniLM-L6-v2")


@pytest.mark.usefixtures("stand_in")
def test_a_model_of_the_library_is_an_embedder() -> None:
    embedder = open_embedder("sentence-transformers:mini")
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dimension) == ("sentence-transformers:mini", 3)
    rows = embedder.embed(("ab", ""))
    assert (rows.dtype, rows.tolist()) == (np.float32, [[2, 4, 1], [0, 4, 1]])
    assert embedder.embed([]).shape == (0, 3)


@pytest.mark.usefixtures("stand_in")
def test_options_reach_the_library() -> None:
    assert SentenceTransformersEmbedder("mini", device="cpu")._model.device == "cpu"


@pytest.mark.usefixtures("stand_in")
def test_a_model_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(InvalidValueError, match=r"'missing' cannot be loaded: no such model\. Check its name"):
        open_embedder("sentence-transformers:missing")


def test_a_model_needs_a_name() -> None:
    with pytest.raises(InvalidValueError, match="all-MiniLM"):
        open_embedder("sentence-transformers:")


# Functions


def lengths(texts: list[str]) -> list[list[int]]:
    return [[len(text), 1] for text in texts]


def test_a_function_is_an_embedder() -> None:
    embedder = CallableEmbedder("lengths:1", 2, lengths)
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dimension) == ("lengths:1", 2)
    rows = embedder.embed(("ab", ""))
    assert (rows.dtype, rows.tolist()) == (np.float32, [[2, 1], [0, 1]])


def test_it_is_not_called_for_no_texts() -> None:
    def explode(texts: list[str]) -> list[list[int]]:
        raise AssertionError(texts)

    assert CallableEmbedder("x", 2, explode).embed([]).shape == (0, 2)


def test_it_is_called_by_one_thread_at_a_time() -> None:
    inside = threading.Semaphore(1)

    def alone(texts: list[str]) -> list[list[int]]:
        assert inside.acquire(blocking=False)
        rows = lengths(texts * 2000)
        inside.release()
        return rows[: len(texts)]

    embedder = CallableEmbedder("alone", 2, alone)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(embedder.embed, [["a"]] * 100))) == 100


def test_its_own_error_passes_through() -> None:
    def fail(texts: list[str]) -> list[list[int]]:
        raise LookupError(texts[0])

    with pytest.raises(LookupError, match="a"):
        CallableEmbedder("x", 2, fail).embed(["a"])


async def in_the_loop(texts: list[str]) -> list[list[int]]:
    return lengths(texts)


@pytest.mark.parametrize(
    ("name", "dimension", "function", "message"),
    [
        ("", 2, lengths, "name"),
        (3, 2, lengths, "name"),
        ("x", 0, lengths, "dimension"),
        ("x", True, lengths, "dimension"),
        ("x", 2.0, lengths, "dimension"),
        ("x", 2, "lengths", "function"),
        ("x", 2, in_the_loop, "Await"),
    ],
)
def test_what_cannot_work_is_refused_at_once(name: str, dimension: int, function: object, message: str) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        CallableEmbedder(name, dimension, function)  # type: ignore[arg-type]
