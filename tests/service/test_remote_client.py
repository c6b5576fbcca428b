"""The client: its names are the facade's, its errors come back, it repeats what is safe and nothing else."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from served import served

from synthians_memory import ABSENT, MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.engine.transaction import Transaction
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence, remote_search
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2_grpc
from synthians_memory.entrypoints.grpc_server.server import Server
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings
from synthians_memory.errors import (
    BatchTooLargeError,
    DamagedFileError,
    DiskFullError,
    InvalidTypeError,
    InvalidValueError,
    NotAdmittedError,
    NotStoredError,
    ServiceBusyError,
    ServiceUnavailableError,
    StoreClosedError,
    SynthiansMemoryError,
    UsageError,
    WrongLoopError,
)
from synthians_memory.reports import ImportReport
from synthians_memory.testing.store_search_suite import LetterEmbedder

# What only who looks after the store does, on its machine.
NOT_SERVED = {"purge", "reembed", "backup", "history"}
ADDED = {"fetch_stats"}


@asynccontextmanager
async def both(path: Path, **settings: Any) -> AsyncIterator[tuple[MemoryPersistence, RemoteMemoryPersistence]]:
    """A store and a client of its service, in one event loop."""
    async with (
        MemoryPersistence(path / "store", **settings) as store,
        Server(store, ServiceSettings(port=0)) as server,
        RemoteMemoryPersistence(f"127.0.0.1:{server.port}", retry_seconds=0.0) as remote,
    ):
        yield store, remote


def methods_of(cls: type) -> dict[str, Any]:
    found = inspect.getmembers(cls, lambda value: inspect.isfunction(value) or isinstance(value, property))
    return {name: value for name, value in found if not name.startswith("_")}


def test_the_names_are_the_facades() -> None:
    assert set(methods_of(MemoryPersistence)) - NOT_SERVED == set(methods_of(RemoteMemoryPersistence)) - ADDED


@pytest.mark.parametrize("name", sorted(set(methods_of(MemoryPersistence)) - NOT_SERVED))
def test_methods_are_called_as_the_facades(name: str) -> None:
    theirs, mine = getattr(MemoryPersistence, name), getattr(RemoteMemoryPersistence, name)
    if isinstance(theirs, property):
        assert isinstance(mine, property)
        return
    for one, other in zip(*(inspect.signature(f).parameters.values() for f in (theirs, mine)), strict=True):
        assert (one.name, one.kind, one.default) == (other.name, other.kind, other.default)
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(mine)


async def test_a_token_as_it_stands_in_a_file_is_taken(tmp_path: Path) -> None:
    written = "0123456789abcdef\r\n"
    with served(lambda: MemoryPersistence(tmp_path), token=written.strip()) as port:
        async with RemoteMemoryPersistence(f"127.0.0.1:{port}", token=written) as remote:
            assert await remote.list_memories() == []


@pytest.mark.parametrize(
    ("target", "token", "words"),
    [
        ("http://127.0.0.1:50053", None, "URL"),
        ("127.0.0.1:50053", "two words", "token"),
        ("127.0.0.1:50053", " \n", "token"),
        ("127.0.0.1:50053", "schlüssel-schlüssel", "token"),
    ],
)
def test_what_is_no_target_or_token_is_refused(target: str, token: str | None, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        RemoteMemoryPersistence(target, token=token)


async def test_one_filter_for_many_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_search, "_PIECE_BYTES", 10_000)
    async with both(tmp_path, embedder=LetterEmbedder()) as (store, remote):
        rows = LetterEmbedder().embed([chr(97 + n) * 3 + "z" for n in range(20)])
        entries = [MemoryEntry(memory_id=f"m{n:02}", content="x", embedding=row) for n, row in enumerate(rows)]
        await store.save_memories_batch(entries)
        queries: list[Any] = [*rows, "abc", *(rows[n % 20] for n in range(300))]
        assert await remote.search_batch(queries, 3) == await store.search_batch(queries, 3)
        assert await remote.search_batch([], 3) == []
        for bad in ("text", b"bytes"):
            with pytest.raises(InvalidTypeError):
                await remote.search_batch(bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            await remote.search_batch([rows[0]], 0)


async def test_recall_and_remember_are_those_of_the_store(tmp_path: Path) -> None:
    async with both(tmp_path, embedder=LetterEmbedder()) as (store, remote):
        stored = await remote.remember("zebra crossing", ["t"], 0.75, {"a": [1, {"b": None}]})
        assert stored.embedding is not None
        assert (stored.tags, stored.quickrecal_score, stored.metadata) == (("t",), 0.75, {"a": [1, {"b": None}]})
        assert await store.load_memory(stored.memory_id) == stored
        for n in range(5):
            await remote.remember(f"another zebra {n}")
        asked: list[dict[str, Any]] = [
            {},
            {"mode": "text", "k": 2},
            {"mode": "vector", "min_score": 0.2},
            {
                "fusion": "rank",
                "vector_weight": 1.0,
                "recency": 0.5,
                "half_life": 1.0,
                "importance": 0.25,
                "neighbours": 0,
            },
            {"where": {"tags": {"$contains": "t"}}, "timeout": None},
        ]
        for given in asked:
            mine, theirs = await remote.recall("zebra", **given), await store.recall("zebra", **given)
            assert [(h.entry, h.mode, h.parts.text, h.parts.vector) for h in mine] == [
                (h.entry, h.mode, h.parts.text, h.parts.vector) for h in theirs
            ]
            assert [h.score for h in mine] == pytest.approx([h.score for h in theirs], abs=1e-6)
        for bad in ({"mode": "deep"}, {"k": 0}, {"half_life": 0}, {"timeout": -1.0}):
            with pytest.raises(InvalidValueError):
                await remote.recall("zebra", **bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            await remote.remember(" ")


@pytest.mark.parametrize("parked", [True, False])
async def test_a_memory_that_could_not_be_stored_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parked: bool
) -> None:
    given: list[MemoryEntry] = []

    async def refuse(text: str, tags: Any, importance: Any, metadata: Any) -> MemoryEntry:
        given.append(MemoryEntry(content=text, tags=tags, quickrecal_score=importance, metadata=metadata))
        raise NotStoredError("it is full", hint="Mend it.", entry=given[0], parked=parked)

    async with both(tmp_path) as (store, remote):
        monkeypatch.setattr(store, "remember", refuse)
        with pytest.raises(NotStoredError, match="it is full") as raised:
            await remote.remember("a text", ["t"], 0.25, {"a": 1})
    assert (raised.value.entry, raised.value.parked) == (given[0], parked)


async def test_what_is_damaged_is_told_and_left_out(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        for name in ("a", "b", "c"):
            await store.save_memory(MemoryEntry(memory_id=name, content=f"zebra {name}"))
            await store.save_assembly(MemoryAssembly(assembly_id=name))
        await store.recall("zebra")
        await store.checkpoint()
    for folder in ("memories", "assemblies"):
        path = tmp_path / "store" / folder / "b.json"
        path.write_bytes(path.read_bytes().replace(b'"b"', b'"x"'))
    async with both(tmp_path, auto_repair=False) as (store, remote):
        told: list[SynthiansMemoryError] = []
        assert [m.memory_id async for m in remote.iter_memories(on_damaged=told.append)] == ["a", "c"]
        assert [a.assembly_id async for a in remote.iter_assemblies(on_damaged=told.append)] == ["a", "c"]
        hits = await remote.recall("zebra", on_damaged=told.append)
        assert sorted(hit.entry.memory_id for hit in hits) == ["a", "c"]
        assert [(type(error), error.path) for error in told] == [
            (DamagedFileError, f"{folder}/b.json") for folder in ("memories", "assemblies", "memories")
        ]
        for call in (lambda: remote.load_memory("b"), remote.load_all, lambda: remote.load_memories(["a", "b"])):
            with pytest.raises(DamagedFileError):
                await call()
        theirs = await store.verify_consistency()
        assert await remote.verify_consistency() == theirs != []
        assert remote.opening_report == store.opening_report
        assert (await remote.verify_and_repair_consistency(dry_run=True)).findings == tuple(theirs)
        report = await remote.verify_and_repair_consistency()
        assert report.clean
        assert report.quarantined


async def test_progress_comes_from_the_service(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        await store.save_memories_batch([MemoryEntry(content="x") for _ in range(300)])
        told: list[tuple[int, int]] = []
        assert await remote.verify_consistency(progress=lambda *done: told.append(done)) == []
        assert told
        assert all(0 <= done <= total for done, total in told)
        assert told == sorted(told)


async def test_expired_memories_are_swept(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        past = "2001-01-01T00:00:00Z"
        await remote.save_memories_batch([MemoryEntry(content="x", expires_at=past) for _ in range(700)])  # type: ignore[arg-type]
        assert len([m async for m in remote.iter_memories(expired=True)]) == 700
        assert await remote.sweep_expired(dry_run=True) == 700
        assert (await remote.fetch_stats())["memories"] == 700
        assert await remote.sweep_expired() == 700
        assert await remote.fetch_stats() == store.stats()


async def test_problems_of_an_import_come_each_once(tmp_path: Path) -> None:
    async def lines() -> AsyncIterator[list[bytes]]:
        for n in range(0, 2600, 13):
            yield [b'{"id": "m%d", "content": "x"}' % n, *[b"no json"] * 12]

    async with both(tmp_path) as (store, remote):
        grown: list[ImportReport] = []
        report = await remote.import_memories(lines(), chunk=100, progress=grown.append)
        assert (report.imported, report.problem_count, len(report.problems)) == (200, 2400, 1000)
        assert [p.line for p in report.problems] == sorted({p.line for p in report.problems})
        assert grown[-1] == report
        assert len(await store.list_memories()) == 200


async def test_a_list_that_is_left_early_is_ended(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        await store.save_memories_batch([MemoryEntry(memory_id=f"m{n:04}", content="x" * 2000) for n in range(2000)])
        for _ in range(30):
            entries = remote.iter_memories()
            assert (await anext(entries)).memory_id == "m0000"
            await entries.aclose()  # type: ignore[attr-defined]
        assert len(await remote.list_memories()) == 2000


async def test_a_batch_larger_than_a_message_is_still_one(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        entries = [MemoryEntry(memory_id=f"m{n:03}", content="x" * 1_000_000) for n in range(40)]
        assert await remote.save_memories_batch(entries) == await store.load_all()
        async with remote.transaction() as transaction:
            for entry in entries:
                transaction.save_memory(entry.replace(content="y" * 1_000_000))
        assert {entry.content[0] for entry in await remote.load_all()} == {"y"}


async def test_changes_that_do_not_end_are_none(tmp_path: Path) -> None:
    async with both(tmp_path) as (store, remote):
        stub = remote.connection._stub
        for requests in ([], [wire.CommitRequest(changes=[wire.Change(save_memory=wire.Memory(content="x"))])]):
            assert "not sent to their end" in await stub.Commit(iter(requests)).details()
        nothing = wire.CommitRequest(changes=[wire.Change()], complete=True)
        assert "a change changes nothing" in await stub.Commit(iter([nothing])).details()
        call = stub.SaveMemories()
        await call.write(wire.SaveMemoriesRequest(memories=[wire.Memory(memory_id="kept", content="x")]))
        assert (await call.read()).stored[0].id == "kept"
        await call.write(wire.SaveMemoriesRequest(memories=[wire.Memory(memory_id="half", content="x")], more=True))
        await call.done_writing()
        assert "not finished" in await call.details()
        assert await store.list_memories() == ["kept"]


# Going away


@asynccontextmanager
async def going_away(
    path: Path, times: int, **settings: Any
) -> AsyncIterator[tuple[Any, RemoteMemoryPersistence, list[str]]]:
    """A store, a client, and the calls that it made; of each call the first answers are lost after they took effect."""
    async with both(path) as (store, remote):
        made: list[str] = []
        connection = remote.connection
        connection._retry_seconds = settings.get("seconds", 30.0)
        stub = connection._stub

        class Lost:
            """A call whose answer is lost on its way, as by a connection that breaks under it."""

            def __init__(self, call: Any, *, losing: bool) -> None:
                self.call = call
                self._losing = losing

            def __getattr__(self, name: str) -> Any:
                return getattr(self.call, name)

            def __await__(self) -> Any:
                return self._answer().__await__()

            async def _answer(self) -> Any:
                answer = await self.call
                if self._losing:
                    await lose()
                return answer

        class Losing:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(request: Any, **given: Any) -> Lost:
                    made.append(name)
                    return Lost(getattr(stub, name)(request, **given), losing=made.count(name) <= times)

                return call

        connection._stub = Losing()
        yield store, remote, made


async def lose() -> None:
    """Raise what gRPC raises where nobody answers."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        await store_pb2_grpc.StoreServiceStub(channel).GetStats(wire.GetStatsRequest(), timeout=5)


