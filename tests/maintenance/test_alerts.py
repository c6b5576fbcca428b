"""Failures are logged, documented once each, and filed where that is switched on; no secret gets into any of it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from synthians_memory.errors import InvalidValueError, NotFiledError
from synthians_memory.layout import FAILURES_LOG, ISSUES
from synthians_memory.maintenance.alert_hooks import hooks_of
from synthians_memory.maintenance.alerts import Alerts, IssueFiles
from synthians_memory.maintenance.configuration import load_configuration
from synthians_memory.maintenance.github import GitHubIssues
from synthians_memory.maintenance.issue_document import Failure, IssueDocument, system_facts
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock

SECRET = "correct-horse-7481"  # noqa: S105 - made up
SHAPED = "ghp_" + "a1B2" * 9
ENVIRONMENT = {"SERVICE_PASSWORD": SECRET, "HOME": "/home/ada", "PIN": "12"}
FAILURE = Failure(
    "check_found_damage",
    f"2 memories are damaged, said {SECRET}",
    details=(f"memories/a.json differs; token={SHAPED}", "postgres://ada:hunter22@host/db"),
    subjects=("memories/a.json", "memories/b.json"),
    steps=("Look at the disk.",),
)


def alerts(path: Path, **settings: Any) -> Alerts:
    return Alerts(lambda: LocalBackend(path), ManualClock(), environment=ENVIRONMENT, **settings)


def documents(path: Path) -> list[str]:
    return [file.read_text() for file in sorted((path / ISSUES).iterdir())]


def test_a_failure_is_logged_and_documented(tmp_path: Path) -> None:
    assert alerts(tmp_path, assignees=["ada"]).tell(FAILURE) == []
    (document,) = documents(tmp_path)
    head, body = document.split("---\n", 2)[1:]
    assert "labels: critical\nassignees: ada\n" in head
    assert f"fingerprint: {FAILURE.fingerprint}" in head
    for part in (
        "## What happened",
        "memories/a.json differs",
        "## System",
        "python:",
        "## Log",
        "- [ ] Look at the disk.",
    ):
        assert part in body
    (line,) = (tmp_path / FAILURES_LOG).read_text().splitlines()
    assert json.loads(line)["code"] == "check_found_damage"
    (file,) = (tmp_path / ISSUES).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_one_document_for_each_fingerprint(tmp_path: Path) -> None:
    told = alerts(tmp_path)
    for failure in (FAILURE, FAILURE, Failure("check_found_damage", "others", subjects=("memories/c.json",))):
        told.tell(failure)
    assert len(documents(tmp_path)) == 2
    assert len((tmp_path / FAILURES_LOG).read_text().splitlines()) == 3
    same = Failure("check_found_damage", "said otherwise", subjects=FAILURE.subjects[::-1])
    assert same.fingerprint == FAILURE.fingerprint


def test_no_secret_gets_out(tmp_path: Path) -> None:
    alerts(tmp_path).tell(FAILURE)
    written = "".join(documents(tmp_path))
    for secret in (SECRET, SHAPED, "hunter22"):
        assert secret not in written
    assert "[redacted]" in written


def test_a_hook_that_fails_stops_nothing(tmp_path: Path) -> None:
    told: list[str] = []

    def failing(document: IssueDocument) -> None:
        raise NotFiledError("nobody listens")

    def listening(document: IssueDocument) -> None:
        told.append(document.fingerprint)

    problems = alerts(tmp_path, hooks=[failing, listening]).tell(FAILURE)
    assert [problem.startswith("nobody listens") for problem in problems] == [True]
    assert told == [FAILURE.fingerprint]
    assert "alert_failed" in (tmp_path / FAILURES_LOG).read_text()


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").write_bytes(b"in the way")
    (tmp_path / ISSUES).write_bytes(b"in the way")
    assert len(alerts(tmp_path).tell(FAILURE)) >= 2


# Filing


class Server(ThreadingHTTPServer):
    """Answers with `answers` one after the other, the last for ever, and keeps what it was sent."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(list(request.param)) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def filing(server: Server, **settings: Any) -> GitHubIssues:
    url = f"http://127.0.0.1:{server.server_port}"
    return GitHubIssues("ada/notes", SECRET, url=url, timeout=5.0, backoff=0.0, **settings)


