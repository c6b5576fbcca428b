"""What a file means to one store that may hold anything: `codec.inspect`, and whether this store can take it.

It is not check: it compares with nothing that was acknowledged, and it changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from synthians_memory.codec import Inspection, inspect
from synthians_memory.engine.commit import require_vector
from synthians_memory.engine.records import Key
from synthians_memory.engine.state import StoreState
from synthians_memory.errors import InvalidValueError
from synthians_memory.hashing import embedding_hash

__all__ = ["inspect_for"]


def inspect_for(state: StoreState, key: Key, data: bytes) -> Inspection:
    """Judge a file found under the name of an entity, as `codec.inspect`.

    A vector that the store cannot compare makes it damaged: it could be neither adopted nor found.
    Raises nothing; thread-safe.
    """
    found = inspect(*key, data)
    vector = found.entity.vector if found.entity else None
    if vector is None:
        return found
    dimension = state.superblock.embedding_dimension or state.config.embedding_dimension or len(vector)
    try:
        require_vector(vector, dimension, state.superblock.metric, key[1])
    except InvalidValueError as error:
        return replace(found, state="damaged", entity=None, reason=error.message)
    if state.is_superseded(key, embedding_hash(vector)):
        reason = "its vector is of the model that the store was changed from"
        return replace(found, state="damaged", entity=None, reason=reason)
    return found
