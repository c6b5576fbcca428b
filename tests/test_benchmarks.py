"""The benchmarks run, with every workload, and report what can be read by a machine.

They are not measured here.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import serve, service, snapshots, tiers
from benchmarks.child import ContenderError
from benchmarks.figures import Figures, ratio
from benchmarks.goals import judge
from benchmarks.output import document, markdown
from benchmarks.run import WORKLOADS, main
from benchmarks.stage import TINY, Options, Stage

SIZE = 60
NAMES = ("ours", "floor", "naive")


class InThread:
    """The server of a contender in a thread of this process, which starts at once."""

    def __init__(self, name: str, python: str, log: Path, limit: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = serve.Server(name)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        line = orjson.dumps({"do": do, **arguments}).decode()
        answer = asyncio.run_coroutine_threadsafe(serve._answer(self._server, line), self._loop).result()
        if "error" in answer:
            raise ContenderError(answer["error"])
        return json.loads(orjson.dumps(answer))

    def end(self) -> None:
        try:
            self.ask("close")
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(serve.gc, "freeze", lambda: None)
    options = Options(tmp_path, NAMES, (SIZE,), SIZE, {}, 60.0, drop_caches=False, scale=TINY)
    return Stage(options, start_child=InThread)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_measures_every_contender_that_can(stage: Stage, workload: str) -> None:
    WORKLOADS[workload](stage)
    reported = json.loads(orjson.dumps(document(stage, {})))
    measured = {figure["contender"] for figure in reported["figures"]}
    assert measured == set(NAMES) - {"check": {"naive"}, "training": {"floor", "naive"}}.get(workload, set())
    assert all(figure["p50"] >= 0 and figure["count"] > 0 for figure in reported["figures"])
    assert reported["failures"] == []
    assert workload in ("delete", "check", "training") or reported["goals"] or workload.startswith(("growth", "update"))
    assert f"## {reported['figures'][0]['metric']}" in markdown(stage, {})


def test_the_command_runs_contenders_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scale", "tiny", "--size", str(SIZE), "--workload", "delete", "--contender", "floor", "naive"]
    main([str(tmp_path), *arguments, "--python", "naive=/nowhere/python"])
    reported = json.loads((tmp_path / "run-0000" / "report.json").read_text())
    assert [figure["contender"] for figure in reported["figures"]] == ["floor"]
    (failure,) = reported["failures"]
    assert failure["contender"] == "naive"
    assert "/nowhere/python" in failure["reason"]
    assert "Did not run" in capsys.readouterr().out


def test_exact_contenders_find_the_same(stage: Stage) -> None:
    WORKLOADS["search"](stage)
    for metric in ("recall@10 of search", "recall@10 of filtered search"):
        assert {figure.contender: figure.median for figure in stage.figures.of(metric)} == dict.fromkeys(NAMES, 1.0)


def test_a_ratio_is_taken_block_by_block() -> None:
    figures = Figures()
    figures.add("save", "ours", 0, "µs", [[2.0], [20.0], [2.0]])
    figures.add("save", "floor", 0, "µs", [[1.0], [10.0], [1.0]])
    assert ratio(figures.found["save", "ours", 0], figures.found["save", "floor", 0]) == 2.0
    (judged,) = judge(figures)
    assert judged.met


def test_the_benchmark_of_snapshots_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshots.main(["--size", "40", "--changes", "3", "--dimension", "4", "--restore", "--folder", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert found["first"]["files"] > 40
    assert all(3 < one["files"] < 15 for one in found["second"])
    assert [one["files"] for one in found["unchanged"]] == [1, 1, 1]
    assert found["restore_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_of_the_tiers_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--size", "60", "--events", "500", "--questions", "5", "--dimension", "8"]
    tiers.main([*small, "--folder", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert found["met"].keys() == {"push", "snapshot", "working read", "semantic search"}
    assert all(found[name]["p50"] > 0 and found[name]["ratio"] > 0 for name in found["met"])
    assert found["context"]["p50"] > 0


def test_the_benchmark_of_the_service_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.main(["--size", "40", "--blocks", "1", "--block", "5", "--clients", "2", "--folder", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    for work in ("save, 1", "save, 2", "search, 1", "search, 2", "load, 1", "load, 2", "batch, 1"):
        assert all(found[f"{work} at once"][name]["per_second"] > 0 for name in ("served", "embedded"))
    assert list(tmp_path.iterdir()) == []