async def test_what_is_safe_is_repeated(tmp_path: Path) -> None:
    async with going_away(tmp_path, 2) as (store, remote, made):
        entry = MemoryEntry(memory_id="m", content="x", embedding=[1.0])
        assert (await remote.save_memory(entry)).memory_id == "m"
        assert (await remote.save_assembly(MemoryAssembly(assembly_id="a"))).assembly_id == "a"
        assert await remote.load_memory("m") == await store.load_memory("m")
        assert [hit.memory_id for hit in await remote.search([1.0])] == ["m"]
        await remote.flush()
        await remote.checkpoint()
        assert {name: made.count(name) for name in made} == dict.fromkeys(made, 3)


async def test_what_is_not_safe_is_never_repeated(tmp_path: Path) -> None:
    entry = MemoryEntry(memory_id="m", content="x")
    calls: list[tuple[Callable[[RemoteMemoryPersistence], Any], str]] = [
        (lambda remote: remote.save_memory(entry, expected_updated_at=ABSENT), "SaveMemory"),
        (lambda remote: remote.save_assembly(MemoryAssembly(), expected_updated_at=ABSENT), "SaveAssembly"),
        (lambda remote: remote.remember("a text"), "Remember"),
        (lambda remote: remote.delete_memory("m"), "DeleteMemory"),
        (lambda remote: remote.delete_memories_batch(["m"]), "DeleteMemories"),
        (lambda remote: remote.delete_assembly("a"), "DeleteAssembly"),
        (transact, "Commit"),
        (lambda remote: remote.adopt("n"), "Adopt"),
    ]
    async with going_away(tmp_path, 1000) as (store, remote, made):
        await store.save_memory(MemoryEntry(memory_id="n", content="x"))
        for call, name in calls:
            with pytest.raises(ServiceUnavailableError):
                await call(remote)
            assert made.count(name) == 1
        # Each of them took effect.
        assert (len(await store.list_memories()), len(await store.list_assemblies())) == (3, 1)


