"""A change of the model as steps of a scenario: staging, the step that decides, the conversion, the way back.

It calls no embedder: a vector is made of the model's name and the text, the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from synthians_memory.codec import Version
from synthians_memory.engine.part_files import Model
from synthians_memory.engine.previous import read_previous
from synthians_memory.engine.records import Key
from synthians_memory.engine.reembedding import switch
from synthians_memory.engine.stager import Stager
from synthians_memory.engine.vectors import MadeWith
from synthians_memory.errors import DiskError
from synthians_memory.models import Vector, as_vector
from synthians_memory.testing.store_history import DrivenStore, State, require

__all__ = ["converts", "goes_back", "invented_vector", "stages", "switches"]

_AT_ONCE = 2
Step = Callable[[DrivenStore], object]


def invented_vector(model: Model, text: str) -> Vector:
    """The vector that the invented embedder of `model` makes of a text."""
    rng = Random(f"{model.embedder} {text}")  # noqa: S311 - repeatable, not secret
    return as_vector([rng.gauss(0, 1) for _ in range(model.dimension or 0)])


def _stager(driven: DrivenStore, model: Model, *, back: bool) -> Stager:
    state = driven.store.state
    facts = state.superblock.previous if back else None
    kept = None if facts is None else read_previous(state.backend, state.superblock.store_id, facts.token)
    return Stager(state, model, kept)


def _stage(stager: Stager, model: Model, keys: Sequence[Key]) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        works = stager.work(keys[start : start + _AT_ONCE])
        stager.put(works, {work.text: invented_vector(model, work.text) for work in works if work.text})


def stages(model: Model, most: int | None = None) -> Step:
    """Stage up to `most` entities for `model`; None: all that are to be."""

    def step(driven: DrivenStore) -> None:
        stager = _stager(driven, model, back=False)
        try:
            _stage(stager, model, stager.todo()[:most])
        finally:
            stager.close()

    return step


def switches(model: Model) -> Step:
    """Stage what is left, and change to `model`; goes on with what was staged before."""
    return lambda driven: _switch(driven, model, back=False)


def goes_back(driven: DrivenStore) -> None:
    """Change to the model before, where there is one, with what is kept; what was saved since is embedded anew."""
    previous = driven.store.state.superblock.previous
    if previous is not None:
        _switch(driven, Model(previous.embedder, previous.embedding_dimension), back=True)


def _switch(driven: DrivenStore, model: Model, *, back: bool) -> None:
    store, history = driven.store, driven.history
    while store.convert(_AT_ONCE):
        pass
    stager = _stager(driven, model, back=back)
    try:
        _stage(stager, model, stager.todo())
        history.states.append(_after(history.last, stager))
        _decide(driven, stager, model)
    finally:
        stager.close()


def _decide(driven: DrivenStore, stager: Stager, model: Model) -> None:
    state, history = driven.store.state, driven.history
    try:
        missing = switch(state, driven.store.checkpointer, stager, model, MadeWith(None))
        require(not missing, f"{missing} were not staged")
    except DiskError:
        if not _is_decided(driven, stager) and not state.read_only_reason:
            # It was refused before anything was changed.
            history.states.pop()
        raise
    finally:
        if _is_decided(driven, stager):
            # Also where something behind it failed.
            history.visible = history.certain = len(history.states) - 1


def _is_decided(driven: DrivenStore, stager: Stager) -> bool:
    staged = driven.store.state.superblock.staged
    return staged is not None and staged.token == stager.token


def _after(state: State, stager: Stager) -> State:
    changed: dict[Key, Version] = dict(state)
    for key, version in state.items():
        staged = stager.staged.version(key)
        entry = stager.staged.entries.get(key)
        if staged is not None and entry is not None and entry.predecessor == version.hash:
            changed[key] = staged
    return changed


def converts(most: int) -> Step:
    """What the writer does when it has nothing else to do."""
    return lambda driven: driven.store.convert(most)
