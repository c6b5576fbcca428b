"""What stands before every call: the token, the bounds, and the way from an error to a status.

It is not the calls themselves, nor the connection: who gets here has spoken gRPC.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from synthians_memory.entrypoints.grpc_server.call_log import CallLog, places_of
from synthians_memory.entrypoints.grpc_server.measures import Measures
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings
from synthians_memory.entrypoints.grpc_server.statuses import ADMITTED_KEY, ERROR_KEY, detail_of, status_of
from synthians_memory.errors import (
    InvalidValueError,
    NotAdmittedError,
    ServiceBusyError,
    ServiceError,
    ServiceTimeoutError,
    SynthiansMemoryError,
)
from synthians_memory.times import Clock, SystemClock

__all__ = ["Guard"]

# What a program that watches over services asks, which has no token.
_OPEN_TO_ALL: Final = "/grpc.health.v1.Health/Check"
_MOST_STATUS_CHARACTERS: Final = 800

Context = Any
Work = Callable[["_Timer"], Awaitable[Any]]


class _Timer:
    """How long a call may still take: until its end, or for a stream until its next step."""

    def __init__(self, seconds: float, *, each_step: bool) -> None:
        self._seconds = seconds
        self._each_step = each_step
        self.timeout = asyncio.timeout(seconds)

    def step(self) -> None:
        if self._each_step and not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)


class Guard(grpc.aio.ServerInterceptor):
    """Admits calls and sees them through; used by the event loop of one server.

    Args:
        settings: whom to admit, and the bounds.
        log: told of every call that did not succeed; with `all_calls` of the others as well.
        measures: told of every call.
        clock: how long calls took.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        log: CallLog,
        measures: Measures,
        *,
        all_calls: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._bounds = settings.bounds
        # Digests have one length, so that comparing them tells nothing of the token's.
        self._admitted = None if settings.token is None else _digest(f"Bearer {settings.token}")
        self._log = log
        self._measures = measures
        self._all_calls = all_calls
        self._clock = clock or SystemClock()
        self._handlers: dict[str, Any] = {}
        self.active = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of a call: the method's own under guard, or one that refuses."""
        refusal = self._refusal(details)
        if refusal is not None:
            return self._refusing(details.method, refusal)
        known = self._handlers.get(details.method)
        if known is None:
            handler = await continuation(details)
            if handler is None:
                return None
            known = self._handlers[details.method] = self._guarded(details.method, handler)
        return known

    def _refusal(self, details: Any) -> SynthiansMemoryError | None:
        if self._admitted is not None and details.method != _OPEN_TO_ALL:
            given = [value for key, value in details.invocation_metadata or () if key == "authorization"]
            if not given:
                return NotAdmittedError(
                    "the call brings no token", hint="Send the metadata authorization: Bearer TOKEN."
                )
            if not hmac.compare_digest(_digest(given[0]), self._admitted):
                return NotAdmittedError("the token is not the service's")
        return self._crowded()

    def _crowded(self) -> ServiceBusyError | None:
        if self.active < self._bounds.calls:
            return None
        return ServiceBusyError(f"the service has {self.active} calls under way, as many as it takes")

    def _refusing(self, method: str, error: SynthiansMemoryError) -> Any:
        async def refuse(_requests: Any, context: Context) -> None:
            self._measures.refused(method if method in self._handlers else "other", status_of(error).name)
            self._log.write("refused", status=status_of(error).name, peer=context.peer())
            await _abort(context, error)

        # This kind answers before anything of the call was read.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _guarded(self, method: str, handler: Any) -> Any:
        """Every method as one that streams both ways, which looks the same from outside.

        So it is the guard who waits for the first message, and who can give up waiting.
        """

        async def call(requests: Any, context: Context) -> None:
            async def work(timer: _Timer) -> None:
                await _send(await _answers(handler, requests, context, timer), context, timer)

            await self._run(method, context, work, stream=handler.request_streaming or handler.response_streaming)

        return grpc.stream_stream_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    async def _run(self, method: str, context: Context, work: Work, *, stream: bool = False) -> Any:
        """The answer of `work`, within the bounds; or the status of what it raised."""
        crowded = self._crowded()
        if crowded is not None:
            await self._refusing(method, crowded).stream_stream(None, context)
        self.active += 1
        self._measures.began(method)
        started = self._clock.monotonic()
        status, error = "OK", ""
        try:
            return await self._timed(context, work, stream=stream)
        except SynthiansMemoryError as failure:
            status, error = status_of(failure).name, type(failure).__name__
            await _abort(context, failure)
        except grpc.aio.AbortError:
            status = _name_of(context.code())
            raise
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and the log its place
            status, error = "INTERNAL", type(failure).__name__
            self._log.write("failed", method=method, error=error, at=places_of(failure))
            await context.abort(grpc.StatusCode.INTERNAL, "the service failed; its log says where")
        finally:
            self.active -= 1
            self._end(method, context, status, error, self._clock.monotonic() - started)

    async def _timed(self, context: Context, work: Work, *, stream: bool) -> Any:
        own = context.time_remaining()
        seconds = self._bounds.deadline if stream or own is None else max(own, 0.0)
        timer = _Timer(seconds, each_step=stream)
        try:
            async with timer.timeout:
                return await work(timer)
        except TimeoutError as error:
            if isinstance(error, SynthiansMemoryError) or not timer.timeout.expired():
                raise
            raise ServiceTimeoutError(f"the call was not done within {seconds:g} seconds") from error

    def _end(self, method: str, context: Context, status: str, error: str, seconds: float) -> None:
        self._measures.ended(method, status, seconds)
        if self._all_calls or status != "OK":
            facts = {"error": error} if error else {}
            self._log.write(
                "call", method=method, status=status, seconds=round(seconds, 6), peer=context.peer(), **facts
            )


