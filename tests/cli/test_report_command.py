"""The command report: the file it writes, and its exit codes."""

from __future__ import annotations

from pathlib import Path

from command_lines import MEMORIES, Called
from test_terminal import plain


def test_a_file(store: Path, call: Called, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    outcome = call("report", "--out", out)
    assert (outcome.code, outcome.json) == (0, {"file": str(out), "bytes": out.stat().st_size, "content": True})
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert f"{MEMORIES} memories with an embedding" in page
    assert "Beautiful is better than ugly" in page


def test_standard_output(store: Path, call: Called) -> None:
    outcome = call("report")
    assert outcome.code == 0
    assert outcome.out.startswith("<!DOCTYPE html>")
    assert outcome.out.endswith("</html>\n")


def test_no_content(store: Path, call: Called) -> None:
    outcome = call("report", "--no-content")
    assert "Beautiful" not in outcome.out
    assert "pep-0020-001" in outcome.out


def test_on_a_terminal(store: Path, call: Called, tmp_path: Path) -> None:
    shown = plain(call.on_terminal("report", "--out", tmp_path / "page.html").out)
    assert "bytes" in shown
    assert "gathering" in shown


def test_a_file_in_the_store(store: Path, call: Called) -> None:
    call("report", "--out", store / "page.html").failed(2, "lies in the store", "elsewhere")
    assert not (store / "page.html").exists()


def test_a_file_that_cannot_be_written(store: Path, call: Called, tmp_path: Path) -> None:
    call("report", "--out", tmp_path / "nowhere" / "page.html").failed(6, "nowhere")


def test_no_store(call: Called) -> None:
    call("report").failed(3, "holds no store")
    assert not call.store.exists()
