"""The command serve: let other programs use the store over gRPC, until it is ended.

It is not the service, which is `entrypoints.grpc_server`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.embedders import known_embedder
from synthians_memory.entrypoints.cli.ending import ending_by_signal
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import EmbedderOption, JsonOption, require_input
from synthians_memory.entrypoints.cli.output import Output, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.grpc_server.call_log import CallLog, logging_into
from synthians_memory.entrypoints.grpc_server.settings import (
    DEFAULT_PORT,
    Bounds,
    ServiceSettings,
    read_token,
    read_user_file,
)
from synthians_memory.errors import UsageError
from synthians_memory.extras import import_extra
from synthians_memory.facade import MemoryPersistence
from synthians_memory.tiers.tiers import HOUR, Tiers

__all__ = ["EXAMPLES", "serve"]

EXAMPLES: Final = (
    "--store notes serve --grpc",
    "--store notes serve --grpc --host 0.0.0.0 --token-file token --tls-cert cert.pem --tls-key key.pem",
)

_INSTALL: Final = 'Install it: pip install "synthians-memory[grpc]".'
_DEFAULT: Final = Bounds()
# What the store, its views and the program itself open at most.
_OWN_FILES: Final = 256


def serve(
    context: typer.Context,
    *,
    grpc: Annotated[bool, typer.Option("--grpc", help="Serve over gRPC, the one protocol that there is.")] = False,
    host: Annotated[str, typer.Option(metavar="HOST", help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="0: any that is free; it is printed.")] = DEFAULT_PORT,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file of mode 0600 with the token that every call must bring."),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="FILE", help="The certificate chain, in PEM.")] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its key, in PEM, of mode 0600.")] = None,
    max_message: Annotated[
        int, typer.Option(metavar="BYTES", help="The largest message that is taken.")
    ] = _DEFAULT.message_bytes,
    max_calls: Annotated[int, typer.Option(metavar="N", help="Calls at once; more are refused.")] = _DEFAULT.calls,
    max_connections: Annotated[
        int, typer.Option(metavar="N", help="Connections at once; more are closed.")
    ] = _DEFAULT.connections,
    deadline: Annotated[
        float, typer.Option(metavar="SECONDS", help="For calls that bring none, and each step of a stream.")
    ] = _DEFAULT.deadline,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long calls under way may take when the service is ended.")
    ] = _DEFAULT.grace,
    log_calls: Annotated[bool, typer.Option("--log-calls", help="Log also the calls that succeed.")] = False,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let other programs use the store over gRPC, until SIGTERM or Ctrl-C.

    It serves the memories and assemblies (StoreService) and the tiers (MemoryService), which migrate hourly meanwhile.
    Only programs on this machine reach it, unless --host says otherwise, which needs a token and TLS. What was accepted
    when it is ended is finished; then the store is checkpointed, and the exit code is 0. Standard error gets
    a line of JSON for each call that fails; no line holds anything of what is stored. See docs/service.md.
    """
    if not grpc:
        raise UsageError("there is nothing to serve", hint="Write serve --grpc.")
    bounds = Bounds(
        message_bytes=max_message, calls=max_calls, connections=max_connections, deadline=deadline, grace=grace
    )
    settings = _settings(host, port, token_file, (tls_cert, tls_key), bounds)
    _require_descriptors(bounds)
    return run(_serve(Place.of(context), settings, embedder, Output.wanted(as_json), all_calls=log_calls))


def _settings(
    host: str, port: int, token_file: str | None, tls: tuple[str | None, str | None], bounds: Bounds
) -> ServiceSettings:
    for path in (token_file, *tls):
        if path is not None:
            require_input(path)
    certificate, key = tls
    return ServiceSettings(
        host=host,
        port=port,
        token=None if token_file is None else read_token(token_file),
        certificate=None if certificate is None else read_user_file(certificate),
        key=None if key is None else read_user_file(key, secret=True),
        bounds=bounds,
    )


def _require_descriptors(bounds: Bounds) -> None:
    """See that connections, at their bound, leave the store the files that it opens. Raises UsageError."""
    needed = bounds.connections + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(
                f"{bounds.connections} connections need {needed} open files, and this process may have {hard}",
                hint=f"Give --max-connections {max(hard - _OWN_FILES, 1)} or fewer, or raise the limit (ulimit -n).",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _serve(place: Place, settings: ServiceSettings, name: str | None, output: Output, *, all_calls: bool) -> int:
    # What gRPC's core has to say is no JSON; a person who looks for a fault of its own can ask for it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    server_module: Any = import_extra("synthians_memory.entrypoints.grpc_server.server", _INSTALL)
    service_module: Any = import_extra("synthians_memory.entrypoints.grpc_server.memory_service", _INSTALL)
    log = CallLog(sys.stderr)
    try:
        with logging_into(log), ending_by_signal() as ending:
            embedder = await known_embedder(place, name)
            async with (
                _opened(place, embedder, log) as store,
                Tiers(store, migrate_every=HOUR) as tiers,
                server_module.Server(
                    store, settings, log=log, register=[service_module.registration(tiers)], all_calls=all_calls
                ) as server,
            ):
                _tell_address(place, settings, server.port, output)
                await ending.wait()
            log.write("closed")
    finally:
        log.close()
    return ExitCode.OK


@asynccontextmanager
async def _opened(place: Place, embedder: Embedder | None, log: CallLog) -> AsyncIterator[MemoryPersistence]:
    """The store; the log says by codes and counts what recovery and repair did at its opening, and could not mend."""
    place.require()
    async with MemoryPersistence(place.path, embedder=embedder, **place.settings) as store:
        report, stats = store.opening_report, store.stats()
        remaining = Counter(finding.code for finding in report.remaining)
        log.write("opened", recovered=len(stats["notes"]), repaired=len(report.actions), remaining=remaining)
        yield store


def _tell_address(place: Place, settings: ServiceSettings, port: int, output: Output) -> None:
    facts = {"host": settings.host, "port": port, "tls": settings.certificate is not None, "store": place.path}
    if output.json:
        output.line(json.dumps(facts).encode("utf-8", "replace"))
    else:
        output.show(f"serving {place.path} on {settings.host} port {port}")
        tell("hint", "Ctrl-C ends it.")
