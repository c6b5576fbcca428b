"""Three tiers of memory for an agent: what happens now, what it works on, what it once learned; and context from all of them.

It is not the core: no memory of the store depends on it.
"""
