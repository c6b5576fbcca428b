"""The connection to a service: calls with the token and a deadline, errors mapped back, safe calls repeated.

It knows no memory: requests come in and responses go out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio

from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2_grpc, store_pb2_grpc
from synthians_memory.entrypoints.grpc_server.statuses import ADMITTED_KEY, error_in
from synthians_memory.errors import (
    BatchTooLargeError,
    InvalidValueError,
    NotAdmittedError,
    ServiceBusyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    StoreClosedError,
    SynthiansMemoryError,
    UsageError,
    WrongLoopError,
)

__all__ = ["FOREVER", "Connection"]

Value = TypeVar("Value")

# Longer than any check of a store; the service ends a stream that stands still.
FOREVER: Final = 7 * 24 * 3600.0

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_REFUSAL_SECONDS: Final = 2.0
_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection of its own, also beside others to the same service in this process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# What gRPC itself says of these, without a detail of the service.
_TOO_LARGE: Final = "larger than max"


class Connection:
    """One channel to a service; used in one event loop, `ask_blocking` apart.

    Args:
        target: "host:port".
        token: what every call brings.
        root_certificates: PEM; with them, or with `tls`, the service must speak TLS.
        tls: speak TLS with the certificates that the machine trusts.
        timeout: seconds that a call may take, streams apart.
        retry_seconds: how long a call that is safe to repeat is repeated while the service cannot be reached.

    Raises:
        UsageError: a token would go over the network in the clear.
        InvalidValueError: a target or a token that is none.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None,
        root_certificates: bytes | None,
        tls: bool,
        timeout: float,
        retry_seconds: float,
    ) -> None:
        if "://" in target:
            raise InvalidValueError(
                f"the target {target!r} is a URL", hint='Give host and port alone, such as "127.0.0.1:50053".'
            )
        # A file with a token usually ends with a line break.
        token = None if token is None else token.strip()
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise InvalidValueError("the token is empty, or has characters that no token has")
        self._secure = tls or root_certificates is not None
        if token is not None and not self._secure and not _is_on_this_machine(target):
            raise UsageError(
                f"the token would go to {target} in the clear", hint="Pass root_certificates=, or tls=True."
            )
        self.target = target
        self.timeout = timeout
        self._roots = root_certificates
        self._metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self._retry_seconds = retry_seconds
        self._channel: Any = None
        self._stub: Any = None
        self._blocking: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._channel is not None

    def open(self) -> None:
        """Make the channel, in the running loop; the first call connects it."""
        self._loop = asyncio.get_running_loop()
        if self._secure:
            self._channel = grpc.aio.secure_channel(self.target, self._credentials(), options=_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(self.target, options=_OPTIONS)
        self._stub = _calls(self._channel)

    async def close(self) -> None:
        """End the channel; calls under way are cancelled. Idempotent."""
        channel, self._channel, self._stub = self._channel, None, None
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None
        if channel is not None:
            await channel.close()

    def require(self) -> None:
        """Refuse a call before it is made: StoreClosedError, WrongLoopError."""
        if self._channel is None:
            raise StoreClosedError(
                f"the connection to {self.target} is not open",
                hint="Open it with `async with RemoteMemoryPersistence(...)` or `await store.initialize()`.",
            )
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoopError(f"the connection to {self.target} belongs to another event loop")

    async def ask(
        self,
        name: str,
        request: Any,
        *,
        repeat: bool,
        timeout: float | None = None,  # noqa: ASYNC109 - it is sent along
    ) -> Any:
        """The response to one request.

        Args:
            name: of the call.
            request: its message, or a function that makes a fresh stream of messages.
            repeat: whether a second time changes nothing beyond the first.
            timeout: seconds; None: the connection's.
        """
        seconds = self.timeout if timeout is None else timeout

        async def once() -> Any:
            with self._call(name, request, seconds) as (call, _):
                try:
                    return await call
                except grpc.aio.AioRpcError as error:
                    raise self._error(error) from error

        return await (self.repeated(once) if repeat else once())

    async def stream(self, name: str, request: Any) -> AsyncGenerator[Any, None]:
        """The responses of one call, as they come; it is never repeated, and ends where nobody goes on.

        `request`: a message, or a function that makes a fresh stream of messages.
        """
        with self._call(name, request, FOREVER) as (call, _):
            try:
                while (response := await call.read()) is not cast(Any, grpc.aio).EOF:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise self._error(error) from error
            finally:
                call.cancel()

    async def gathered(self, name: str, request: Any) -> list[Any]:
        """All responses of one call; repeated from its beginning where the connection breaks."""

        async def once() -> list[Any]:
            async with aclosing(self.stream(name, request)) as responses:
                return [response async for response in responses]

        return await self.repeated(once)

    async def exchanged(self, name: str, request: Callable[[], AsyncIterator[Any]]) -> Any:
        """The one response to a stream of requests, by a call that streams both ways; repeated as `gathered`."""

        async def once() -> Any:
            with self._call(name, request, FOREVER) as (call, end):
                try:
                    response = await call.read()
                except grpc.aio.AioRpcError as error:
                    raise self._error(error) from error
                end()
                # The response acknowledges; how the call ends after it changes nothing.
                with suppress(grpc.aio.AioRpcError):
                    await call.read()
            if response is cast(Any, grpc.aio).EOF:
                raise ServiceError(f"the service {self.target} ended {name} without a response")
            return response

        return await self.repeated(once)

    @contextmanager
    def _call(self, name: str, request: Any, seconds: float) -> Iterator[tuple[Any, Callable[[], None]]]:
        """One call, and what ends its requests; at the latest they end with the block."""
        self.require()
        method = getattr(self._stub, name)
        if not callable(request):
            yield method(request, timeout=seconds, metadata=self._metadata), lambda: None
            return
        requests = _Requests(request)
        requests.call = method(requests.messages(), timeout=seconds, metadata=self._metadata)
        try:
            yield requests.call, requests.ended.set
        finally:
            requests.ended.set()

    async def repeated(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """What `work` gives; done again, with growing pauses, while the service is away."""
        pause = _FIRST_PAUSE
        give_up: float | None = None
        while True:
            try:
                return await work()
            except ServiceUnavailableError:
                now = time.monotonic()
                give_up = now + self._retry_seconds if give_up is None else give_up
                if now + pause > give_up:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def resumed(
        self, name: str, request_after: Callable[[str], Any], last_of: Callable[[Any], str]
    ) -> AsyncGenerator[Any, None]:
        """The responses of a list in the order of ids, gone on with behind the last id where the connection broke.

        Args:
            name: of the call.
            request_after: the request for what lies behind an id.
            last_of: the last id in a response, or "".
        """
        after, pause = "", _FIRST_PAUSE
        give_up: float | None = None
        while True:
            begun = after
            try:
                async with aclosing(self.stream(name, request_after(after))) as responses:
                    async for response in responses:
                        yield response
                        after, pause, give_up = last_of(response) or after, _FIRST_PAUSE, None
                return
            except ServiceTimeoutError:
                # The service has let go of a reader that took its time, and has no reason to refuse the rest.
                if after == begun:
                    raise
            except ServiceUnavailableError:
                now = time.monotonic()
                give_up = now + self._retry_seconds if give_up is None else give_up
                if now + pause > give_up:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def ask_blocking(self, name: str, request: Any) -> Any:
        """The response to one request, while the calling thread waits; not repeated."""
        if self._blocking is None:
            self._blocking = (
                grpc.secure_channel(self.target, self._credentials(), options=_OPTIONS)
                if self._secure
                else grpc.insecure_channel(self.target, options=_OPTIONS)
            )
        stub = cast(Any, store_pb2_grpc).StoreServiceStub(self._blocking)
        try:
            return getattr(stub, name)(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _credentials(self) -> Any:
        return grpc.ssl_channel_credentials(root_certificates=self._roots)

    def _error(self, error: Any) -> SynthiansMemoryError:
        found = error_in(error.trailing_metadata())
        if found is not None:
            return found
        code, details = error.code(), error.details() or ""
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return ServiceUnavailableError(f"the service {self.target} cannot be reached, or went away: {details}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServiceTimeoutError(f"the service {self.target} did not answer in time")
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return NotAdmittedError(f"the service {self.target} refused the call: {details}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if _TOO_LARGE in details:
                hint = "Send less at once, or raise --max-message of the service."
                return BatchTooLargeError(f"a message is too large for the service: {details}", hint=hint)
            return ServiceBusyError(f"the service {self.target} refused the call: {details}")
        return ServiceError(f"the service {self.target} answered {code.name}: {details}")


def _calls(channel: Any) -> SimpleNamespace:
    """The calls of both services by their names, which differ."""
    stubs = cast(Any, store_pb2_grpc).StoreServiceStub(channel), cast(Any, memory_pb2_grpc).MemoryServiceStub(channel)
    return SimpleNamespace(**vars(stubs[0]), **vars(stubs[1]))


class _Requests:
    """The requests of one call, sent once it is admitted, and not ended before its outcome is known.

    What is sent while the service refuses the call would hide from this side why it did.
    """

    def __init__(self, make: Callable[[], AsyncIterator[Any]]) -> None:
        self._make = make
        self.call: Any = None
        self.ended = asyncio.Event()

    async def messages(self) -> AsyncIterator[Any]:
        metadata = await self.call.initial_metadata()
        if not any(key == ADMITTED_KEY for key, _ in metadata):
            # It is refused, and its status on the way; or something in between keeps metadata to itself.
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), _REFUSAL_SECONDS)
                return
        async for message in self._make():
            yield message
        await self.ended.wait()


def _is_on_this_machine(target: str) -> bool:
    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if target.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