async def transact(remote: RemoteMemoryPersistence) -> None:
    async with remote.transaction() as transaction:
        assert isinstance(transaction, Transaction)
        transaction.save_memory(MemoryEntry(memory_id="t", content="x"))


async def test_repeating_ends(tmp_path: Path) -> None:
    async with going_away(tmp_path, 1000, seconds=0.5) as (_, remote, made):
        with pytest.raises(ServiceUnavailableError):
            await remote.search([1.0])
        assert 2 <= len(made) <= 8


async def test_what_the_store_refuses_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def refuse(*_: Any, **__: Any) -> MemoryEntry:
        nonlocal asked
        asked += 1
        raise DiskFullError("it is full", errno=28)

    async with both(tmp_path) as (store, remote):
        monkeypatch.setattr(store, "save_memory", refuse)
        remote.connection._retry_seconds = 30.0
        with pytest.raises(DiskFullError) as raised:
            await remote.save_memory(MemoryEntry(content="x"))
        assert (raised.value.errno, asked) == (28, 1)


async def test_a_list_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        stored = await store.save_memories_batch(
            [MemoryEntry(memory_id=f"m{n:04}", content="x" * 3000) for n in range(1500)]
        )
        server = Server(store, ServiceSettings(port=0))
        await server.start()
        port, seen = server.port, []
        async with RemoteMemoryPersistence(f"127.0.0.1:{port}", retry_seconds=60.0) as remote:
            async for entry in remote.iter_memories():
                seen.append(entry)
                if len(seen) in (50, 700):
                    await server._server.stop(0)
                    server = Server(store, ServiceSettings(port=port))
                    await server.start()
            assert seen == stored
        await server.stop()


