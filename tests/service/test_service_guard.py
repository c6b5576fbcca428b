"""Whom the service admits, its bounds, its log and its measures; on real connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_server.call_log import CallLog
from synthians_memory.entrypoints.grpc_server.measures import Measures
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2_grpc
from synthians_memory.entrypoints.grpc_server.server import Server
from synthians_memory.entrypoints.grpc_server.settings import Bounds, ServiceSettings
from synthians_memory.errors import (
    BatchTooLargeError,
    NotAdmittedError,
    ServiceBusyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UsageError,
)

TOKEN = "a-token-of-many-letters"  # noqa: S105 - admits nobody anywhere
UNLOGGED = "what nobody may read in a log"


class Lines:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@asynccontextmanager
async def serving(
    path: Path, lines: Lines | None = None, **settings: Any
) -> AsyncIterator[tuple[int, MemoryPersistence]]:
    """A service on a fresh store, in this event loop; gives its port and the store."""
    log = CallLog(lines)
    try:
        async with MemoryPersistence(path / "store") as store:
            measures = settings.pop("measures", None)
            given = ServiceSettings(**{"port": 0, **settings})
            async with Server(store, given, log=log, measures=measures, all_calls=True) as server:
                yield server.port, store
    finally:
        log.close()


def client(port: int, **settings: Any) -> RemoteMemoryPersistence:
    return RemoteMemoryPersistence(f"127.0.0.1:{port}", **{"retry_seconds": 0.0, "timeout": 10.0, **settings})


async def test_without_a_token_nobody_gets_in(tmp_path: Path) -> None:
    lines = Lines()
    async with serving(tmp_path, lines, token=TOKEN) as (port, store):
        for token in (None, TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
            with pytest.raises(NotAdmittedError):
                await client(port, token=token).initialize()
        async with client(port, token=TOKEN) as admitted:
            await admitted.save_memory(MemoryEntry(memory_id="m", content="x"))
        assert await store.list_memories() == ["m"]
    assert [line["status"] for line in lines.all if line["event"] == "refused"] == ["UNAUTHENTICATED"] * 4
    assert TOKEN not in lines.text


@pytest.mark.parametrize("value", ["", "Bearer", f"Basic {TOKEN}", TOKEN, f"bearer {TOKEN}", f"Bearer  {TOKEN}"])
async def test_a_token_in_another_form_is_none(tmp_path: Path, value: str) -> None:
    async with serving(tmp_path, token=TOKEN) as (port, _), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = store_pb2_grpc.StoreServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetStats(wire.GetStatsRequest(), metadata=(("authorization", value),))
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_every_kind_of_call_is_refused_before_its_first_message(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as (port, _), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = store_pb2_grpc.StoreServiceStub(channel)
        calls = [stub.ListMemories(wire.ListMemoriesRequest()), stub.SaveMemories(), stub.Commit()]
        for call in calls:
            assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.UNAUTHENTICATED


async def test_health_needs_no_token_and_reflection_does(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as (port, _), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "synthians.memory.v1.StoreService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health.Check(health_pb2.HealthCheckRequest(service="another"))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED
        admitted = health.Watch(health_pb2.HealthCheckRequest(), metadata=(("authorization", f"Bearer {TOKEN}"),))
        assert (await admitted.read()).status == health_pb2.HealthCheckResponse.SERVING
        admitted.cancel()


async def test_what_is_no_call_of_the_service(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for path in ("/synthians.memory.v1.StoreService/Purge", "/other.Service/Call", "/"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(path)(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_malformed_messages_are_refused_and_the_service_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, store), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        prefix = "/synthians.memory.v1.StoreService/"
        for noise in (b"\xff" * 50, b"\x0a\x7f", b"\x0a\x05\x0a\x03\xff\xfe\xfd"):
            for name in ("SaveMemory", "Search", "LoadMemory", "ListMemories"):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await channel.unary_unary(prefix + name)(noise)
                assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
            for name in ("SaveMemories", "Commit"):
                call = channel.stream_stream(prefix + name)()
                await call.write(noise)
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        assert await store.list_memories() == []
        async with client(port) as remote:
            assert await remote.list_memories() == []


async def test_oversized_messages_are_refused_and_the_service_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path, bounds=Bounds(message_bytes=100_000)) as (port, store), client(port) as remote:
        for content in ("x" * 100_001, "x" * 20_000_000):
            with pytest.raises(BatchTooLargeError, match="too large for the service"):
                await remote.save_memory(MemoryEntry(content=content))
        with pytest.raises(BatchTooLargeError):
            await remote.save_memories_batch([MemoryEntry(content="x" * 200_000)])
        assert await store.list_memories() == []
        await remote.save_memory(MemoryEntry(memory_id="m", content="x" * 99_000))
        assert await store.list_memories() == ["m"]


async def test_noise_instead_of_http(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _):
        for noise in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01" + b"\0" * 200,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(noise)
            # The server's own settings frame may come first; then it closes.
            await asyncio.wait_for(reader.read(), 20)
            writer.close()
        async with client(port) as remote:
            assert await remote.list_memories() == []


async def test_more_calls_than_the_bound_are_refused(tmp_path: Path) -> None:
    bounds = Bounds(calls=3)
    async with serving(tmp_path, bounds=bounds) as (port, _), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = store_pb2_grpc.StoreServiceStub(channel)
        open_streams = [stub.SaveMemories() for _ in range(3)]
        for stream in open_streams:
            await stream.write(wire.SaveMemoriesRequest(memories=[wire.Memory(content="x")]))
            assert (await stream.read()).stored
        remote = client(port)
        with pytest.raises(ServiceBusyError, match="3 calls"):
            await remote.initialize()
        await open_streams[0].done_writing()
        assert await open_streams[0].read() is grpc.aio.EOF
        async with remote:
            assert len(await remote.list_memories()) == 3
        for stream in open_streams:
            stream.cancel()


async def test_a_call_without_a_deadline_gets_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    bounds = Bounds(deadline=1.0)
    async with (
        serving(tmp_path, bounds=bounds) as (port, store),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        monkeypatch.setattr(store, "flush", never)
        stub = store_pb2_grpc.StoreServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Flush(wire.FlushRequest())
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "1 seconds" in (raised.value.details() or "")
        monkeypatch.setattr(store, "adopt", never)
        async with client(port, timeout=0.1) as remote:
            with pytest.raises(ServiceTimeoutError):
                await remote.adopt("x")
        # A stream has it for each of its steps, not for all.
        stream = stub.SaveMemories()
        for _ in range(6):
            await asyncio.sleep(0.25)
            await stream.write(wire.SaveMemoriesRequest(memories=[wire.Memory(content="x")]))
            await stream.read()
        assert await asyncio.wait_for(stream.code(), 20) is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_without_a_message_are_let_go(tmp_path: Path) -> None:
    bounds = Bounds(deadline=0.5, calls=4)
    async with (
        serving(tmp_path, bounds=bounds) as (port, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        method = "/synthians.memory.v1.StoreService/"
        calls = [channel.stream_stream(method + name)() for name in ("Flush", "Search", "ListMemories", "SaveMemories")]
        for call in calls:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        empty = channel.stream_stream(method + "Flush")()
        await empty.done_writing()
        assert await empty.code() is grpc.StatusCode.INVALID_ARGUMENT
        async with client(port) as remote:
            assert await remote.list_memories() == []


async def test_a_reader_that_takes_its_time_gets_everything(tmp_path: Path) -> None:
    async with serving(tmp_path, bounds=Bounds(deadline=0.3)) as (port, store), client(port) as remote:
        stored = await store.save_memories_batch(
            [MemoryEntry(memory_id=f"m{n:03}", content="x" * 40_000) for n in range(400)]
        )
        seen = []
        async for entry in remote.iter_memories():
            seen.append(entry)
            if len(seen) % 150 == 0:
                # Longer than the service waits for a reader whose window is full.
                await asyncio.sleep(1)
        assert seen == stored


async def test_a_failure_of_the_service_says_where_and_not_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(UNLOGGED)

    lines = Lines()
    async with serving(tmp_path, lines) as (port, store), client(port) as remote:
        monkeypatch.setattr(store, "flush", fail)
        with pytest.raises(ServiceError, match="its log says where"):
            await remote.flush()
        await remote.save_memory(MemoryEntry(memory_id=UNLOGGED, content=UNLOGGED, metadata={"a": UNLOGGED}))
        await remote.search([1.0], where={"v": UNLOGGED})
        with pytest.raises(UsageError):
            await remote.search(UNLOGGED)
    failed = [line for line in lines.all if line["event"] == "failed"]
    assert [line["error"] for line in failed] == ["ZeroDivisionError"]
    assert any("test_service_guard.py" in place for place in failed[0]["at"])
    assert UNLOGGED not in lines.text
    statuses = [line["status"] for line in lines.all if line["event"] == "call"]
    assert statuses == ["OK", "INTERNAL", "OK", "OK", "FAILED_PRECONDITION"]


async def test_what_was_accepted_is_finished_and_no_more_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    log = CallLog(lines)
    begun, let_go = asyncio.Event(), asyncio.Event()
    async with MemoryPersistence(tmp_path / "store") as store:
        save = store.save_memory

        async def slow_save(*args: Any, **given: Any) -> MemoryEntry:
            begun.set()
            await let_go.wait()
            return await save(*args, **given)

        monkeypatch.setattr(store, "save_memory", slow_save)
        server = Server(store, ServiceSettings(port=0), log=log)
        await server.start()
        async with client(server.port) as remote:
            accepted = asyncio.ensure_future(remote.save_memory(MemoryEntry(memory_id="accepted", content="x")))
            await begun.wait()
            stopping = asyncio.ensure_future(server.stop())
            await asyncio.sleep(0.1)
            with pytest.raises(ServiceUnavailableError):
                await remote.list_memories()
            assert not stopping.done()
            let_go.set()
            assert (await accepted).memory_id == "accepted"
            await stopping
        assert await store.list_memories() == ["accepted"]
    log.close()
    assert [line["event"] for line in lines.all][-2:] == ["stopping", "stopped"]


async def test_measures_count_every_call(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    measures = Measures(MeterProvider([reader]))
    async with serving(tmp_path, measures=measures, token=TOKEN) as (port, _), client(port, token=TOKEN) as remote:
        await remote.save_memory(MemoryEntry(content="x"))
        await remote.list_memories()
        with pytest.raises(NotAdmittedError):
            await client(port).initialize()
    data = reader.get_metrics_data()
    assert data is not None
    found = {m.name: m.data for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    calls = {
        (str(point.attributes["rpc.method"]).rpartition("/")[2], point.attributes["rpc.grpc.status"]): point.value
        for point in found["synthians_memory.service.calls"].data_points
    }
    assert calls == {
        ("GetStats", "OK"): 1,
        ("SaveMemory", "OK"): 1,
        ("ListMemories", "OK"): 1,
        ("GetStats", "UNAUTHENTICATED"): 1,
    }
    assert {point.value for point in found["synthians_memory.service.calls.active"].data_points} == {0}
    assert sum(point.count for point in found["synthians_memory.service.call.duration"].data_points) == 3


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate for this machine and its key, for a day."""
    folder = tmp_path_factory.mktemp("tls")
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -nodes -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*line.split(), *names], cwd=folder, check=True, capture_output=True)
    return (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()


async def test_with_tls_only_tls(tmp_path: Path, certificate: tuple[bytes, bytes]) -> None:
    chain, key = certificate
    async with serving(tmp_path, certificate=chain, key=key, token=TOKEN) as (port, store):
        async with client(port, root_certificates=chain, token=TOKEN) as remote:
            await remote.save_memory(MemoryEntry(memory_id="m", content="x"))
            assert (await remote.fetch_stats())["memories"] == 1
        for other in (
            client(port, token=TOKEN),  # plain text
            client(port, tls=True, token=TOKEN),  # a machine that does not trust the certificate
        ):
            with pytest.raises(ServiceUnavailableError):
                await other.initialize()
        with pytest.raises(NotAdmittedError):
            await client(port, root_certificates=chain).initialize()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert await store.list_memories() == ["m"]
        async with client(port, root_certificates=chain, token=TOKEN) as remote:
            assert await remote.list_memories() == ["m"]


async def test_a_plain_service_is_no_tls_service(tmp_path: Path, certificate: tuple[bytes, bytes]) -> None:
    async with serving(tmp_path) as (port, _):
        with pytest.raises(ServiceUnavailableError):
            await client(port, root_certificates=certificate[0]).initialize()


def test_a_token_does_not_leave_the_machine_in_the_clear() -> None:
    for target in ("192.0.2.1:50053", "example.org:50053", "[2001:db8::1]:50053", "0.0.0.0:1"):
        with pytest.raises(UsageError, match="in the clear"):
            RemoteMemoryPersistence(target, token=TOKEN)
        assert RemoteMemoryPersistence(target, token=TOKEN, tls=True)
    for target in ("127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1"):
        assert RemoteMemoryPersistence(target, token=TOKEN)


# Connections


def dial(port: int, count: int) -> list[socket.socket]:
    made = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        made.append(connection)
    return made


def hang_up(connections: list[socket.socket], *, hard: bool = False) -> None:
    for connection in connections:
        if hard:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def closed_among(connections: list[socket.socket]) -> int:
    """How many the other side has closed."""
    closed = 0
    for connection in connections:
        try:
            while data := connection.recv(65536):
                assert data
            closed += 1
        except BlockingIOError:
            continue
        except ConnectionError:
            closed += 1
    return closed


async def until_closed(connections: list[socket.socket], count: int) -> None:
    while closed_among(connections) < count:  # noqa: ASYNC110 - other ends of sockets
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("waves", "size"), [(3, 100), pytest.param(25, 400, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_connections_beyond_the_bound_are_closed(tmp_path: Path, waves: int, size: int) -> None:
    bounds = Bounds(connections=40, handshake=100_000.0)
    async with serving(tmp_path, bounds=bounds) as (port, _), client(port, retry_seconds=30.0) as early:
        for wave in range(waves):
            idle = dial(port, size)
            await asyncio.wait_for(until_closed(idle, size - bounds.connections), 60)
            await early.save_memory(MemoryEntry(memory_id=f"during {wave}", content="x"))
            hang_up(idle, hard=bool(wave % 2))
            async with client(port, retry_seconds=30.0) as late:
                await late.save_memory(MemoryEntry(memory_id=f"after {wave}", content="x"))
        assert len(await early.list_memories()) == 2 * waves


async def test_connections_that_do_not_become_grpc_are_closed(tmp_path: Path) -> None:
    bounds = Bounds(connections=40, handshake=1.0)
    async with serving(tmp_path, bounds=bounds) as (port, _), client(port) as early:
        idle = dial(port, 30)
        await asyncio.wait_for(until_closed(idle, 30), 60)
        hang_up(idle)
        assert await early.list_memories() == []
