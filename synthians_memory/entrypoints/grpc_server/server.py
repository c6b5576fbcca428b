"""The server: it listens, has the guard admit calls, and ends so that nothing that was accepted is lost.

It neither opens nor closes the store, which its caller owns.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from synthians_memory.entrypoints.grpc_server.call_log import CallLog
from synthians_memory.entrypoints.grpc_server.guard import Guard
from synthians_memory.entrypoints.grpc_server.measures import Measures
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2, store_pb2_grpc
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings
from synthians_memory.entrypoints.grpc_server.store_service import StoreService
from synthians_memory.errors import DiskError, InvalidValueError, UsageError, disk_error
from synthians_memory.facade import MemoryPersistence
from synthians_memory.times import Clock

__all__ = ["Server"]

# Beyond the guard's bound, so that it is the guard who refuses, with a reason.
_SPARE_CALLS: Final = 64
_HEALTH: Final = "grpc.health.v1.Health"

Register = Callable[[Any], Sequence[str]]


class Server:
    """Serves one open store; used in the event loop of the store.

    Args:
        store: open, until after `stop`.
        settings: where to listen, whom to admit, the bounds.
        log: of calls; None: nowhere.
        measures: of calls; None: those of the program's meter.
        register: adds further services to the grpc.aio server; returns their full names.
        all_calls: whether calls that succeed are logged as well.
        clock: how long calls took, for tests.
    """

    def __init__(
        self,
        store: MemoryPersistence,
        settings: ServiceSettings,
        *,
        log: CallLog | None = None,
        measures: Measures | None = None,
        register: Sequence[Register] = (),
        all_calls: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._log = log or CallLog(None)
        self._guard = Guard(settings, self._log, measures or Measures(), all_calls=all_calls, clock=clock)
        self._health = cast(Any, health).aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[self._guard],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.bounds.calls + _SPARE_CALLS,
        )
        self._names = self._register(store, register)
        self._ports: list[int] = []

    def _register(self, store: MemoryPersistence, register: Sequence[Register]) -> list[str]:
        cast(Any, store_pb2_grpc).add_StoreServiceServicer_to_server(StoreService(store), self._server)
        names = [store_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name]
        for add in register:
            names += add(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*names, _HEALTH, reflection.SERVICE_NAME], self._server)
        return names

    @property
    def port(self) -> int:
        """Where it listens, once started. Raises UsageError before."""
        if not self._ports:
            raise UsageError("the service does not listen yet", hint="Call start().")
        return self._ports[0]

    async def start(self) -> None:
        """Listen, and take calls.

        Raises:
            DiskError: the address is in use, or may not be listened on.
            InvalidValueError: certificate and key are no pair.
        """
        port = self._settings.port
        for address in self._settings.addresses:
            port = self._listen(address, port)
            self._ports.append(port)
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._log.write("started", port=self.port, tls=self._settings.certificate is not None)

    def _listen(self, address: str, port: int) -> int:
        _require_free(address, port)
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        if self._settings.certificate is not None:
            return self._listen_securely(where)
        try:
            return int(self._server.add_insecure_port(where))
        except RuntimeError as error:
            raise DiskError(f"cannot listen on {where}: {error}", hint=_FREE) from error

    def _listen_securely(self, where: str) -> int:
        pair = (self._settings.key or b"", self._settings.certificate or b"")
        try:
            return int(self._server.add_secure_port(where, grpc.ssl_server_credentials([pair])))
        except (RuntimeError, ValueError) as error:
            # The address was free a moment ago.
            raise InvalidValueError(
                "the certificate and its key cannot be used",
                hint="Give both in PEM, the key without a passphrase, and see that they are a pair.",
            ) from error

    async def stop(self) -> None:
        """Take no more calls, let those under way end within the grace, cancel what is left; idempotent."""
        self._log.write("stopping", calls=self._guard.active)
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.bounds.grace)
        self._log.write("stopped")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


_FREE: Final = "Choose another --port, or 0 for any that is free; or end the program that listens there."


def _require_free(address: str, port: int) -> None:
    """Refuse an address that cannot be listened on, with the system's own reason, which gRPC keeps to itself."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gRPC does it: connections that wait for their end keep nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        found = disk_error(error, "listen on", f"{address} port {port}")
        raise type(found)(found.message, hint=_FREE, errno=found.errno or 0) from error


def _options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    bounds = settings.bounds
    return [
        # Two servers on one port would share its calls without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", bounds.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", bounds.connections),
        ("grpc.max_concurrent_streams", bounds.calls + _SPARE_CALLS),
        ("grpc.server_handshake_timeout_ms", round(bounds.handshake * 1000)),
        # Who is silent for a while is asked whether it is there, and closed where it is not, or has nothing to ask.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_connection_idle_ms", 300_000),
    ]