async def test_a_closed_client_refuses_and_can_be_opened_again(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, remote):
        await remote.initialize()
        await remote.close()
        await remote.close()
        for call in (remote.list_memories, remote.flush, remote.load_all, lambda: remote.load_memories([])):
            with pytest.raises(StoreClosedError):
                await call()
        with pytest.raises(StoreClosedError):
            remote.stats()
        await remote.initialize()
        assert await remote.list_memories() == []


async def test_another_loop_is_refused(tmp_path: Path) -> None:
    async with both(tmp_path) as (_, remote):

        def elsewhere() -> None:
            with pytest.raises(WrongLoopError):
                asyncio.run(remote.list_memories())

        await asyncio.to_thread(elsewhere)


async def test_nobody_there() -> None:
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await RemoteMemoryPersistence("127.0.0.1:1", retry_seconds=0.2).initialize()


async def test_a_stream_is_told_why_it_is_refused(tmp_path: Path) -> None:
    async def lines(first: bytes) -> AsyncIterator[list[bytes]]:
        for n in range(10):
            yield [first, *(b'{"id": "m%d-%d", "content": "x"}' % (n, i) for i in range(20))]

    large = [MemoryEntry(content="x" * 300_000) for _ in range(10)]
    async with both(tmp_path, max_batch_bytes=2_000_000) as (store, remote):
        for _ in range(40):
            with pytest.raises(UsageError, match="no embedder"):
                await remote.import_memories(lines(b""), embed=True, chunk=1)
            with pytest.raises(InvalidValueError, match="line 1 cannot be stored"):
                await remote.import_memories(lines(b"no json"), stop_on_error=True, chunk=1)
        for _ in range(5):
            with pytest.raises(BatchTooLargeError):
                await remote.save_memories_batch(large)
            with pytest.raises(BatchTooLargeError):
                await save_all(remote, large)
        assert await store.list_memories() == []


