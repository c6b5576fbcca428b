"""Three tiers of an agent's memory: what happens now, what it works on, what it once learned.

It is not the store of memories, which it stands on: what has a meaning to be searched by is a memory there as well.
"""
