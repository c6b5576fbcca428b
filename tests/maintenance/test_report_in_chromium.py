"""The page about a store, looked at in Chromium: light and dark, wide and narrow, without an error or a request."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from report_pages import Node, Picture, decoded, parsed
from test_report import HOSTILE, SECTIONS, points

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.maintenance.report.writing import report_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCHEMES = {"light": 1, "dark": 0}
PAGE_COLOURS = {"light": (0xF4, 0xF4, 0xF0), "dark": (0x16, 0x16, 0x14)}
GROUP_COLOURS = {"light": (0x2A, 0x6F, 0xC9), "dark": (0x6E, 0xA6, 0xF2)}
NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
COUNT = 60
PLANTED = b'<img src="http://planted.invalid/x.png"><script>document.title = "ran"</script>'


class Seen(NamedTuple):
    """What came of opening a page."""

    dom: Node
    picture: Picture
    console: list[str]
    requests: list[str]


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is there")
    return found


def opened(
    chromium: str, folder: Path, page: bytes, *, scheme: str = "light", width: int = 1280, height: int = 2600
) -> Seen:
    """Open a page, look at it, and close the browser, which is kept away from any network."""
    folder.mkdir(exist_ok=True)
    (folder / "page.html").write_bytes(page)
    picture, log = folder / "picture.png", folder / "net.json"
    line = [
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        f"--log-net-log={log}", f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--screenshot={picture}", "--dump-dom", (folder / "page.html").as_uri(),
    ]  # fmt: skip
    environment = {**os.environ, **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(folder))}
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0, err.decode(errors="replace")
    console = [text for text in err.decode(errors="replace").splitlines() if "CONSOLE" in text]
    return Seen(parsed(out), decoded(picture.read_bytes()), console, _requests(json.loads(log.read_text())))


def _requests(log: dict[str, Any]) -> list[str]:
    """What the page asked for; the browser asks its maker for things as well, for which no page is the initiator."""
    asked = [event["params"] for event in log["events"] if "initiator" in (event.get("params") or {})]
    return [params["url"] for params in asked if params["initiator"] != "not an origin"]


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store whose contents would do harm if they were markup."""
    path, rng = tmp_path / "store", np.random.default_rng(5)
    contents = [*HOSTILE.values(), *(f"number {n}" for n in range(COUNT - len(HOSTILE)))]
    async with MemoryPersistence(path) as opened_store:
        await opened_store.save_memories_batch(
            [
                MemoryEntry(
                    memory_id=f"m{n}",
                    content=content,
                    embedding=rng.normal(size=16),
                    tags=[f"tag {n % 3}", "</bdi><img src=http://planted.invalid/tag>"],
                    created_at=NOW - timedelta(days=n),
                )
                for n, content in enumerate(contents)
            ]
        )
        await opened_store.backup()
    lines = [
        {"at": (NOW - timedelta(hours=n)).isoformat(), "outcome": "failed" if n == 9 else "healthy"} for n in range(30)
    ]
    (path / "logs").mkdir(exist_ok=True)
    (path / "logs" / "health.log").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    return path


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 500)])
async def test_the_page_in_a_browser(chromium: str, store: Path, tmp_path: Path, scheme: str, width: int) -> None:
    seen = opened(chromium, tmp_path / "browser", report_page(store), scheme=scheme, width=width)
    assert seen.console == []
    assert seen.requests == []
    assert [node.attributes["id"] for node in seen.dom.all("h2")] == SECTIONS
    assert len(points(seen.dom)) == COUNT
    assert any(HOSTILE["script"][:40] in title for title in points(seen.dom))
    assert not seen.dom.all("script")
    assert not seen.dom.all("img")
    # Its own styles were let in, and those of the scheme: nothing else has these colours.
    assert seen.picture.colour(2, 2) == PAGE_COLOURS[scheme]
    assert GROUP_COLOURS[scheme] in seen.picture.colours()
    assert len(seen.picture.colours()) > 30
    # Nothing reaches beyond the edge: the last columns are those of an empty margin.
    edge = {seen.picture.colour(seen.picture.width - 2, y) for y in range(0, seen.picture.height, 7)}
    assert edge == {PAGE_COLOURS[scheme]}


async def test_the_policy_admits_nothing_that_is_planted(chromium: str, store: Path, tmp_path: Path) -> None:
    page = report_page(store)
    planted = opened(chromium, tmp_path / "planted", page.replace(b"</body>", PLANTED + b"</body>"))
    assert planted.requests == []
    assert planted.dom.all("title")[0].text != "ran"
    assert any("Content Security Policy" in line for line in planted.console)


def test_a_page_that_loads_and_runs_something_is_seen_to(chromium: str, tmp_path: Path) -> None:
    seen = opened(
        chromium, tmp_path / "control", b"<title>x</title><body>" + PLANTED + b"<script>nothing()</script></body>"
    )
    assert seen.requests == ["http://planted.invalid/x.png"]
    assert seen.dom.all("title")[0].text == "ran"
    assert seen.console
    assert len(seen.picture.colours()) < 30