def document() -> IssueDocument:
    return IssueDocument.of(FAILURE, system_facts(), ["a line"], ENVIRONMENT, assignees=["ada"])


@pytest.mark.parametrize("server", [(201,), (503, 429, 201)], indirect=True, ids=["at once", "third time"])
def test_an_issue_is_filed(server: Server) -> None:
    attempts = len(server.answers)
    filing(server, labels=("memory",))(document())
    assert len(server.seen) == attempts
    path, headers, body = server.seen[-1]
    assert path == "/repos/ada/notes/issues"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert (body["labels"], body["assignees"]) == (["critical", "memory"], ["ada"])
    assert FAILURE.fingerprint in body["body"]
    assert SECRET not in json.dumps(body)


@pytest.mark.parametrize(
    ("server", "attempts"), [((401,), 1), ((404,), 1), ((500,), 3)], indirect=["server"], ids=["right", "place", "down"]
)
def test_what_cannot_be_filed_is_said_without_the_token(server: Server, attempts: int) -> None:
    with pytest.raises(NotFiledError) as raised:
        filing(server, retries=2)(document())
    assert len(server.seen) == attempts
    assert SECRET not in str(raised.value)


def test_nobody_at_home_is_said(tmp_path: Path) -> None:
    with Server([201]) as gone:
        port = gone.server_port
    hook = GitHubIssues("ada/notes", SECRET, url=f"http://127.0.0.1:{port}", timeout=0.5, retries=1, backoff=0.0)
    files = IssueFiles(lambda: LocalBackend(tmp_path), ManualClock())
    problems = alerts(tmp_path, hooks=[hook, files]).tell(FAILURE)
    assert len(problems) == 1
    assert len(documents(tmp_path)) == 1


@pytest.mark.parametrize(("project", "token"), [("ada", "x"), ("ada/notes/x", "x"), ("../x", "x"), ("ada/notes", "")])
def test_what_cannot_work_is_refused(project: str, token: str) -> None:
    with pytest.raises(InvalidValueError):
        GitHubIssues(project, token)


# As configured

SWITCHED_ON = "alerts: {github: {enabled: true, repository: ada/notes, labels: [memory, critical], assignees: [bob]}}"


def configured_alerts(path: Path, content: str, environment: dict[str, str], url: str = "") -> Alerts:
    (path / "config.yaml").write_text(content)
    configuration = load_configuration(path, {"HOME": str(path)})
    hooks = hooks_of(configuration, environment, clock=ManualClock(), **({"url": url} if url else {}))
    return Alerts(lambda: LocalBackend(path), ManualClock(), hooks=hooks, environment=environment)


@pytest.mark.parametrize("server", [(201,)], indirect=True)
def test_github_is_told_where_the_configuration_switches_it_on(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    environment = {"SYNTHIANS_MEMORY_GITHUB_TOKEN": SECRET}
    assert (
        configured_alerts(tmp_path, "alerts: {github: {repository: ada/notes}}", environment, url).tell(FAILURE) == []
    )
    assert server.seen == []
    assert configured_alerts(tmp_path, SWITCHED_ON, environment, url).tell(FAILURE) == []
    ((path, headers, body),) = server.seen
    assert (path, headers["Authorization"]) == ("/repos/ada/notes/issues", f"Bearer {SECRET}")
    assert (body["labels"], body["assignees"]) == (["critical", "memory"], ["bob"])
    assert SECRET not in json.dumps(body)
    assert len(documents(tmp_path)) == 1


def test_without_a_token_the_document_is_written_and_the_lack_is_said(tmp_path: Path) -> None:
    (problem,) = configured_alerts(tmp_path, SWITCHED_ON, {}).tell(FAILURE)
    assert "could not be filed" in problem
    assert "SYNTHIANS_MEMORY_GITHUB_TOKEN" in problem
    assert len(documents(tmp_path)) == 1


def test_without_the_library_for_it_the_document_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    (problem,) = configured_alerts(tmp_path, SWITCHED_ON, {"SYNTHIANS_MEMORY_GITHUB_TOKEN": SECRET}).tell(FAILURE)
    assert "synthians-memory[ops]" in problem
    assert len(documents(tmp_path)) == 1
