"""What a restore cannot reach it does not replace anything for; times that `history` shows can be restored."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_lines import Called


def save(call: Called, memory_id: str, content: str) -> None:
    line = json.dumps({"memory_id": memory_id, "content": content}).encode()
    assert call("import", "-", "--overwrite", given=line).code == 0


def ids(call: Called) -> list[str]:
    return [json.loads(line)["id"] for line in call("list").out.splitlines()]


@pytest.fixture(autouse=True)
def _archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHIANS_MEMORY_ARCHIVE_JOURNAL", "true")


def test_a_moment_after_a_restore_is_not_taken_from_before_it(call: Called) -> None:
    save(call, "a", "v1")
    assert call("backup").code == 0
    save(call, "bad", "v1")
    assert call("restore").code == 8
    save(call, "good", "v1")
    now = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    save(call, "oops", "v1")
    before = ids(call)
    call("restore", "--at", now).failed(2, "not to be had", "backup of its own")
    call("restore", "--memory", "good", "--at", now).failed(2, "not to be had", "backup of its own")
    assert ids(call) == before
    assert call("backup").code == 0
    save(call, "later", "v1")
    now = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    save(call, "oops again", "v1")
    assert call("restore", "--at", now).code == 8
    assert ids(call) == ["a", "good", "later", "oops"]


def test_the_times_of_the_history_give_its_versions(call: Called) -> None:
    save(call, "a", "v1")
    assert call("backup").code == 0
    for content in ("v2", "v3"):
        save(call, "a", content)
    times = [version["time"] for version in call("history", "a").json["versions"]]
    assert times == sorted(times)
    for moment, content in zip(times[1:], ("v2", "v3"), strict=True):
        assert call("restore", "--memory", "a", "--at", moment).code == 8
        assert call("get", "a").json["content"] == content


def test_a_moment_is_restored_although_the_superblock_is_damaged(call: Called, tmp_path: Path) -> None:
    save(call, "a", "v1")
    assert call("backup").code == 0
    save(call, "b", "v1")
    now = datetime.now(UTC).isoformat()
    superblock = tmp_path / "store" / "store.json"
    superblock.write_bytes(superblock.read_bytes()[:-20])
    assert call("restore", "--at", now).code == 8
    assert ids(call) == ["a", "b"]
