"""The default embedder with its real weights: sensible, the same each time, quiet, and without a network."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from synthians_memory import Embedder
from synthians_memory.embedding import WordLlamaEmbedder, wordllama
from synthians_memory.errors import InvalidTypeError, InvalidValueError, MissingExtraError, UsageError

# Every way out raises: name look-ups, connections of Python, and what a library would use as a proxy.
OFFLINE = """
import sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        raise SystemExit(f"network: {event} {arguments}")
sys.addaudithook(refuse)
"""
NOWHERE = "http://127.0.0.1:9"


def run(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a fresh interpreter: warnings are errors, no home to find anything in, no network."""
    closed = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE + script],
        env={**kept, **closed, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def embedder() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


def nearness(embedder: Embedder, one: str, other: str) -> float:
    a, b = embedder.embed([one, other])
    return float(a @ b)


def test_it_is_an_embedder_of_known_name_and_dimension(embedder: WordLlamaEmbedder) -> None:
    assert isinstance(embedder, Embedder)
    assert (embedder.name, embedder.dimension) == ("wordllama:l2_supercat_256", 256)


def test_rows_are_float32_of_length_one(embedder: WordLlamaEmbedder) -> None:
    rows = embedder.embed(["one text", "another", "日本語", "🦀 crab"])
    assert (rows.shape, rows.dtype) == ((4, 256), np.float32)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("texts", [[], ()])
def test_no_texts_give_no_rows(embedder: WordLlamaEmbedder, texts: list[str]) -> None:
    rows = embedder.embed(texts)
    assert (rows.shape, rows.dtype) == ((0, 256), np.float32)


def test_an_empty_text_gives_zeros(embedder: WordLlamaEmbedder) -> None:
    rows = embedder.embed(["", "word"])
    assert not rows[0].any()
    assert rows[1].any()


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("The cat sleeps on the sofa.", "A kitten naps on the couch.", "The central bank raised interest rates."),
        ("How do I bake bread?", "A recipe for a loaf with flour and yeast", "Configure the firewall of a router"),
        ("The train to Berlin is late", "Rail services are delayed", "She paints watercolours of flowers"),
        ("Merge two Python dictionaries", "The dict method update() takes another dict", "He caught a large trout"),
    ],
)
def test_related_texts_are_nearer_than_unrelated(embedder: WordLlamaEmbedder, text: str, near: str, far: str) -> None:
    assert nearness(embedder, text, near) > nearness(embedder, text, far) + 0.05


def test_another_embedder_gives_the_same_bytes(embedder: WordLlamaEmbedder) -> None:
    texts = ["Beautiful is better than ugly.", "Explicit is better than implicit."]
    assert WordLlamaEmbedder().embed(texts).tobytes() == embedder.embed(texts).tobytes()


def test_a_row_does_not_depend_on_its_neighbours(embedder: WordLlamaEmbedder) -> None:
    texts = [f"text number {n} " * (1 + n % 7) for n in range(150)] + ["long " * 3000, ""]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert embedder.embed(texts).tobytes() == alone.tobytes()


def test_it_is_what_wordllama_itself_says(embedder: WordLlamaEmbedder) -> None:
    texts = ["Beautiful is better than ugly.", "def f(x):\n    return x", "a longer text than 4096 tokens " * 1000]
    model = wordllama._load(sys.modules["wordllama"])
    rows = embedder.embed(texts)
    assert all(np.allclose(row, model.embed(text, norm=True), atol=1e-5) for row, text in zip(rows, texts, strict=True))


def test_many_threads_may_use_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = wordllama._load
    monkeypatch.setattr(wordllama, "_load", lambda library: loads.append(1) or load(library))  # type: ignore[func-returns-value]
    fresh = WordLlamaEmbedder()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: fresh.embed([f"text {n % 2}"]).tobytes(), range(64)))
    assert len(loads) == 1
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ("a text", InvalidTypeError, "list of strings"),
        (["a", 1], InvalidTypeError, r"texts\[1\]"),
        (["a", "\ud800"], InvalidValueError, r"texts\[1\] has a lone surrogate"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(
    embedder: WordLlamaEmbedder, texts: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        embedder.embed(texts)


# Alone on a machine


def test_it_needs_no_network_and_no_home_and_says_nothing(tmp_path: Path) -> None:
    script = """
from synthians_memory.embedding import open_embedder
print(open_embedder().embed(["one", "two"]).shape)
"""
    result = run(script, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "(2, 256)\n", "")
    assert not list(tmp_path.iterdir())


def test_the_guard_of_these_tests_does_stop_the_network(tmp_path: Path) -> None:
    result = run("import urllib.request; urllib.request.urlopen('http://localhost:9/')", tmp_path)
    assert "network: socket." in result.stderr


def test_importing_the_package_loads_no_model_library(tmp_path: Path) -> None:
    heavy = "{'wordllama', 'tokenizers', 'safetensors', 'requests', 'sentence_transformers', 'torch'}"
    result = run(f"import synthians_memory.embedding; print({heavy} & set(sys.modules))", tmp_path)
    assert result.stdout == "set()\n"


def test_logging_stays_the_business_of_the_program(tmp_path: Path) -> None:
    script = """
import logging
from synthians_memory.embedding import WordLlamaEmbedder
logging.getLogger().setLevel(logging.ERROR)
WordLlamaEmbedder().embed(["x"])
print(logging.getLogger().handlers, logging.getLogger().level == logging.ERROR)
"""
    assert run(script, tmp_path).stdout == "[] True\n"


def test_a_handler_of_the_program_stays() -> None:
    root = logging.getLogger()
    handler = logging.NullHandler()
    root.addHandler(handler)
    try:
        WordLlamaEmbedder()
        assert handler in root.handlers
    finally:
        root.removeHandler(handler)


# Not installed, or not whole


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r'pip install "synthians-memory\[embed\]"') as raised:
        WordLlamaEmbedder()
    assert isinstance(raised.value, UsageError)
    assert isinstance(raised.value.__cause__, ImportError)


def copy_without_tokenizer(target: Path) -> None:
    """The installed library as links, all but its tokenizer."""
    spec = find_spec("wordllama")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0])
    for path in source.rglob("*"):
        if path.is_file() and path.suffix not in {".json", ".pyc"}:
            link = target / "wordllama" / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def test_a_library_without_its_files_is_reported_and_nothing_is_fetched(tmp_path: Path) -> None:
    copy_without_tokenizer(tmp_path / "site")
    script = """
from synthians_memory.embedding import WordLlamaEmbedder
from synthians_memory.errors import MissingExtraError
embedder = WordLlamaEmbedder()
try:
    embedder.embed(["x"])
except MissingExtraError as error:
    print(error)
"""
    result = run(script, tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert "comes without its weights or tokenizer" in result.stdout
    assert "pip install" in result.stdout
    assert result.stderr == ""
