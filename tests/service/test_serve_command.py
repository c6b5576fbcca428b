"""The command serve: what it refuses before it opens anything, what it prints, and how it ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_process import Serving
from typer.testing import CliRunner

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings, is_loopback, read_token
from synthians_memory.errors import ServiceUnavailableError

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
TOKEN = "0123456789abcdef"  # noqa: S105 - admits nobody anywhere
EVERYWHERE = "0.0.0.0"  # noqa: S104 - to be refused


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    assert CliRunner().invoke(app, ["--store", str(path), "init"]).exit_code == 0
    return path


@pytest.fixture
def started() -> Iterator[list[Serving]]:
    """Processes that a test has started; none outlives it."""
    processes: list[Serving] = []
    yield processes
    for one in processes:
        if one.process.poll() is None:
            one.kill()


def refused(store: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["--store", str(store), "serve", *options])
    assert "Traceback" not in result.stderr
    assert "hint: " in result.stderr
    return result.exit_code, result.stderr


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "host", [EVERYWHERE, "::", "192.0.2.1", "2001:db8::1", "10.1.2.3", "169.254.1.1", "::ffff:192.0.2.1"]
)
def test_an_address_that_others_reach_needs_a_token_and_tls(store: Path, tmp_path: Path, host: str) -> None:
    token = write(tmp_path / "token", TOKEN)
    pem = write(tmp_path / "pem", "no PEM")
    for options in ([], ["--token-file", token], ["--tls-cert", pem, "--tls-key", pem]):
        code, message = refused(store, "--grpc", "--port", "0", "--host", host, *options)
        assert (code, "is reached from other machines" in message) == (2, True)


def test_with_a_token_and_tls_others_may_reach_it() -> None:
    for host in (EVERYWHERE, "::", "192.0.2.1"):
        settings = ServiceSettings(host=host, token=TOKEN, certificate=b"chain", key=b"key")
        assert settings.addresses == [host]
        assert TOKEN not in repr(settings)
        assert "b'key'" not in repr(settings)


def test_what_counts_as_this_machine() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in (EVERYWHERE, "::", "192.0.2.7", "2001:db8::7"))


def test_what_cannot_be_served_is_refused(store: Path, tmp_path: Path) -> None:
    pem = write(tmp_path / "pem", "no PEM")
    for wrong, code, message in (
        ([], 2, "nothing to serve"),
        (["--grpc", "--port", "70000"], 2, "the port is 70000"),
        (["--grpc", "--host", ""], 2, "the host is empty"),
        (["--grpc", "--host", "no such host.invalid"], 2, "has no address"),
        (["--grpc", "--max-calls", "0"], 2, "calls is 0"),
        (["--grpc", "--deadline", "nan"], 2, "deadline is nan"),
        (["--grpc", "--max-connections", "100000000"], 2, "open files"),
        (["--grpc", "--tls-cert", pem], 2, "only one was given"),
        (["--grpc", "--port", "0", "--tls-cert", pem, "--tls-key", pem], 2, "cannot be used"),
        (["--grpc", "--token-file", str(tmp_path / "missing")], 3, "there is no file"),
    ):
        found, told = refused(store, *wrong)
        assert (found, message in told) == (code, True), (wrong, told)
    code, _ = refused(tmp_path / "nowhere", "--grpc", "--port", "0")
    assert code == 3
    assert not (tmp_path / "nowhere").exists()


def test_a_token_file_that_others_may_read_is_refused(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "token"
    for mode in (0o640, 0o604, 0o620, 0o602, 0o644, 0o777):
        code, message = refused(store, "--grpc", "--token-file", write(path, TOKEN, mode))
        assert (code, f"chmod 600 {path}" in message) == (6, True)
        assert TOKEN not in message
    assert read_token(write(path, TOKEN + "\n")) == TOKEN
    assert read_token(write(path, TOKEN, 0o400)) == TOKEN


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "x" * 15, "with a space in it", "ümlaut-ümlaut-ümlaut", "x" * 5000]
)
def test_what_is_no_token_is_refused_and_not_repeated(store: Path, tmp_path: Path, text: str) -> None:
    code, message = refused(store, "--grpc", "--token-file", write(tmp_path / "token", text))
    assert (code, "holds no token" in message) == (2, True)
    assert not text.strip() or text.strip() not in message


def test_a_token_is_read_from_a_file_only(store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        code, _ = refused(store, "--grpc", "--token-file", str(path))
        assert code in (2, 6)


def test_a_port_that_is_in_use(store: Path, started: list[Serving]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, message = refused(store, "--grpc", "--port", str(other.getsockname()[1]))
        assert (code, "in use" in message) == (6, True)
    first = Serving(store)
    started.append(first)
    # Neither a second service on its port, nor one on its store.
    code, message = refused(store.parent / "store", "--grpc", "--port", "0")
    assert (code, "store" in message) == (4, True)
    assert first.stop() == 0


@pytest.mark.parametrize(("number", "host"), [(signal.SIGTERM, "127.0.0.1"), (signal.SIGINT, "::1")])
async def test_it_says_where_it_listens_and_ends_well(
    store: Path, started: list[Serving], number: int, host: str
) -> None:
    serving = Serving(store, "--host", host, "--log-calls")
    started.append(serving)
    assert serving.address == {"host": host, "port": serving.port, "tls": False, "store": str(store)}
    target = f"[{host}]:{serving.port}" if ":" in host else f"{host}:{serving.port}"
    async with RemoteMemoryPersistence(target, retry_seconds=0) as remote:
        await remote.save_memory(MemoryEntry(memory_id="m", content="not in the log"))
        assert remote.stats()["memories"] == 1
        assert serving.stop(number) == 0
        with pytest.raises(ServiceUnavailableError):
            await remote.load_memory("m")
    events = [line["event"] for line in serving.log]
    assert (events[:2], events[-3:]) == (["opened", "started"], ["stopping", "stopped", "closed"])
    assert "not in the log" not in "".join(serving.errors)
    assert not list((store / "journal").glob("*.lock"))
    async with MemoryPersistence(store, read_only=True) as there:
        assert await there.list_memories() == ["m"]
        assert there.opening_report.findings == ()


async def test_what_libraries_log_becomes_lines_without_contents(store: Path, started: list[Serving]) -> None:
    serving = Serving(store)
    started.append(serving)
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        connection.sendall(b"neither HTTP nor anything else")
        connection.settimeout(20)
        while connection.recv(4096):
            pass
    assert serving.stop() == 0
    assert all("event" in line for line in serving.log)


async def test_the_example_of_the_page_runs(store: Path, started: list[Serving]) -> None:
    section = re.split(r"^## ", DOCS.partition("\n## serve\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    (line,) = re.findall(r"^    synthians-memory (.+)$", section, re.MULTILINE)
    assert shlex.split(line)[:4] == ["--store", "notes", "serve", "--grpc"]
    serving = Serving(store, *shlex.split(line)[4:])
    started.append(serving)
    (text,) = re.findall(r"^JSON[^:]*: (.*?)(?:\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    assert set(serving.address) == set(re.findall(r"`(\w+)`", text))
    assert serving.stop() == 0
