"""MemoryPersistence: the class most programs need, the engine's store together with the care that stands above it.

It does no work of its own: the engine reads and writes, the packages above it take care of the store.
"""

from __future__ import annotations

from collections.abc import Callable

from synthians_memory.embedder import Embedder
from synthians_memory.engine.embedding_call import require_embedder
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.reembed_call import Reembedder, forget_previous
from synthians_memory.reports import ReembedReport

__all__ = ["MemoryPersistence"]


class MemoryPersistence(Persistence):
    """A store of memories and assemblies in a directory, with everything the library does for one.

    What `Persistence` promises holds here as well.
    """

    async def reembed(
        self,
        embedder: Embedder | None = None,
        *,
        back: bool = False,
        forget_way_back: bool = False,
        drop_unembeddable: bool = False,
        progress: Callable[[ReembedReport], None] | None = None,
    ) -> ReembedReport:
        """Change the store to another embedder: every entity gets a new embedding, all of them in one step.

        The store serves and saves meanwhile. Repeated after a kill, it goes on with what was done. Before the step every
        load, search and export sees the old embeddings, after it the new ones. Memories with a text get an embedding
        also where they had none; an assembly that had one gets the mean of its members, or without such members
        that of its name and description. `updated_at` of an entity with a new embedding is a later one. Saves of vectors
        that are known to be of the model before raise EmbedderMismatchError from then on.

        The old embeddings are kept, those of one model, as a way back.

        Args:
            embedder: of the new embeddings.
            back: go back to the model before: kept embeddings are taken where the text is still the same. `embedder`, of
                that model, is only needed where one was saved or changed since.
            forget_way_back: change nothing but remove the kept embeddings.
            drop_unembeddable: take it that entities with an embedding and without a text have none then.
            progress: called in the event loop with the report so far.

        Raises:
            InvalidValueError: an entity would lose its embedding, and drop_unembeddable is not set; nothing was changed.
            UsageError: no embedder where one is needed, nothing to go back to, or another reembed goes on.
            EmbedderMismatchError: `embedder` is not the one of the model before.
            DamagedFileError, ChangedOutsideError: the file of an entity is at fault; nothing was changed.
        """
        session = self._opened()
        if embedder is not None:
            require_embedder(embedder, None)
        with session.reembedding():
            if forget_way_back:
                return await forget_previous(session)
            reembedder = Reembedder(session, embedder, drop_unembeddable=drop_unembeddable, progress=progress)
            report = await reembedder.run(back=back)
        self._embedder = embedder
        return report
