"""What README.md shows is so: its example prints what it says, its commands exist, its files can be read without us."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from synthians_memory import MemoryPersistence, layout
from synthians_memory.embedding import open_embedder
from synthians_memory.entrypoints.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "storage_fixtures" / "peps_sample.jsonl"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_example_prints_what_it_says(tmp_path: Path) -> None:
    (example,) = blocks("python")
    (shown,) = (block for block in blocks("text") if block[0].isdigit())
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr, result.stdout) == (0, "", shown)


@pytest.fixture
async def demo(tmp_path: Path) -> Path:
    """The folder in which the first command of the page has made its store."""
    async with MemoryPersistence(tmp_path / "demo", embedder=open_embedder()) as store:
        await store.import_memories(SAMPLE, embed=True)
    return tmp_path


def answer(command: str, folder: Path) -> list[str]:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not installed")
    result = subprocess.run(["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


@pytest.mark.parametrize("program", ["grep", "jq"])
async def test_the_files_can_be_read_without_the_library(demo: Path, program: str) -> None:
    (commands,) = (block.splitlines() for block in blocks("sh") if "grep" in block)
    assert {command.split()[0] for command in commands} == {"grep", "jq"}
    for command in commands:
        if command.startswith(program):
            assert answer(command, demo)


async def test_the_tree_is_that_of_a_store(demo: Path) -> None:
    (tree,) = (block for block in blocks("text") if block.startswith("demo/"))
    shown = {name.rstrip("/") for name in re.findall(r"^[├└]── (\S+)", tree, re.MULTILINE)}
    present = {path.name for path in (demo / "demo").iterdir()}
    assert shown <= present
    # The log is named beside its index, and the note of who holds the lock is no part of the data.
    assert present - shown <= {layout.INDEX_LOG, layout.LOCK_FILE}
    assert all((demo / "demo" / name).exists() for name in re.findall(r": +(\w+/pep-\S+\.json)", tree))


async def test_a_file_can_be_edited_as_told(demo: Path) -> None:
    path = demo / "demo" / "memories" / "pep-0020-000.json"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "content_hash" in lines[-2]
    edited = "\n".join([*lines[:-3], lines[-3].removesuffix(","), lines[-1]]).replace("Long time", "Very long time")
    path.write_text(edited, encoding="utf-8")
    async with MemoryPersistence(demo / "demo", auto_repair=False) as store:
        await store.verify_and_repair_consistency()
        entry = await store.load_memory("pep-0020-000")
    assert entry is not None
    assert entry.content.startswith("Very long time")


async def test_the_first_question_is_answered_by_the_proposal_named(demo: Path) -> None:
    (question,) = re.findall(r'--store demo search "(.+?)"', README)
    (number, title) = re.findall(r'paragraph of PEP (\d+), "(.+?)"', README)[0]
    async with MemoryPersistence(demo / "demo", embedder=open_embedder()) as store:
        (hit,) = await store.search(question, 1)
        entry = await store.load_memory(hit.memory_id)
    assert entry is not None
    assert (str(entry.metadata["pep"]), entry.metadata["title"]) == (number, title)
    memories = [line for line in map(json.loads, SAMPLE.read_text().splitlines()) if line["kind"] == "memory"]
    assert f"imports {len(memories)} paragraphs" in README


def test_the_table_of_commands_has_each_of_them() -> None:
    rows = re.findall(r"^\| (`[a-z].*?) \|", README, re.MULTILINE)
    shown = {command.split()[0] for row in rows for command in re.findall(r"`([^`]+)`", row)}
    assert shown == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
