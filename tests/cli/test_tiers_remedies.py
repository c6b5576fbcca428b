"""What the doctor says of damaged tiers: its commands exist, and mend what they are named for."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.layout import WORKING_DB
from synthians_memory.tiers import Decision, Event, Tiers


@pytest.fixture(scope="module")
def cared_for(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tiers, and a snapshot."""
    path = tmp_path_factory.mktemp("remedies") / "store"

    async def filled() -> None:
        async with MemoryPersistence(path, embedding_dimension=4) as store, Tiers(store) as tiers:
            for n in range(5):
                await tiers.working.store_event(Event(id=f"e{n}", category="test", source="here"))
                await tiers.working.log_decision(Decision(id=f"d{n}", context=f"context {n}", chosen="this"))
            await store.backup()

    asyncio.run(filled())
    return path


def troubles(path: Path) -> dict[str, list[str]]:
    """Code of each finding of the tiers -> its commands."""
    outcome = CliRunner().invoke(app, ["--store", str(path), "doctor", "--json"])
    found = json.loads(outcome.stdout)
    return {t["code"]: t["commands"] for t in _troubles(found) if t["code"].startswith("tier_")}


def _troubles(found: object) -> list[dict[str, object]]:
    if isinstance(found, dict):
        own = [found] if "code" in found and "commands" in found else []
        return own + [trouble for value in found.values() for trouble in _troubles(value)]
    return [trouble for value in found for trouble in _troubles(value)] if isinstance(found, list) else []


def sql(statement: str) -> object:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path / WORKING_DB)) as connection, connection:
            connection.execute(statement)

    return damage


def forgotten(path: Path) -> None:
    async def delete() -> None:
        async with MemoryPersistence(path, embedding_dimension=4) as store:
            await store.delete_memory("decisions-d1")

    asyncio.run(delete())


DAMAGES = {
    "tier_damaged": lambda path: (path / WORKING_DB).write_bytes(b"no database"),
    "tier_row_damaged": sql("UPDATE events SET category = 'x' WHERE id = 'e1'"),
    "tier_words_damaged": sql("DELETE FROM words"),
    "tier_memory_missing": forgotten,
}


@pytest.mark.parametrize("code", DAMAGES)
def test_the_commands_mend_it(cared_for: Path, tmp_path: Path, code: str) -> None:
    path = tmp_path / "store"
    shutil.copytree(cared_for, path)
    DAMAGES[code](path)  # type: ignore[operator]
    found = troubles(path)
    assert set(found) == {code}
    assert found[code]
    for command in found[code]:
        program, *words = shlex.split(command)
        assert program == "synthians-memory"
        outcome = CliRunner().invoke(app, words)
        assert outcome.exit_code in (0, 7, 8), outcome.output
    assert troubles(path) == {}
