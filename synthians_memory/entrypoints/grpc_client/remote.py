"""RemoteMemoryPersistence: a store in another process, used as `MemoryPersistence` is.

It is no store: it keeps nothing but its connection.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from synthians_memory.entrypoints.grpc_client.connection import Connection
from synthians_memory.entrypoints.grpc_client.remote_care import RemoteCare
from synthians_memory.entrypoints.grpc_client.remote_entities import RemoteAssemblies, RemoteMemories
from synthians_memory.entrypoints.grpc_client.remote_search import RemoteSearches
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import repair_report
from synthians_memory.reports import RepairReport
from synthians_memory.times import Clock, SystemClock

__all__ = ["RemoteMemoryPersistence"]

_DEFAULT_TARGET: Final = "127.0.0.1:50053"


class RemoteMemoryPersistence(RemoteMemories, RemoteAssemblies, RemoteSearches, RemoteCare):
    """The methods of `MemoryPersistence`, answered by a service: the same values, errors and promises of iterations.

    Use it as an async context manager, or call `initialize` and `close`. All methods belong to the event loop that
    opened it; any number of tasks may call them at once.

    Besides the errors of the facade's methods each raises `ServiceUnavailableError` where the service cannot be reached
    or goes away, `ServiceTimeoutError`, `ServiceBusyError` and `NotAdmittedError`. Calls that are safe to repeat (reads, and
    saves without an expectation) are repeated for `retry_seconds` before they raise the first of these; each method says so. After it a write has an unknown but whole outcome.

    Args:
        target: "host:port" of the service.
        token: the service's token.
        root_certificates: PEM; the service speaks TLS with a certificate of theirs.
        tls: the service speaks TLS with a certificate that this machine trusts.
        timeout: seconds that a call may take; imports, checks, lists and the like take as long as they go on.
        retry_seconds: how long safe calls are repeated; 0: never.
        clock: as that of the store, for tests.

    Raises:
        UsageError: a token would go over the network in the clear.
        InvalidValueError: a target or a token that is none.
    """

    def __init__(
        self,
        target: str = _DEFAULT_TARGET,
        *,
        token: str | None = None,
        root_certificates: bytes | None = None,
        tls: bool = False,
        timeout: float = 60.0,
        retry_seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.connection = Connection(
            target,
            token=token,
            root_certificates=root_certificates,
            tls=tls,
            timeout=timeout,
            retry_seconds=retry_seconds,
        )
        self.clock = clock or SystemClock()
        self._opening_report = RepairReport()

    async def initialize(self) -> None:
        """Connect, and see that the service admits this client. Idempotent.

        Raises:
            ServiceUnavailableError: nobody answers there.
            NotAdmittedError: the token is wrong.
        """
        if self.connection.is_open:
            self.connection.require()
            return
        self.connection.open()
        try:
            response = await self.connection.ask("GetStats", wire.GetStatsRequest(), repeat=True)
        except BaseException:
            await self.connection.close()
            raise
        self._opening_report = repair_report(response.opening_report)

    async def close(self) -> None:
        """Disconnect; the service and its store go on. Idempotent."""
        await self.connection.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def opening_report(self) -> RepairReport:
        """What the opening of the service's store found and did."""
        self.connection.require()
        return self._opening_report
