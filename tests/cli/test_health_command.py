"""The commands health and monitor: exit codes, what is printed where, settings, and beside a program that has the store open."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from command_lines import MEMORIES, Called, Program

from synthians_memory.config import StoreConfig
from synthians_memory.engine.store import Store
from synthians_memory.layout import BACKUPS, HEALTH_LOG, INDEX, SNAPSHOTS
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock


def some_memory(store: Path) -> Path:
    return min((store / "memories").iterdir())


def break_file(path: Path) -> bytes:
    data = path.read_bytes().replace(b'"content": "', b'"content": "X')
    path.write_bytes(data)
    return data


def test_a_healthy_store_says_nothing_on_standard_error(call: Called, store: Path) -> None:
    outcome = call("health")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json["outcome"] == "healthy"
    assert outcome.json["memories"] == MEMORIES
    assert outcome.json["backup"]["snapshot"]["ring"] == "daily"
    assert call("health").json["backup"] is None
    assert len((store / HEALTH_LOG).read_text().splitlines()) == 2


def test_each_outcome_has_its_exit_code(call: Called, store: Path) -> None:
    assert call("health").code == 0
    (store / INDEX).write_bytes(b"{}")
    mended = call("health")
    assert (mended.code, mended.json["outcome"]) == (7, "mended")
    assert "mended: " in mended.err
    assert call("health").code == 0
    break_file(some_memory(store))
    restored = call("health")
    assert (restored.code, restored.json["outcome"]) == (8, "restored")
    assert "restored: memories/" in restored.err
    assert call("health").code == 0
    assert call("check").code == 0


def test_without_a_backup_damage_is_left_and_told(call: Called, store: Path) -> None:
    damaged = break_file(some_memory(store))
    for _ in range(2):
        outcome = call("health", "--no-backup")
        assert outcome.code == 5
        assert "left: memories/" in outcome.err
        assert "hint: " in outcome.err
    assert some_memory(store).read_bytes() == damaged
    assert len(list((store / "issues").iterdir())) == 1
    assert not (store / SNAPSHOTS).exists()


def test_no_mend_only_looks(call: Called, store: Path) -> None:
    call("health")
    damaged = break_file(some_memory(store))
    outcome = call("health", "--no-mend")
    assert (outcome.code, outcome.json["outcome"]) == (1, "findings")
    assert some_memory(store).read_bytes() == damaged


def test_a_store_of_which_only_the_backups_are_left_is_made_again(call: Called, store: Path) -> None:
    call("health")
    for entry in store.iterdir():
        if entry.name != BACKUPS:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    outcome = call("health", SYNTHIANS_MEMORY_AUTO_ROLLBACK="false")
    assert outcome.code == 5
    assert "restore" in outcome.err
    assert sorted(entry.name for entry in store.iterdir() if entry.name not in ("logs", "issues")) == [BACKUPS]
    outcome = call("health")
    assert outcome.code == 8
    assert outcome.json["memories"] == MEMORIES
    assert "lost: " in outcome.err
    assert call("health").code == 0


def test_snapshots_may_be_elsewhere(call: Called, store: Path, tmp_path: Path) -> None:
    assert call("health", "--from", tmp_path / "copies").code == 0
    assert not (store / SNAPSHOTS).exists()
    shutil.rmtree(store)
    outcome = call("health", "--from", tmp_path / "copies")
    assert (outcome.code, outcome.json["memories"]) == (8, MEMORIES)


@pytest.mark.parametrize("there", [False, True], ids=["nothing", "an empty directory"])
def test_where_there_is_no_store_none_is_made(call: Called, there: bool) -> None:
    if there:
        call.store.mkdir()
    for command in (("health",), ("monitor", "--passes", "1")):
        assert call(*command).code == 3
    assert not call.store.exists() or not any(call.store.iterdir())


def test_a_sample_reads_all_files_in_so_many_passes(call: Called, store: Path) -> None:
    share = call("health", "--sample", 3).json
    assert (share["level"], share["outcome"]) == ("sampled", "healthy")
    assert share["read"] == -(-(share["memories"] + share["assemblies"]) // 3)
    call("health", "--sample", 0).failed(2, "sample")


def test_beside_a_program_it_only_reports(call: Called, store: Path) -> None:
    config = StoreConfig(storage_path=str(store))
    opened = Store.open(LocalBackend(store), config, SystemClock())
    try:
        healthy = call("health")
        assert (healthy.code, healthy.json["backup"] is not None) == (0, True)
        assert "pid" in healthy.json["holder"]
        damaged = break_file(some_memory(store))
        outcome = call("health")
        assert (outcome.code, outcome.json["outcome"]) == (1, "findings")
        assert "its own monitor" in outcome.err
        assert some_memory(store).read_bytes() == damaged
        (store / "store.json").write_bytes(b"{}")
        shutil.rmtree(store / "journal")
        (store / INDEX).unlink()
        (store / "memory_index.log").unlink(missing_ok=True)
        call("health").failed(4, "is held by")
    finally:
        opened.release()


def test_tables_on_a_terminal(call: Called, store: Path) -> None:
    shown = call.on_terminal("health")
    assert shown.code == 0
    assert "outcome" in shown.out
    assert "healthy" in shown.out
    assert "20" in call.on_terminal("monitor", "--passes", "1").out


def test_the_configuration_of_the_store_counts(call: Called, store: Path) -> None:
    (store / "config.yaml").write_text("storage:\n  backup_enabled: false\n")
    assert call("health").json["backup"] is None


def test_monitor_makes_so_many_passes(call: Called, store: Path) -> None:
    outcome = call("monitor", "--passes", 2, "--every", "0.0001", "--sample", 1)
    assert outcome.code == 0
    assert [line["outcome"] for line in outcome.lines] == ["healthy", "healthy"]
    break_file(some_memory(store))
    assert call("monitor", "--passes", 1, "--sample", 1).code == 8


def test_monitor_refuses_a_place_that_is_not_there(call: Called, tmp_path: Path) -> None:
    call.on(tmp_path / "nowhere")("monitor").failed(3, "there is no directory")


def test_monitor_ends_when_it_is_told_to(program: Program, sample_store: Path) -> None:
    shutil.copytree(sample_store, program.folder / "notes")
    process = program.start("--store", "notes", "monitor", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["outcome"] == "healthy"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert program("--store", "notes", "check").code == 0


@pytest.mark.long
def test_a_pass_that_is_killed_is_gone_on_with(program: Program, sample_store: Path) -> None:
    store = program.folder / "notes"
    shutil.copytree(sample_store, store)
    assert program("--store", "notes", "health").code == 0
    shutil.rmtree(store / "memories")
    for wait in (0.3, 0.5, 0.7, 0.9, 1.1, 1.5):
        process = program.start("--store", "notes", "health")
        time.sleep(wait)
        process.kill()
        process.wait()
    outcome = program("--store", "notes", "health")
    assert outcome.code in (0, 7, 8)
    assert outcome.json["memories"] == MEMORIES
    assert program("--store", "notes", "health").code == 0
