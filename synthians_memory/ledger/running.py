"""Running a command with its output, its exit status and what it ran in recorded, however it ends.

It starts no shell, and does not change what the command sees but that its output goes through pipes.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, Final, cast

from synthians_memory.errors import DiskError, InvalidValueError, disk_error
from synthians_memory.json_values import JsonObject
from synthians_memory.ledger.capsules import Capsule, MemberFile, validate_member_name
from synthians_memory.ledger.entries import checked_event
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.redaction import allowed_environment, redacted_arguments
from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["CANNOT_EXECUTE", "NO_COMMAND", "CompletedRun", "run_command"]

CANNOT_EXECUTE: Final = 126
NO_COMMAND: Final = 127

_SIGNALLED: Final = 128
_READ_BYTES: Final = 64 * 1024
_TICK_SECONDS: Final = 0.1
# How long what the command left running in the background may still write.
_LINGER_SECONDS: Final = 1.0
_STREAMS: Final = ("stdout", "stderr")
_FORWARDED: Final = ("SIGINT", "SIGTERM", "SIGHUP")

# Gets "stdout" or "stderr", and what came.
Echo = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A run that was recorded.

    Attributes:
        run_id: its id in the log.
        exit_status: of the command; 128 and the number of the signal that ended it; 126 where it could not be
            executed, 127 where there is none.
    """

    run_id: str
    exit_status: int


def run_command(
    ledger: Ledger,
    command: Sequence[str],
    event: JsonObject,
    *,
    environment: Mapping[str, str],
    echo: Echo,
    keep: Sequence[str] = (),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    clock: Clock | None = None,
) -> CompletedRun:
    """Run `command` and record it; signals that ask this process to end are passed on, and waited for.

    Args:
        ledger: where it is recorded. It is tried before the command starts.
        command: the program and its arguments; its input is this process's own.
        event: further fields of the entry.
        environment: what the command gets.
        echo: called with its output as it comes.
        keep: names of further variables that the capsule keeps.
        inputs: files that are copied into the capsule before.
        outputs: files that are copied into it afterwards; those that cannot be read then are left out, and named.
        clock: source of time.

    Raises:
        As `Ledger.write_run`. Where the command has run by then, what it put out stays in a scratch folder of `runs`.
    """
    clock = clock or SystemClock()
    checked_event(event)
    ledger.head()
    context = _context(command, environment, keep)
    capsule, streams = _begun(ledger, context, inputs, outputs)
    # From here on what is kept stays where it is, should it not become a capsule.
    with _signals() as ending:
        started = clock.micros()
        status, problem = _run(command, dict(environment), streams, echo, ending)
        ended = clock.micros()
        for file in streams.values():
            file.close()
        if problem is not None:
            raise problem
        missing = [_text(path) for path in outputs if not _kept(capsule, path)]
        entry = {
            "tool_calls": [_text(shlex.join(redacted_arguments(command)))],
            "started_at": format_time(from_micros(started)),
            "seconds": round(max(0, ended - started) / 1_000_000, 3),
            **event,
            "exit_status": status,
            "output_sha256": streams["stdout"].sha256,
            **({"missing_outputs": missing} if missing else {}),
        }
        return CompletedRun(ledger.finish_run(entry, capsule), status)


def _begun(
    ledger: Ledger, context: JsonObject, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[Capsule, dict[str, MemberFile]]:
    """A capsule with what is known before the command runs, and the files for what it will print."""
    _require_apart(outputs)
    capsule = ledger.begin_capsule()
    try:
        for path in inputs:
            capsule.put("inputs", os.path.basename(path), _content(path))
        capsule.put_context(context)
        return capsule, {name: capsule.open("outputs", name) for name in _STREAMS}
    except BaseException:
        capsule.discard()
        raise


def _context(command: Sequence[str], environment: Mapping[str, str], keep: Sequence[str]) -> JsonObject:
    try:
        directory = os.getcwd()
    except OSError as error:
        raise disk_error(error, "find", "the present directory") from error
    return {
        "command": [_text(argument) for argument in redacted_arguments(command)],
        "directory": _text(directory),
        "environment": {_text(name): _text(value) for name, value in allowed_environment(environment, keep).items()},
    }


def _text(value: str) -> str:
    """`value` without what stands for bytes that are no UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise disk_error(error, "read", path) from error


def _require_apart(outputs: Sequence[str]) -> None:
    """Refuse, before anything runs, outputs that could not lie beside each other."""
    names = [*_STREAMS, *(validate_member_name(os.path.basename(path)) for path in outputs)]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise InvalidValueError(f"two outputs are called {twice[0]!r}", hint="Give files with different names.")


def _kept(capsule: Capsule, path: str) -> bool:
    """Copy one output; False where there is no such file, or none that can be read."""
    try:
        content = _content(path) if os.path.isfile(path) else None
    except DiskError:
        return False
    if content is not None:
        capsule.put("outputs", os.path.basename(path), content)
    return content is not None


# The process


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    streams: Mapping[str, MemberFile],
    echo: Echo,
    ending: _Ending,
) -> tuple[int, DiskError | None]:
    """Its exit status, and what kept its output from being written."""
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, and no shell
            list(command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        status = NO_COMMAND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
        said = f"{command[0]}: {getattr(error, 'strerror', None) or error}\n".encode("utf-8", "replace")
        echo("stderr", said)
        return status, _written(streams["stderr"], said)
    ending.process = process
    with process:
        problem = _pump(process, streams, echo)
        code = process.wait()
    return code if code >= 0 else _SIGNALLED - code, problem


def _pump(process: subprocess.Popen[bytes], streams: Mapping[str, MemberFile], echo: Echo) -> DiskError | None:
    """Copy the output until it ends, or until only what was left in the background could write any more."""
    problem: DiskError | None = None
    silent = 0.0
    with selectors.DefaultSelector() as waiting:
        for name in streams:
            waiting.register(cast("IO[bytes]", getattr(process, name)), selectors.EVENT_READ, name)
        while waiting.get_map() and silent < _LINGER_SECONDS:
            ready = waiting.select(_TICK_SECONDS)
            silent = silent + _TICK_SECONDS if not ready and process.poll() is not None else 0.0
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    waiting.unregister(key.fileobj)
                    continue
                echo(key.data, data)
                # The command goes on also where its output can no longer be kept.
                problem = problem or _written(streams[key.data], data)
    return problem


def _written(file: MemberFile, data: bytes) -> DiskError | None:
    try:
        file.write(data)
    except DiskError as error:
        return error
    return None


class _Ending:
    """What passes signals on to the command; those that come before it has started are passed on then."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self._process

    @process.setter
    def process(self, started: subprocess.Popen[bytes]) -> None:
        self._process = started
        for number in self._early:
            started.send_signal(number)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        # A terminal sends Ctrl-C to the command as well.
        elif number != signal.SIGINT or not _has_terminal():
            self._process.send_signal(number)


def _has_terminal() -> bool:
    with suppress(OSError):
        return os.isatty(0)
    return False


@contextmanager
def _signals() -> Iterator[_Ending]:
    """Keep this process alive until the end of the command is recorded; in the main thread only, which gets signals."""
    ending = _Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before: dict[int, Any] = {}
    for name in _FORWARDED:
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = signal.signal(number, ending.handle)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
