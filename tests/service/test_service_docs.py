"""docs/service.md: its example prints what it says, its requests get answers, its table is the program's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from serving_process import Serving
from typer.testing import CliRunner

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_server.settings import DEFAULT_PORT, Bounds
from synthians_memory.entrypoints.grpc_server.statuses import STATUS_OF

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a service as the page starts it, but for the port."""
    path = tmp_path_factory.mktemp("served") / "notes"
    assert CliRunner().invoke(app, ["--store", str(path), "init"]).exit_code == 0
    serving = Serving(path)
    yield serving.port
    assert serving.stop() == 0


@pytest.mark.parametrize("number", [0, 1], ids=["the store", "the tiers"])
def test_an_example_prints_what_it_says(port: int, number: int) -> None:
    example, shown = blocks("python")[number], blocks("text")[number]
    code = example.replace(str(DEFAULT_PORT), str(port))
    assert code != example
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr, result.stdout) == (0, "", shown)


async def test_the_example_in_a_program_runs(tmp_path: Path) -> None:
    code = "\n    ".join(blocks("python")[2].replace("./storage", str(tmp_path / "s")).splitlines())
    names: dict[str, Any] = {"MemoryPersistence": MemoryPersistence}
    exec(f"async def main():\n    {code}", names)  # noqa: S102
    await names["main"]()


class ByReflection:
    """Makes calls as grpcurl does: with what reflection tells, and JSON."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = descriptor_pool.DescriptorPool(self.database)

    def call(self, service: str, method: str, given: str) -> list[dict[str, Any]]:
        described = self._pool.FindServiceByName(service).FindMethodByName(method)
        request = json_format.Parse(given, message_factory.GetMessageClass(described.input_type)())
        answer = message_factory.GetMessageClass(described.output_type)
        make = self._channel.unary_stream if described.server_streaming else self._channel.unary_unary
        found = make(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )(request, timeout=30)
        return [json_format.MessageToDict(one) for one in (found if described.server_streaming else [found])]


def test_the_requests_get_answers(port: int) -> None:
    (lines,) = blocks("sh")
    requests = [shlex.split(line) for line in lines.splitlines()]
    assert all(words[:2] == ["grpcurl", "-plaintext"] for words in requests)
    assert all(f"127.0.0.1:{DEFAULT_PORT}" in words for words in requests)
    answers = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        reflected = ByReflection(channel)
        for words in requests:
            service, _, method = words[-1].rpartition("/")
            short = words[-1].rpartition(".")[2]
            if words[-1] == "list":
                services = set(reflected.database.get_services())
                assert services > {f"synthians.memory.v1.{name}Service" for name in ("Store", "Memory")}
            else:
                answers[short] = reflected.call(service, method, words[words.index("-d") + 1])
    assert answers["StoreService/LoadMemory"][0]["memory"]["content"] == "Bob drinks coffee."
    assert answers["StoreService/LoadMemory"][0] == answers["StoreService/SaveMemory"][0]
    assert answers["StoreService/Search"][0]["hits"][0]["id"] == "tea"
    assert answers["StoreService/Check"][-1] == {"done": True}
    assert answers["MemoryService/AddKnowledge"][0]["knowledge"]["title"] == "tea"
    (chunk,) = answers["MemoryService/AssembleContext"][0]["chunks"]
    assert "80 degrees" in chunk["content"]
    assert answers["Health/Check"] == [{"status": "SERVING"}]


def test_the_table_of_statuses_is_the_programs() -> None:
    section = PAGE.partition("\n## Errors\n")[2].partition("\n## ")[0]
    written = {
        name: status
        for status, errors in re.findall(r"^\| ([A-Z_]+) \| (.+) \|$", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", errors)
    }
    assert written == {kind.__name__: code.name for kind, code in STATUS_OF.items()}


def test_the_signature_of_the_client_is_shown() -> None:
    (shown,) = re.findall(r"^- `RemoteMemoryPersistence(\(.+?\))`", PAGE, re.MULTILINE)
    scope: dict[str, Any] = {}
    exec(f"def f{shown}: ...", scope)  # noqa: S102
    actual = signature(RemoteMemoryPersistence).parameters.values()
    wanted = [(p.name, p.kind, p.default) for p in signature(scope["f"]).parameters.values()]
    assert [(p.name, p.kind, p.default) for p in actual] == wanted


def test_the_bounds_are_shown() -> None:
    section = PAGE.partition("\n## Its bounds\n")[2].partition("\n## ")[0]
    numbers = [float(number) for number in re.findall(r"^\| .+? \| (\d+)", section, re.MULTILINE)]
    defaults = {field.name: field.default for field in fields(Bounds)}
    names = ("message_bytes", "calls", "connections", "deadline", "handshake")
    assert numbers[:5] == [defaults["message_bytes"] / (1 << 20), *(defaults[name] for name in names[1:])]
    assert numbers[6] == defaults["grace"]
