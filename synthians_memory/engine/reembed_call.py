"""A change of the model as the event loop drives it: rounds of staging, the one step, then the conversion.

It is not the facade, which documents it; what it calls in threads is in `stager`, `reembedding` and `converter`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from synthians_memory.embedder import Embedder
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.part_files import Model, Series
from synthians_memory.engine.previous import PreviousEmbeddings, read_previous, series_bytes
from synthians_memory.engine.records import Key
from synthians_memory.engine.reembedding import drop_previous, present_model, switch
from synthians_memory.engine.session import Session
from synthians_memory.engine.stager import Stager, Work
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.vectors import MadeWith
from synthians_memory.errors import (
    DamagedViewError,
    EmbedderMismatchError,
    InvalidValueError,
    ReadOnlyError,
    UsageError,
)
from synthians_memory.models import Vector, as_vector
from synthians_memory.reports import ReembedReport

__all__ = ["Reembedder", "forget_previous"]

# Entities that are staged together, whose texts are one call of the embedder: a text query may wait for it; and
# those that are converted together between two groups of saves.
_AT_ONCE: Final = 32
_CONVERTED_AT_ONCE: Final = 16
# When so few are left, or so many rounds did not get there, saves wait for the last round.
_FEW: Final = 32
_MOST_ROUNDS: Final = 8
_MOST_NAMED: Final = 5

Progress = Callable[[ReembedReport], None]


@dataclass(frozen=True, slots=True)
class _Target:
    """What is changed to.

    Attributes:
        model: its name and dimension.
        embedder: makes the embeddings; None where only kept ones are used.
        back: kept embeddings; None for a way forward.
    """

    model: Model
    embedder: Embedder | None
    back: PreviousEmbeddings | None


class Reembedder:
    """One change of the model of one open store; used once."""

    def __init__(
        self, session: Session, embedder: Embedder | None, *, drop_unembeddable: bool, progress: Progress | None
    ) -> None:
        self._session = session
        self._embedder = embedder
        self._drop = drop_unembeddable
        self._progress = progress
        self._report = ReembedReport()

    @property
    def _state(self) -> StoreState:
        return self._session.store.state

    async def run(self, *, back: bool) -> ReembedReport:
        """Change the model; see `MemoryPersistence.reembed`."""
        await self._convert()
        if self._state.conversion is not None:
            raise ReadOnlyError(f"the store is read-only: {self._state.read_only_reason}")
        target = await self._session.in_thread(self._target_back if back else self._target)
        self._note(embedder=target.model.embedder, embedding_dimension=target.model.dimension)
        if not back and target.model == present_model(self._state):
            # An earlier call got that far; changing to it once more would give the way back up.
            held = await self._session.in_thread(self._previous_bytes)
            self._note(phase="done", previous_bytes=held)
            return self._report
        await self._change(target)
        self._note(phase="converting", switched=True)
        await self._convert()
        held = await self._session.in_thread(self._previous_bytes)
        self._note(phase="done", previous_bytes=held)
        return self._report

    def _note(self, **changes: object) -> None:
        self._report = replace(self._report, **changes)  # type: ignore[arg-type]
        if self._progress is not None:
            self._progress(self._report)

    # Where to

    def _target(self) -> _Target:
        if self._embedder is None:
            raise UsageError("no embedder is given", hint="Say which embedder the embeddings are to be of.")
        return _Target(Model(self._embedder.name, self._embedder.dimension), self._embedder, None)

    def _target_back(self) -> _Target:
        state, embedder = self._state, self._embedder
        facts = state.superblock.previous
        if facts is None:
            raise UsageError("the store keeps no embeddings of a model before", hint="Reembed with its embedder.")
        model = Model(facts.embedder, facts.embedding_dimension or present_model(state).dimension)
        if embedder is not None and (embedder.name, embedder.dimension) != model:
            before = "without the name of an embedder" if model.embedder is None else repr(model.embedder)
            raise EmbedderMismatchError(
                f"the model before was {before} of {model.dimension} numbers, not {embedder.name!r} of {embedder.dimension}",
                hint="Go back with that embedder, or without one.",
            )
        back = read_previous(state.backend, state.superblock.store_id, facts.token)
        if back.frames < facts.frames:
            raise DamagedViewError(
                f"{facts.frames - back.frames} frames of the embeddings kept as a way back are not intact",
                hint="Reembed with the embedder of the model before.",
            )
        return _Target(model, embedder, back)

    # There

    async def _change(self, target: _Target) -> None:
        stager = await self._session.in_thread(lambda: Stager(self._state, target.model, target.back))
        try:
            for _ in range(_MOST_ROUNDS):
                todo = await self._session.in_thread(stager.todo)
                if len(todo) <= _FEW:
                    break
                await self._round(stager, target, todo)
            await self._last_rounds(stager, target)
        finally:
            stager.close()

    async def _last_rounds(self, stager: Stager, target: _Target) -> None:
        """Saves wait from here on; what changes the store by other ways is seen to in another round."""
        async with self._session.held():
            # Whatever was submitted before is committed when this returns.
            await self._session.in_writer(lambda: None)
            missing: Sequence[Key] = await self._session.in_thread(stager.todo)
            while True:
                await self._round(stager, target, missing)
                self._require_no_loss(stager)
                missing = await self._session.in_writer(partial(self._switch, stager, target))
                if not missing:
                    return

    def _switch(self, stager: Stager, target: _Target) -> Sequence[Key]:
        made_with = MadeWith(target.embedder)
        return switch(self._state, self._session.store.checkpointer, stager, target.model, made_with)

    async def _round(self, stager: Stager, target: _Target, keys: Sequence[Key]) -> None:
        done = 0
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            works = await self._session.in_thread(partial(stager.work, part))
            vectors = await self._embedded(target, works)
            await self._session.in_thread(partial(stager.put, works, vectors))
            done += len(part)
            count = self._state.index.count("memory") + self._state.index.count("assembly")
            embedded = self._report.embedded + sum(bool(work.text) for work in works)
            self._note(embedded=embedded, staged=max(0, count - len(keys) + done), total=count)

    async def _embedded(self, target: _Target, works: Sequence[Work]) -> dict[str, Vector]:
        """The vector of each text in which the embedder finds something."""
        texts = list(dict.fromkeys(work.text for work in works if work.text))
        if not texts:
            return {}
        embedder = target.embedder
        if embedder is None:
            wanted = [work.key for work in works if work.text]
            named = ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in wanted[:_MOST_NAMED])
            raise UsageError(
                f"no embedding of the model before is kept for {named}, saved or changed since",
                hint=_anew(target.model),
            )
        rows = await self._session.in_embedding_thread(lambda: embed_texts(embedder, texts))
        return {text: as_vector(row, "an embedding") for text, row in zip(texts, rows, strict=True) if row.any()}

    def _require_no_loss(self, stager: Stager) -> None:
        lost = stager.losses()
        self._note(without=tuple(entity_id for _, entity_id in lost))
        if lost and not self._drop:
            named = ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in lost[:_MOST_NAMED])
            raise InvalidValueError(
                f"{len(lost)} entities have an embedding and no text that the embedder could make another one of: {named}",
                hint="Give them a text, or reembed with drop_unembeddable: they stay, without an embedding.",
            )

    # And on

    async def _convert(self) -> None:
        store = self._session.store
        while (conversion := self._state.conversion) is not None:
            if not await self._session.in_writer(lambda: store.convert(_CONVERTED_AT_ONCE)):
                return
            self._note(converted=len(conversion.staged.entries) - len(conversion.pending))

    def _previous_bytes(self) -> int:
        facts = self._state.superblock.previous
        return 0 if facts is None else series_bytes(self._state.backend, Series(facts.token, "previous"))


async def forget_previous(session: Session) -> ReembedReport:
    """Give up the way back; see `MemoryPersistence.reembed`."""
    model = present_model(session.store.state)
    await session.in_writer(lambda: drop_previous(session.store.state))
    return ReembedReport(phase="done", embedder=model.embedder, embedding_dimension=model.dimension)


def _anew(model: Model) -> str:
    """What to do about entities that need an embedding of `model`, which is gone back to."""
    if model.embedder is None:
        return "No embedder was named for the model before: delete them, go back, and save them again; or stay."
    return f"Go back with the embedder {model.embedder!r}, which embeds them anew."
