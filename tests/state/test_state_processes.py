"""Many processes write to one state at once, and nothing of what any of them wrote is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import synthians_memory
from synthians_memory.state import rehydrate

PROCESSES = 8
WRITES = 6
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(synthians_memory.__file__).parent.parent)}

# Each waits until all are there, so that they write at the same time.
WRITER = """
import sys
from synthians_memory.state import Decision, MapChange, StateChange, TelemetryEvent, open_state
folder, me, writes = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with open_state(folder) as state:
    for n in range(writes):
        name = f"{me}-{n}"
        state.log_telemetry(TelemetryEvent(event_type="workflow_run", component=name))
        state.log_decision(Decision(decision_type="t", description=name, rationale="r", made_by="agent"))
        state.write_state(StateChange(components={name: "up"}, errors=(name,)))
        state.write_map(MapChange(component=name, dependencies=(me,)))
"""


def test_parallel_writers_lose_nothing(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, tmp_path / "state", str(number), str(WRITES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in started:
            process.communicate(timeout=100)
        assert [process.returncode for process in started] == [0] * PROCESSES
    finally:
        for process in started:
            process.kill()
            process.wait()
    context = rehydrate(tmp_path / "state")
    assert context.warnings == ()
    names = sorted(f"{number}-{n}" for number in range(PROCESSES) for n in range(WRITES))
    assert sorted(event["component"] for event in context.telemetry) == names
    assert sorted(decision["description"] for decision in context.decision_log) == names
    assert sorted(context.system_state["components_status"]) == names
    assert sorted(context.system_state["errors"]) == names
    assert sorted(component["name"] for component in context.architecture_map["components"]) == names
    assert sorted(context.architecture_map["dependency_graph"]) == names
    assert len({event["event_id"] for event in context.telemetry}) == len(names)
    for number in range(PROCESSES):
        own = [event["component"] for event in context.telemetry if event["component"].startswith(f"{number}-")]
        assert own == [f"{number}-{n}" for n in range(WRITES)]


KILLED = """
import sys
from synthians_memory.state import TelemetryEvent, open_state
with open_state(sys.argv[1]) as state:
    while True:
        print(state.log_telemetry(TelemetryEvent(event_type="error", component="c")).value["event_id"], flush=True)
"""


def test_killed_writers_leave_a_whole_log_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
        ) as process:
            assert process.stdout is not None
            acknowledged += [process.stdout.readline().strip() for _ in range(10)]
            process.kill()
            acknowledged += [
                line.strip() for line in process.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
            ]
    logged = [event["event_id"] for event in rehydrate(tmp_path).telemetry]
    assert [event_id for event_id in logged if event_id in set(acknowledged)] == acknowledged
    assert len(logged) <= len(acknowledged) + 3