async def save_all(remote: RemoteMemoryPersistence, entries: list[MemoryEntry]) -> None:
    async with remote.transaction() as transaction:
        for entry in entries:
            transaction.save_memory(entry)


async def test_a_stream_without_the_token_is_told_so(tmp_path: Path) -> None:
    token = "sixteen-letters-or-more"  # noqa: S105 - admits nobody anywhere
    settings = ServiceSettings(port=0, token=token)
    async with (
        MemoryPersistence(tmp_path / "store") as store,
        Server(store, settings) as server,
        RemoteMemoryPersistence(f"127.0.0.1:{server.port}", token=token) as remote,
    ):
        remote.connection._metadata = ()
        entries = [MemoryEntry(content="x" * 100_000) for _ in range(20)]
        for _ in range(20):
            for call in (remote.save_memories_batch, lambda given: save_all(remote, given)):
                with pytest.raises(NotAdmittedError):
                    await call(entries)
        assert await store.list_memories() == []


async def test_unfinished_batches_have_a_bound_together(tmp_path: Path) -> None:
    half = wire.SaveMemoriesRequest(memories=[wire.Memory(content="x" * 700_000)], more=True)
    async with both(tmp_path, max_batch_bytes=1_000_000) as (store, remote):
        stub = remote.connection._stub
        calls = [stub.SaveMemories() for _ in range(2)]
        for call in calls:
            await call.write(half)
            # The next one is read when this one is.
            await call.write(wire.SaveMemoriesRequest(memories=[wire.Memory(content="y")], more=True))
        while True:
            try:
                await remote.save_memories_batch([MemoryEntry(memory_id="m", content="x" * 700_000)])
            except ServiceBusyError:
                break
            await asyncio.sleep(0.01)
        for call in calls:
            await call.write(wire.SaveMemoriesRequest(memories=[wire.Memory(content="last")]))
            assert len((await call.read()).stored) == 3
            await call.done_writing()
        assert (await remote.save_memories_batch([MemoryEntry(memory_id="m", content="x" * 700_000)]))[
            0
        ].memory_id == "m"
        assert len(await store.list_memories()) == 7


async def test_a_chunk_of_an_import_has_a_bound(tmp_path: Path) -> None:
    async def lines() -> AsyncIterator[list[bytes]]:
        for n in range(100):
            yield [b'{"id": "m%d", "content": "%s"}' % (n, b"x" * 100_000)]

    async with both(tmp_path, max_batch_bytes=2_000_000) as (store, remote):
        with pytest.raises(BatchTooLargeError, match="a chunk has over"):
            await remote.import_memories(lines(), chunk=2**62)
        assert await store.list_memories() == []
        assert (await remote.import_memories(lines(), chunk=10)).imported == 100