async def _answers(handler: Any, requests: Any, context: Context, timer: _Timer) -> Any:
    """What the method answers: a message, a stream of them, or None where it writes for itself."""
    if handler.request_streaming:
        await context.send_initial_metadata(((ADMITTED_KEY, "1"),))
        given: Any = _stepping(requests, timer)
    else:
        given = await _only(requests)
        timer.step()
    if not handler.response_streaming:
        return await (handler.stream_unary if handler.request_streaming else handler.unary_unary)(given, context)
    answers = (handler.stream_stream if handler.request_streaming else handler.unary_stream)(given, context)
    return await answers if inspect.isawaitable(answers) else answers


async def _send(answers: Any, context: Context, timer: _Timer) -> None:
    if isinstance(answers, AsyncGenerator):
        async with aclosing(answers) as ending:
            async for answer in ending:
                await context.write(answer)
                timer.step()
    elif answers is not None:
        await context.write(answers)


async def _only(requests: AsyncIterator[Any]) -> Any:
    """The one message of a call that streams none. Raises InvalidValueError where it is none."""
    try:
        async for request in requests:
            return request
    except DecodeError as error:
        raise InvalidValueError("the message cannot be parsed", hint="Send it as the proto files say.") from error
    raise InvalidValueError("the call has no message", hint="Send one.")


async def _stepping(requests: AsyncIterator[Any], timer: _Timer) -> AsyncIterator[Any]:
    try:
        async for request in requests:
            timer.step()
            yield request
    except DecodeError as error:
        raise InvalidValueError("a message cannot be parsed", hint="Send it as the proto files say.") from error


def _digest(text: object) -> bytes:
    return hashlib.sha256(text if isinstance(text, bytes) else str(text).encode("utf-8", "replace")).digest()


def _name_of(code: Any) -> str:
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


async def _abort(context: Context, error: SynthiansMemoryError) -> NoReturn:
    text = str(error).encode("utf-8", "replace").decode("utf-8")[:_MOST_STATUS_CHARACTERS]
    detail = detail_of(error).SerializeToString()
    await context.abort(status_of(error), text, trailing_metadata=((ERROR_KEY, detail),))
    raise ServiceError("a call that was ended goes on")
