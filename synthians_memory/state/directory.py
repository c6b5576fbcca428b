"""The files of a state in their directory: read all at once, written one at a time, each write whole and durable.

It is not the store's writer: it works beside one, under a lock of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import DiskError, InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue
from synthians_memory.layout import ARCHITECTURE_MAP, DECISION_LOG, SYSTEM_STATE, TELEMETRY, set_aside_path
from synthians_memory.models import random_id
from synthians_memory.state.architecture import MapChange
from synthians_memory.state.documents import TOP_LEVEL, appended, encode_document, parse_document
from synthians_memory.state.logs import Decision, TelemetryEvent
from synthians_memory.state.rehydration import Context, rehydrated
from synthians_memory.state.system import StateChange
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import lock_folder
from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["StateDirectory", "Written"]

# A write takes some milliseconds; whoever holds the lock for so long is stopped or stuck.
_WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left.

    Attributes:
        value: the whole system state or architecture map; of a log, the entry that was appended.
        set_aside: name, in the directory, under which a file that was damaged is kept now; None where none was.
    """

    value: JsonObject
    set_aside: str | None = None


class StateDirectory:
    """Where the files of one state are; synchronous and thread-safe: call it by `asyncio.to_thread` from a coroutine.

    When a write returns it survives a power cut. When it raises DiskError the file is whole, and either the old
    one or the new one; after any other error it is as it was. Writers in any number of threads and processes wait for
    each other and lose nothing. A file that is damaged, or holds something else than its kind, is kept under
    another name by the next write of it, which begins anew.

    Args:
        backend: the medium; stays open.
        folder: of the files, made at the first write; "" for the medium itself.
        clock: source of time.
        new_id: source of ids, UUIDs.
        sleep: called while another writer holds the lock.
    """

    def __init__(
        self,
        backend: Backend,
        folder: str = "",
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] = random_id,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._clock = clock or SystemClock()
        self._new_id = new_id
        self._sleep = sleep
        self._guard = threading.Lock()

    def rehydrate(self) -> Context:
        """What the files say, with warnings for whatever is wrong with them. Changes nothing, and raises nothing for it."""
        return rehydrated(lambda name: self._backend.read(self._path(name)))

    def write_state(self, change: StateChange) -> Written:
        """Change the system state; made where there is none.

        Raises:
            DamagedFileError: what is to be added to is of another type than it has to be.
            StoreLockedError: another writer keeps the files for half a minute.
            DiskError: as the class says; also where something that is no regular file has the name.
        """
        return self._replace(SYSTEM_STATE, change)

    def write_map(self, change: MapChange) -> Written:
        """Change the architecture map; made where there is none.

        Raises:
            EntityNotFoundError: a component that is to be removed is not there.
            DamagedFileError, StoreLockedError, DiskError: as `write_state`.
        """
        return self._replace(ARCHITECTURE_MAP, change)

    def log_decision(self, decision: Decision) -> Written:
        """Append to the decision log, under a fresh id; raises StoreLockedError and DiskError as `write_state`."""
        return self._append(DECISION_LOG, decision)

    def log_telemetry(self, event: TelemetryEvent) -> Written:
        """Append to the telemetry, under a fresh id; raises StoreLockedError and DiskError as `write_state`."""
        return self._append(TELEMETRY, event)

    def _replace(self, name: str, change: StateChange | MapChange) -> Written:
        with self._locked():
            data = self._backend.read(self._path(name))
            found = _understood(name, data)
            changed = change.applied_to({} if found is None else found, self._now())
            aside = self._set_aside(name, data) if data is not None and found is None else None
            self._write(name, encode_document(changed) + b"\n")
        return Written(changed, aside)

    def _append(self, name: str, addition: Decision | TelemetryEvent) -> Written:
        with self._locked():
            data = self._backend.read(self._path(name))
            found = _understood(name, data)
            entry = addition.entry(self._new_id(), self._now())
            aside = self._set_aside(name, data) if data is not None and found is None else None
            self._write(name, appended(None if found is None else data, entry))
        return Written(entry, aside)

    def _set_aside(self, name: str, data: bytes) -> str:
        """Keep what is damaged under a name of its own, durably, before anything takes its place; that name.

        A copy, so that it has a durable name at every moment, also where a sync fails.
        """
        micros = self._clock.micros()
        while self._backend.stat(self._path(aside := set_aside_path(name, from_micros(micros)))) is not None:
            micros += 1
        self._write(aside, data)
        return aside

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self._backend, self._path(name), [data])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._guard:
            self._make_folder()
            held = lock_folder(self._backend, self._folder, wait=_WAIT_SECONDS, sleep=self._sleep)
            try:
                yield
            finally:
                held.release()

    def _make_folder(self) -> None:
        """See to it that the folder is there, and its name durable: whoever made it may have died before that."""
        if not self._folder:
            return
        made = self._backend.make_folder(self._folder)
        try:
            self._backend.sync_folder(self._folder.rpartition("/")[0])
        except DiskError:
            if made:
                # A name that a failed sync has lost is saved by no later one; the next write makes it anew.
                with suppress(DiskError):
                    self._backend.remove_folder(self._folder)
            raise

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name

    def _now(self) -> str:
        return format_time(from_micros(self._clock.micros()))


def _understood(name: str, data: bytes | None) -> JsonValue:
    """What the file says; None where there is none, or where it is damaged for a writer."""
    if data is None:
        return None
    try:
        value = parse_document(data, name)
    except InvalidValueError:
        return None
    return value if isinstance(value, TOP_LEVEL[name]) else None
