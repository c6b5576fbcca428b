"""What a store owes its user after its files have rotted: nothing wrong is served, and nothing is missing without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from rot_samples import CONFIG, LATER, LOG_SHARE, FileImage, Image, Sample, is_entity

from synthians_memory.config import CheckLevel
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import JOURNAL, entity_path
from synthians_memory.models import Entity
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import delete, require, save
from synthians_memory.testing.store_scenarios import logged_views, memory
from synthians_memory.testing.store_verifier import require_agreeing_files
from synthians_memory.testing.stored_files import all_files

_NEARNESS: Final = 1 - 1e-5


# Makes another back end on the medium.
Reopen = Callable[[], Backend]


class Mode(NamedTuple):
    """How a store is opened and looked after.

    Attributes:
        name: for messages.
        auto_repair, startup_check: settings.
        repair: whether a person then repairs it.
        read_only: whether it is opened beside a writer.
    """

    name: str
    auto_repair: bool = False
    startup_check: CheckLevel = "quick"
    repair: bool = False
    read_only: bool = False


MODES: Final = (
    Mode("mended, quick check", auto_repair=True),
    Mode("left alone, full check", startup_check="full"),
    Mode("repaired by hand", repair=True),
    Mode("mended, full check", auto_repair=True, startup_check="full"),
    Mode("left alone, quick check"),
    Mode("read only", read_only=True),
)


@dataclass(frozen=True)
class Rot:
    """What happened to a store's files.

    Attributes:
        what: for messages.
        changes: what each path holds now; None for nothing.
        folders: paths at which an empty folder stands now.
        endless: whether the end of the journal may have been cut off where nothing tells of it.
    """

    what: str
    changes: Mapping[str, FileImage | None]
    folders: tuple[str, ...] = ()
    endless: bool = False

    @property
    def paths(self) -> frozenset[str]:
        """What was hit."""
        return frozenset(self.changes).union(self.folders)

    def of(self, image: Image) -> dict[str, FileImage]:
        """The files afterwards."""
        changed = {**image, **self.changes}
        return {path: file for path, file in changed.items() if file is not None and path not in self.folders}


@dataclass
class Look:
    """What one opening showed.

    Attributes:
        served: what each entity came to: itself, None, or the error.
        found: the first hit for each entity's own vector.
        hits: everything that searches found.
        reported: every finding: of recovery, of open's check and repair, of a check afterwards.
        left: those that the last check still had.
    """

    served: dict[Key, Entity | SynthiansMemoryError | None] = field(default_factory=dict)
    found: dict[Key, str] = field(default_factory=dict)
    hits: set[Key] = field(default_factory=set)
    reported: list[Finding] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


def verify(sample: Sample, rot: Rot, mode: Mode, reopen: Reopen) -> None:
    """Open the rotten store twice, the second time to go on with it; AssertionError says what it owes."""
    try:
        with logged_views(LOG_SHARE):
            _verify(sample, rot, mode, reopen)
    except SynthiansMemoryError as error:
        raise AssertionError(f"{sample.name}: {rot.what}; {mode.name}: {type(error).__name__}: {error}") from error
    except AssertionError as error:
        raise AssertionError(f"{sample.name}: {rot.what}; {mode.name}: {error}") from error


def _verify(sample: Sample, rot: Rot, mode: Mode, reopen: Reopen) -> None:
    before = all_files(reopen())
    first = look_at(reopen(), mode, sample)
    _judge(sample, rot, first)
    after = all_files(reopen())
    _require_kept(sample, rot, before, after)
    if mode.read_only:
        require(before == after, f"a reader changed {sorted(p for p in before if before[p] != after.get(p))}")
    second = look_at(reopen(), mode, sample, goes_on=not mode.read_only)
    _judge_again(first, second)
    if not mode.read_only and not deviating(sample, second) and not any(map(is_entity, rot.paths)):
        require_agreeing_files(reopen(), sample.truth)


def look_at(backend: Backend, mode: Mode, sample: Sample, *, goes_on: bool = False) -> Look:
    """Open the store, load and search everything that was ever in it, and close it."""
    config = replace(CONFIG, auto_repair=mode.auto_repair, startup_check=mode.startup_check)
    store = Store.open(backend, config, ManualClock(LATER + 60_000_000), read_only=mode.read_only)
    look = Look()
    try:
        look.reported += [*store.opening_report.findings, *store.opening_report.remaining]
        if mode.repair:
            report = store.repair()
            look.reported += [*report.findings, *report.remaining]
        look.left = store.check("full")
        look.reported += [*store.state.notes, *look.left]
        _load_everything(store, look, sample)
        if goes_on:
            _go_on(store)
    finally:
        store.close()
    return look


def _go_on(store: Store) -> None:
    """Save and delete: what is appended to logs and journal must not be lost behind what does not count."""
    for operation in (save(memory("after")), delete(("memory", "after"))):
        batch = Batch([operation])
        store.commit([batch])
        require(batch.error is None, f"the store takes nothing any more: {batch.error}")
        store.checkpoint()


def _load_everything(store: Store, look: Look, sample: Sample) -> None:
    rows = store.state.index.rows
    for key in sorted({*sample.ever, *((kind, i) for kind in rows for i in rows[kind])}):
        try:
            look.served[key] = store.load(key)
        except SynthiansMemoryError as error:
            look.served[key] = error
    for key, entity in look.served.items():
        if isinstance(entity, Entity) and entity.vector is not None:
            hits = store.search(entity.vector, 100, key[0], None)
            look.hits.update((hit.kind, hit.memory_id) for hit in hits)
            if hits and hits[0].score >= _NEARNESS:
                look.found[key] = hits[0].memory_id


def require_served(store: Store, sample: Sample) -> None:
    """`store` serves all that was acknowledged and nothing else, and finds it."""
    look = Look()
    _load_everything(store, look, sample)
    require(not deviating(sample, look), f"{deviating(sample, look)} are not served as acknowledged")
    _judge_search(look)


# Judging


def _judge(sample: Sample, rot: Rot, look: Look) -> None:
    for key, got in look.served.items():
        if _is_exact(sample, key, got):
            continue
        require(_concerns(sample, rot, key), f"{key} was not hit, and came to {got!r}; findings {look.reported}")
        if isinstance(got, SynthiansMemoryError):
            require(_named(key, look.left), f"{key} is refused ({got}), and no finding says so: {look.left}")
        elif key not in sample.retained:
            require(_named(key, look.reported), f"{key} came to {got!r}, and no finding says so: {look.reported}")
        else:
            _require_journal_named(sample, rot, key, look)
        if isinstance(got, Entity):
            _require_earlier(sample, key, got)
    _judge_search(look)


def _is_exact(sample: Sample, key: Key, got: Entity | SynthiansMemoryError | None) -> bool:
    wanted = sample.truth.get(key)
    if wanted is None:
        return got is None
    if not isinstance(got, Entity):
        return False
    stored = wanted.stored_entity()
    return content_hash_of(got) == content_hash_of(stored) and got == stored


def content_hash_of(entity: Entity) -> str:
    return str(entity.__dict__["content_hash"])


def deviating(sample: Sample, look: Look) -> list[Key]:
    """What came to anything else than was acknowledged."""
    return [key for key, got in look.served.items() if not _is_exact(sample, key, got)]


def _concerns(sample: Sample, rot: Rot, key: Key) -> bool:
    """Whether what happened may be felt by an entity: its file was hit, or the journal alone had it."""
    if key in sample.retained:
        return _journal_is_hit(rot)
    return entity_path(*key) in rot.paths


def _journal_is_hit(rot: Rot) -> bool:
    return any(path.startswith(f"{JOURNAL}/") for path in rot.paths)


def _named(key: Key, findings: Iterable[Finding]) -> bool:
    return any((f.kind, f.entity_id) == key or repr(key[1]) in f.message for f in findings)


def _require_journal_named(sample: Sample, rot: Rot, key: Key, look: Look) -> None:
    if rot.endless:
        return
    about = [f for f in look.reported if f.path.startswith(JOURNAL)]
    require(about, f"{key} came to {look.served[key]!r}, and nothing is said of the journal: {look.reported}")


def _require_earlier(sample: Sample, key: Key, got: Entity) -> None:
    digest = bytes.fromhex(content_hash_of(got)[7:])
    require(digest in sample.ever.get(key, ()), f"{key} came to {got!r}, which was never acknowledged")


def _judge_search(look: Look) -> None:
    for key, got in look.served.items():
        if isinstance(got, Entity) and got.vector is not None:
            require(look.found.get(key) == key[1], f"the vector of {key} finds {look.found.get(key)}")
    for key in look.hits:
        require(look.served.get(key) is not None, f"a search finds {key}, which is not there")


def _require_kept(sample: Sample, rot: Rot, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Source is not thrown away: what stood in an entity file still stands somewhere."""
    contents = set(after.values())
    settled = {entity_path(*key) for key in sample.retained}
    for path in filter(is_entity, rot.paths - settled):
        kept = path not in before or not before[path].strip(b"\0") or before[path] in contents
        require(kept, f"what stood in {path} is gone")


def _judge_again(first: Look, second: Look) -> None:
    """The second opening serves the same, and says nothing new."""
    for key, got in second.served.items():
        was = first.served.get(key)
        same = type(got) is type(was) if isinstance(got, SynthiansMemoryError) else got == was
        require(same, f"{key} came to {was!r}, and the next time to {got!r}")
    known = {(f.code, f.path, f.entity_id) for f in first.left}
    news = [f for f in second.reported if (f.code, f.path, f.entity_id) not in known]
    require(not news, f"the second opening found {news}, the first left {first.left}")
