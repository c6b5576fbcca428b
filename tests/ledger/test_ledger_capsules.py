"""Capsules: written once, whole, private, and redacted; and what the ledger makes of those that were changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import lines_of, opened

from synthians_memory.errors import InvalidValueError, SynthiansMemoryError
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.ledger.running import run_command
from synthians_memory.redaction import REDACTED, allowed_environment, redacted, redacted_arguments
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend


def write(ledger: Ledger, **event: Any) -> str:
    return ledger.write_run(
        {"task": "t", **event},
        context={"prompt": "sort", "plan": {"steps": [1]}},
        inputs={"notes.md": b"in"},
        outputs={"stdout": b"out", "stderr": b"", "made file.bin": b"\0\xff"},
    )


def files_of(folder: Path, run_id: str) -> dict[str, bytes]:
    top = folder / "runs" / run_id
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_it_holds_what_was_given_and_its_entry(ledger: Ledger, folder: Path) -> None:
    run_id = write(ledger)
    files = files_of(folder, run_id)
    assert files.keys() == {
        "context.json", "inputs/notes.md", "meta.json", "outputs/made file.bin", "outputs/stderr", "outputs/stdout",
    }  # fmt: skip
    assert (files["inputs/notes.md"], files["outputs/made file.bin"]) == (b"in", b"\0\xff")
    assert json.loads(files["context.json"]) == {"prompt": "sort", "plan": {"steps": [1]}}
    (entry,) = lines_of(folder / "log.jsonl")
    assert json.loads(files["meta.json"]) == entry
    assert files["meta.json"] == (folder / "log.jsonl").read_bytes()
    del files["meta.json"]
    assert entry["capsule_sha256"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert ledger.check() == []


def test_it_is_private(ledger: Ledger, folder: Path) -> None:
    before = os.umask(0)
    try:
        run_id = write(ledger)
    finally:
        os.umask(before)
    top = folder / "runs" / run_id
    modes = {path: path.stat().st_mode & 0o777 for path in [folder / "runs", top, *top.rglob("*")]}
    assert {modes[path] for path in modes if path.is_dir()} == {0o700}
    assert {modes[path] for path in modes if path.is_file()} == {0o600}


def test_a_second_write_is_refused_and_logs_nothing(ledger: Ledger, folder: Path) -> None:
    run_id = write(ledger)
    ledger.write_log({"task": "between"})
    before, log = files_of(folder, run_id), (folder / "log.jsonl").read_bytes()
    for again in (lambda: write(ledger, run_id=run_id), lambda: ledger.write_log({"run_id": run_id})):
        with pytest.raises(InvalidValueError, match="written once"):
            again()
    assert files_of(folder, run_id) == before
    assert (folder / "log.jsonl").read_bytes() == log
    assert [path.name for path in (folder / "runs").iterdir()] == [run_id]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\\b", "a\0b", "a\nb", ".scratch-x", "x" * 256, "\udc80"]
)
@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_names_of_members_cannot_lead_elsewhere(kind: str, name: str, ledger: Ledger, folder: Path) -> None:
    with pytest.raises(SynthiansMemoryError):
        ledger.write_run({}, **{kind: {"good": b"", name: b"x"}})  # type: ignore[arg-type]
    assert not (folder / "log.jsonl").exists()
    assert list((folder / "runs").iterdir()) == []


def test_an_event_that_is_refused_leaves_no_capsule(ledger: Ledger, folder: Path) -> None:
    with pytest.raises(InvalidValueError):
        ledger.write_run({"x": float("nan")}, outputs={"stdout": b""})
    assert list(folder.iterdir()) == []


# What an examination finds


def remove_one(top: Path) -> None:
    (top / "outputs" / "stdout").unlink()


def change_one(top: Path) -> None:
    (top / "outputs" / "stdout").write_bytes(b"0ut")


def add_one(top: Path) -> None:
    (top / "outputs" / "more").write_bytes(b"")


def change_meta(top: Path) -> None:
    (top / "meta.json").write_bytes((top / "meta.json").read_bytes() + b" ")


def change_context(top: Path) -> None:
    (top / "context.json").write_bytes(b"{}")


def replace_by_link(top: Path) -> None:
    (top / "outputs" / "stdout").unlink()
    (top / "outputs" / "stdout").symlink_to(top / "outputs" / "stderr")


def replace_by_file(top: Path) -> None:
    shutil.rmtree(top)
    top.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [remove_one, change_one, add_one, change_meta, change_context, replace_by_link, replace_by_file],
    ids=lambda f: f.__name__,
)
def test_a_changed_capsule_is_found(damage: Callable[[Path], None], ledger: Ledger, folder: Path) -> None:
    intact, run_id = write(ledger), write(ledger)
    damage(folder / "runs" / run_id)
    (found,) = ledger.check()
    assert (found.code, run_id in found.message, intact in found.message) == ("capsule_changed", True, False)


def test_a_missing_capsule_is_found_and_an_entry_without_one_is_fine(ledger: Ledger, folder: Path) -> None:
    ledger.write_log({"task": "no capsule"})
    run_id = write(ledger)
    shutil.rmtree(folder / "runs" / run_id)
    (found,) = ledger.check()
    assert (found.code, run_id in found.message) == ("capsule_missing", True)


def test_a_capsule_of_no_entry_is_found(ledger: Ledger, folder: Path) -> None:
    ledger.write_log({})
    (folder / "runs" / "20200101T000000Z-000000").mkdir(parents=True)
    (found,) = ledger.check()
    assert (found.code, "20200101T000000Z-000000" in found.message) == ("capsule_orphan", True)


def test_what_a_killed_run_leaves_is_a_note(ledger: Ledger, folder: Path) -> None:
    ledger.begin_capsule().put("outputs", "stdout", b"so far")
    (found,) = ledger.check()
    assert (found.code, found.severity) == ("scratch", "note")
    write(ledger)
    assert len(list((folder / "runs").iterdir())) == 2


# Redaction


@pytest.mark.parametrize(
    "name",
    ["API_KEY", "apiKey", "GITHUB_TOKEN", "password", "DbPasswd", "client_secret", "Authorization", "aws-credentials",
     "PRIVATE_KEY", "cookie", "MY_PIN", "X-Api-Key", "connection_string"],
)  # fmt: skip
def test_secrets_are_told_by_their_names(name: str) -> None:
    assert redacted({"outer": [{name: "hunter2"}]}) == {"outer": [{name: REDACTED}]}
    assert redacted_arguments(["login", f"--{name}", "hunter2"])[-1] == REDACTED
    assert "hunter2" not in redacted_arguments([f"--{name}=hunter2"])[0]
    assert "hunter2" not in str(redacted(f"ran with {name}=hunter2 and more"))
    assert allowed_environment({name: "hunter2"}, [name]) == {name: REDACTED}


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnopqrstuv",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-1234567890-abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "hf_abcdefghijklmnopqrstuvwx",
    ],
)
def test_secrets_are_told_by_their_shapes(text: str) -> None:
    assert redacted({"note": f"use {text} for it"}) == {"note": f"use {REDACTED} for it"}
    assert redacted_arguments(["echo", text]) == ["echo", REDACTED]
    assert text not in str(allowed_environment({"PATH": f"/bin:{text}"}))


def test_secrets_inside_of_other_text_are_replaced() -> None:
    assert redacted("https://ada:hunter2@example.org/x") == f"https://{REDACTED}@example.org/x"
    assert redacted("curl -H 'X-Sent: Bearer abcdefghijkl'") == f"curl -H 'X-Sent: Bearer {REDACTED}'"
    assert "abcdefghijkl" not in str(redacted("curl -H 'Authorization: Bearer abcdefghijkl'"))


@pytest.mark.parametrize(
    "value",
    ["monkey=1", "keyboard: us", "the token is gone", "spin=2", "author: ada", "tokens", {"monkey": "x", "author": "y"},
     {"max_tokens": 100, "temperature": 0.5}, {"PWD": "/home"}, "passing the turn"],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(value: Any) -> None:
    assert redacted(value) == value


def test_only_variables_on_the_list_are_kept() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "MINE": "x", "OTHER": "y", "AWS_PROFILE": "z", "PWD": "/w"}
    assert allowed_environment(given, ["MINE"]) == {"LC_ALL": "C", "MINE": "x", "PATH": "/bin", "PWD": "/w"}


def test_the_context_of_a_run_is_redacted(ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_run({}, context={"environment": {"API_KEY": "hunter2"}, "prompt": "password=hunter2"})
    assert b"hunter2" not in b"".join(files_of(folder, run_id).values())


# Running


def ran(ledger: Ledger, *command: str, **options: Any) -> tuple[int, str, list[tuple[str, bytes]]]:
    said: list[tuple[str, bytes]] = []
    options = {"environment": dict(os.environ), **options}
    done = run_command(ledger, command, {"task": "t"}, echo=lambda *came: said.append(came), **options)
    return done.exit_status, done.run_id, said


def test_a_command_is_recorded_with_all_it_prints(ledger: Ledger, folder: Path) -> None:
    status, run_id, said = ran(ledger, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert status == 3
    assert sorted(said) == [("stderr", b"err\n"), ("stdout", b"out\n")]
    files = files_of(folder, run_id)
    assert (files["outputs/stdout"], files["outputs/stderr"]) == (b"out\n", b"err\n")
    entry = ledger.entry(run_id)
    assert (entry["exit_status"], entry["task"]) == (3, "t")
    assert entry["output_sha256"] == hashlib.sha256(b"out\n").hexdigest()
    assert entry["tool_calls"] == ["sh -c 'echo out; echo err >&2; exit 3'"]
    context = json.loads(files["context.json"])
    assert context["command"][0] == "sh"
    assert context["environment"].keys() <= {*os.environ}
    assert ledger.check() == []


def test_a_command_that_cannot_start_is_recorded_too(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    assert ran(ledger, "there-is-no-such-command")[0] == 127
    assert ran(ledger, str(tmp_path))[0] == 126
    assert [entry["exit_status"] for entry in lines_of(folder / "log.jsonl")] == [127, 126]
    assert ledger.check() == []


def test_a_command_that_is_killed_is_recorded(ledger: Ledger) -> None:
    status, run_id, _ = ran(ledger, sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert status == 128 + signal.SIGKILL == ledger.entry(run_id)["exit_status"]


def test_much_output_on_both_sides_is_kept_in_order(ledger: Ledger, folder: Path) -> None:
    script = "import sys\nfor n in range(20000): print(n, 'x' * 50); print(n, file=sys.stderr)"
    _, run_id, said = ran(ledger, sys.executable, "-c", script)
    files = files_of(folder, run_id)
    assert files["outputs/stdout"] == b"".join(b"%d %s\n" % (n, b"x" * 50) for n in range(20000))
    assert files["outputs/stderr"] == b"".join(b"%d\n" % n for n in range(20000))
    assert b"".join(data for name, data in said if name == "stdout") == files["outputs/stdout"]


def test_what_is_left_in_the_background_is_not_waited_for(ledger: Ledger) -> None:
    assert ran(ledger, "sh", "-c", "sleep 60 & echo started")[2] == [("stdout", b"started\n")]


def test_files_are_kept_as_inputs_and_outputs(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"in")
    made, missing = tmp_path / "made.txt", tmp_path / "missing.txt"
    _, run_id, _ = ran(
        ledger,
        "cp",
        str(tmp_path / "in.txt"),
        str(made),
        inputs=[str(tmp_path / "in.txt")],
        outputs=[str(made), str(missing)],
    )
    files = files_of(folder, run_id)
    assert (files["inputs/in.txt"], files["outputs/made.txt"]) == (b"in", b"in")
    assert ledger.entry(run_id)["missing_outputs"] == [str(missing)]


def test_secrets_in_arguments_and_environment_are_not_kept(ledger: Ledger, folder: Path) -> None:
    environment = {**os.environ, "MY_TOKEN": "hunter2", "OTHER": "hunter2"}
    _, run_id, _ = ran(ledger, "true", "--password", "hunter2", "--key=x", environment=environment, keep=["MY_TOKEN"])
    kept = b"".join(files_of(folder, run_id).values()) + (folder / "log.jsonl").read_bytes()
    assert b"hunter2" not in kept
    assert json.loads(files_of(folder, run_id)["context.json"])["environment"]["MY_TOKEN"] == REDACTED


def test_an_event_that_cannot_be_recorded_is_told_before_the_command_runs(ledger: Ledger, tmp_path: Path) -> None:
    said: list[bytes] = []
    with pytest.raises(InvalidValueError):
        run_command(
            ledger,
            ["touch", str(tmp_path / "ran")],
            {"task": "\udc80"},
            environment=dict(os.environ),
            echo=lambda name, data: said.append(data),
        )
    with pytest.raises(InvalidValueError, match="two outputs"):
        ran(ledger, "touch", str(tmp_path / "ran"), outputs=["a/x", "b/x"])
    assert not (tmp_path / "ran").exists()


def test_arguments_that_are_no_text_are_recorded_without_what_is_none(ledger: Ledger) -> None:
    status, run_id, _ = ran(ledger, "true", "\udcff")
    assert status == 0
    assert ledger.entry(run_id)["tool_calls"] == ["true '?'"]


def test_a_damaged_log_is_told_before_the_command_runs(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    ledger.write_log({"task": "t"})
    (folder / "log.jsonl").write_bytes((folder / "log.jsonl").read_bytes().replace(b'"t"', b'"u"'))
    with pytest.raises(SynthiansMemoryError):
        ran(ledger, "touch", str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def test_a_process_killed_while_it_runs_a_command_leaves_the_ledger_sound(tmp_path: Path) -> None:
    program = (
        "import os, sys; from synthians_memory.ledger.ledger import Ledger; from synthians_memory.storage.local import LocalBackend\n"
        "from synthians_memory.ledger.running import run_command\n"
        "run_command(Ledger(LocalBackend(sys.argv[1], create=True)), ['sh', '-c', 'echo begun; exec sleep 60'], {},"
        " environment=os.environ, echo=lambda name, data: print(data, flush=True))"
    )
    folder = tmp_path / "ledger"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert b"begun" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with opened(LocalBackend(folder)) as ledger:
        assert [one.code for one in ledger.check()] == ["scratch"]
        write(ledger)
        assert [one.severity for one in ledger.check()] == ["note"]


def test_a_ledger_in_memory_keeps_capsules_too() -> None:
    with opened(MemoryBackend(), "ledger") as ledger:
        write(ledger)
        assert ledger.check() == []
